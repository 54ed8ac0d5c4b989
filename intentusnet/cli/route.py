"""`route`: an intent on its way, from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from intentusnet import values
from intentusnet.cli.app import Invocation, Words, pass_invocation, shared_options
from intentusnet.cli.output import Output, fields, inline, listing, pretty, styled, text
from intentusnet.cli.payload import read_payload, untagged
from intentusnet.cli.places import lines_of
from intentusnet.errors import InvalidInput
from intentusnet.response import AgentResponse, ErrorCode, ErrorInfo

if TYPE_CHECKING:
    from intentusnet.routing.plan import Plan

STRATEGIES: Final = ("direct", "fallback", "parallel", "broadcast")

#: Which exit code tells which error; any other is `_AGENT_FAILED`.
_EXIT_CODES: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.CAPABILITY_NOT_FOUND: 3,
    ErrorCode.POLICY_DENIAL: 5,
    ErrorCode.IN_DOUBT: 14,
    ErrorCode.VALIDATION_ERROR: 2,
}
_AGENT_FAILED: Final = 4


@click.command("route")
@click.argument("intent", metavar="INTENT[@VERSION]")
@click.argument("payload", default="null", metavar="[PAYLOAD]")
@click.option("--strategy", type=Words(STRATEGIES), help="[default: direct; fallback with --fallback]")
@click.option("--target", metavar="AGENT", help="Only this agent may handle it.")
@click.option("--fallback", metavar="A,B,…", help="Only these agents may handle it, in this order.")
@click.option(
    "--prefer", type=Words(("rank", "first")), help="Who wins a parallel execution.  [default: rank]"
)
@click.option("--caller", metavar="NAME", help="Who asks.  [default: anonymous]")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role of the caller; may be repeated.")
@click.option("--tenant", metavar="NAME", help="The caller's tenant.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A label of the request; may be repeated.")
@click.option("--priority", type=int, default=0, metavar="N", help="Higher is more urgent.  [default: 0]")
@click.option("--timeout", type=float, metavar="SECONDS", help="After that no agent is called any more.")
@click.option("--idempotency-key", metavar="KEY", help="The same request with the same key is executed once.")
@click.option(
    "--in-flight", type=Words(("wait", "refuse")), help="While an execution with that key is under way."
)
@click.option("--durability", type=Words(("disk", "os", "async")), help="When the record counts as written.")
@click.option("--dry-run", is_flag=True, help="Print the plan; call and record nothing.")
@shared_options("store", "app", "policy")
@pass_invocation
def command(
    invocation: Invocation,
    /,
    intent: str,
    payload: str,
    *,
    fallback: str | None,
    durability: Any,
    in_flight: Any,
    dry_run: bool,
    **chosen: Any,
) -> int:
    """Route an intent to an agent and record what happens.

    PAYLOAD is JSON, @file, or - for stdin; null if left out. A denial, a missing agent and a failed agent are
    answers: they are printed and recorded like any other, and the exit code tells them apart.
    """
    if fallback is not None and chosen["target"] is not None:
        raise click.UsageError("--target and --fallback exclude each other.")
    chosen["strategy"] = chosen["strategy"] or ("direct" if fallback is None else "fallback")
    if chosen["prefer"] is not None and chosen["strategy"] != "parallel":
        raise click.UsageError("--prefer means something with --strategy parallel only.")
    chosen["prefer"] = chosen["prefer"] or "rank"
    if in_flight is not None and chosen["idempotency_key"] is None:
        raise click.UsageError("--in-flight means something with --idempotency-key only.")
    recorded = {"durability": durability, "in_flight": in_flight}
    chosen["fallback"] = () if fallback is None else _names(fallback)
    value = untagged(read_payload(payload), "payload")
    with invocation.runtime() as runtime, invocation.foreign_code():
        if dry_run:
            envelope = runtime.envelope(intent, value, **chosen)
            answer: Plan | AgentResponse = runtime.plan(envelope)
        else:
            from intentusnet.replay.recovering import waited_for

            route = waited_for(runtime, runtime.route, runtime.route_async)
            answer = route(intent, value, **recorded, **chosen)
    if not isinstance(answer, AgentResponse):
        return _tell_plan(invocation.output, intent, answer)
    tell_response(invocation.output, answer, intent)
    return exit_code_of(answer.error)


def _names(listed: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in listed.split(","))
    if not all(names):
        raise click.UsageError(f"--fallback takes the names of agents, with commas between them: {listed!r}.")
    return names


def exit_code_of(error: ErrorInfo | None) -> int:
    """The exit code that tells a response's error."""
    if error is None:
        return 0
    if error.code is ErrorCode.PAYLOAD_TOO_LARGE and "agent" not in error.details:
        return InvalidInput.exit_code  # it was the payload, which no agent has seen
    return _EXIT_CODES.get(error.code, _AGENT_FAILED)


def response_tree(response: AgentResponse) -> dict[str, Any]:
    """A response as `route` and `retrieve` print it; where it comes from is told only if from the record."""
    tree: dict[str, Any] = {
        "execution_id": response.execution_id,
        "status": response.status,
        "agent": response.agent,
        "payload": values.tree(response.payload),
        "error": None if response.error is None else response.error.tree(),
        "attempts": [
            {
                "agent": attempt.agent,
                "status": attempt.status,
                "error": None if attempt.error is None else attempt.error.tree(),
            }
            for attempt in response.attempts
        ],
    }
    return {**tree, "from_record": True} if response.from_record else tree


def tell_response(out: Output, response: AgentResponse, intent: str) -> None:
    """Prints a response in the format asked for."""
    tree = response_tree(response)
    if not out.table:
        out.json(tree)
        return
    head = styled(tree["status"])
    head.append(f"  {text(intent)}", style="bold")
    if response.agent is not None:
        head.append(f"  by {text(response.agent)}")
    out.print(head)
    pairs: list[tuple[str, object]] = [("execution", response.execution_id)]
    if response.from_record:
        pairs.append(("from", "the record, by its idempotency key: nobody was called"))
    if tree["error"] is None:
        pairs.append(("payload", pretty(tree["payload"])))
    else:
        pairs += error_fields(tree["error"])
    out.print(fields(pairs))
    if len(tree["attempts"]) > 1:
        table = listing("Attempt", "Agent", "Status", "Error", right=("Attempt",))
        for number, attempt in enumerate(tree["attempts"]):
            error = attempt["error"]
            told = "" if error is None else f"{error['code']}: {_message(error)}"
            table.add_row(str(number), text(attempt["agent"]), styled(attempt["status"]), text(told))
        out.print("", table)


def error_fields(error: Mapping[str, Any]) -> list[tuple[str, object]]:
    """What there is to say of an error's raw tree, for `fields`."""
    pairs: list[tuple[str, object]] = [("error", styled(error["code"], "red")), ("message", _message(error))]
    if error["type"] is not None:
        pairs.append(("raised", error["type"]))
    told, rest = lines_of(error["details"])
    if told:
        pairs.append(("faults", "\n".join(told)))
    if rest:
        pairs.append(("details", pretty(rest)))
    return pairs


def _message(error: Mapping[str, Any]) -> str:
    message = error["message"]
    return message if isinstance(message, str) else inline(message)


def _tell_plan(out: Output, intent: str, plan: Plan) -> int:
    refusal = plan.refusal
    tree = {**plan.tree(), "refusal": None if refusal is None else refusal.tree()}
    if not out.table:
        out.json(tree)
        return exit_code_of(refusal)
    head = styled("dry run", "cyan")
    head.append(f"  {text(intent)}", style="bold")
    head.append(f"  {plan.strategy.value}: nothing was called or recorded")
    out.print(head, "", plan_table(tree))
    if refusal is not None:
        out.print("", fields(error_fields(refusal.tree())))
    return exit_code_of(refusal)


def plan_table(plan: Mapping[str, Any]) -> Any:
    """The candidates of a plan's raw tree, with decisions and the order of the calls."""
    table = listing("Call", "Candidate", "Version", "Side effect", "Policy", "Why", right=("Call",))
    numbers = {name: str(number) for number, name in enumerate(plan["steps"])}
    for candidate in plan["candidates"]:
        traits = [candidate["side_effect"]]
        traits += [trait for trait in ("idempotent", "remote") if candidate[trait]]
        rule = "" if candidate["rule"] is None else f"{candidate['rule']}: "
        table.add_row(
            numbers.get(candidate["agent"], "-"),
            text(candidate["agent"]),
            text(candidate["version"]),
            text(", ".join(traits)),
            styled("allowed" if candidate["allowed"] else "denied"),
            text(rule + str(candidate["cause"])),
        )
    return table
