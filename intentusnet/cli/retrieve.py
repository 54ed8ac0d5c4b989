"""`retrieve`: the recorded response, without running anything."""

from __future__ import annotations

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.records import load_record
from intentusnet.cli.route import tell_response


@click.command("retrieve")
@click.argument("reference", metavar="ID|FILE")
@shared_options("store", "app")
@pass_invocation
def command(invocation: Invocation, reference: str) -> None:
    """Print a recorded response after checking its bytes; runs nothing.

    It ends with 0 also where the response is an error: it was retrieved.
    """
    record = load_record(reference, invocation)
    tell_response(invocation.output, record.response, record.intent)
