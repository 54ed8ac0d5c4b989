"""`policy`: the commands about policies, each in a file of its own (``policy_*``)."""

from __future__ import annotations

import click

from intentusnet.cli.policy_backtest import command as backtest
from intentusnet.cli.policy_check import command as check
from intentusnet.cli.policy_explain import command as explain
from intentusnet.cli.policy_test import command as test


@click.group("policy")
def command() -> None:
    """Check a policy, explain its decisions, test them, and try another policy on the log."""


for _command in (check, explain, test, backtest):
    command.add_command(_command)
