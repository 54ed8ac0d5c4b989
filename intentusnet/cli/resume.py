"""`resume`: an interrupted execution goes on."""

from __future__ import annotations

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.route import exit_code_of, tell_response
from intentusnet.replay.recovering import waited_for


@click.command("resume")
@click.argument("reference", metavar="ID")
@shared_options("store", "app", "policy")
@pass_invocation
def command(invocation: Invocation, reference: str) -> int:
    """Go on with an interrupted execution, in the same record.

    Agents are run again with the answers on record, then asked on. What is in doubt is not resumed (exit code
    14): `recover` says why. Of an execution that has ended, the recorded response is printed.
    """
    with invocation.runtime() as runtime, invocation.foreign_code():
        assert runtime.store is not None  # the default one, if nobody names another
        execution_id = runtime.store.resolve(reference)
        intent = runtime.store.get(execution_id).intent
        response = waited_for(runtime, runtime.resume, runtime.resume_async)(execution_id)
    tell_response(invocation.output, response, intent)
    return exit_code_of(response.error)
