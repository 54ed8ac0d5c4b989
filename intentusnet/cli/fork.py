"""`fork`: what if a question had had another answer?"""

from __future__ import annotations

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.payload import read_payload, untagged
from intentusnet.cli.route import exit_code_of, tell_response
from intentusnet.replay.recovering import waited_for


@click.command("fork")
@click.argument("reference", metavar="ID")
@click.option(
    "--at",
    required=True,
    metavar="SCOPE:NUMBER",
    help="The question, such as attempt:0:3; `show` lists them.",
)
@click.option("--answer", required=True, metavar="JSON", help="What it is answered: JSON, @file, or -.")
@shared_options("store", "app", "policy")
@pass_invocation
def command(invocation: Invocation, reference: str, at: str, answer: str) -> int:
    """Give a recorded question another answer, and go on live as a new execution.

    Up to the question everything is answered from the record. What is asked after it is asked of the world:
    effects happen.
    """
    given = untagged(read_payload(answer, "answer"), "answer")
    with invocation.runtime() as runtime, invocation.foreign_code():
        assert runtime.store is not None  # the default one, if nobody names another
        execution_id = runtime.store.resolve(reference)
        intent = runtime.store.get(execution_id).intent
        response = waited_for(runtime, runtime.fork, runtime.fork_async)(execution_id, at, given)
    tell_response(invocation.output, response, intent)
    return exit_code_of(response.error)
