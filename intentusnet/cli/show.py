"""`show`: one execution, from its request to its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from intentusnet import values
from intentusnet.cli.admissions import told_of
from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.cli.output import (
    Output,
    encoded,
    fields,
    inline,
    listing,
    moment,
    pretty,
    span,
    styled,
    text,
)
from intentusnet.cli.records import load_record
from intentusnet.cli.route import error_fields, plan_table
from intentusnet.record import ExecutionRecord, ParentLink, RecordedQuestion
from intentusnet.transcript import ADMISSION

if TYPE_CHECKING:
    from rich.text import Text

#: Bytes of a payload that are shown on a terminal.
_MOST_OF_PAYLOAD: Final = 4096


@click.command("show")
@click.argument("reference", metavar="ID|FILE")
@shared_options("store", "app")
@pass_invocation
def command(invocation: Invocation, reference: str) -> None:
    """Show one execution: request, plan, questions and answers, outcome.

    Arguments and answers are cut to a line on a terminal, and large payloads to a page; -v prints them whole,
    and the environment.
    """
    record = load_record(reference, invocation)
    out = invocation.output
    if out.table:
        _print(out, record)
    else:
        out.json(record_tree(record))


def record_tree(record: ExecutionRecord) -> dict[str, Any]:
    """A record as `show` prints it, as raw tree."""
    return {
        "execution_id": record.execution_id,
        "status": record.status,
        "fingerprint": record.fingerprint,
        "opened_us": record.opened_us,
        "duration_us": record.duration_us,
        "parent": _link(record.parent),
        "forked_from": _link(record.forked_from),
        "children": list(record.children),
        "depth": record.depth,
        "envelope": record.envelope_tree,
        "environment": record.environment,
        "plan": record.plan_tree,
        "questions": [_question_tree(question) for question in record.questions],
        "outcome": None if record.outcome is None else record.outcome.tree(),
    }


def _link(link: ParentLink | None) -> dict[str, Any] | None:
    return None if link is None else asdict(link)


def _question_tree(question: RecordedQuestion) -> dict[str, Any]:
    answer = question.answer
    return {
        "scope": question.scope,
        "question": question.ordinal,
        "kind": question.kind,
        "name": question.name,
        "arguments": values.parse(question.arguments),
        "side_effect": question.side_effect,
        "ok": None if answer is None else answer.ok,
        "answer": None if answer is None else values.parse(answer.data),
    }


def _print(out: Output, record: ExecutionRecord) -> None:
    envelope = record.envelope_tree
    head = styled(record.status)
    head.append(f"  {text(envelope['intent']['name'])}@{text(envelope['intent']['version'])}", style="bold")
    out.print(head, fields(_facts(out, record)))
    _print_plan(out, record)
    _print_questions(out, record)
    _print_outcome(out, record)
    if out.verbosity:
        _heading(out, "Environment")
        out.print(fields((name, pretty(item)) for name, item in record.environment.items()))


def _facts(out: Output, record: ExecutionRecord) -> list[tuple[str, object]]:
    envelope = record.envelope_tree
    took = "" if record.duration_us is None else f", took {span(record.duration_us)}"
    pairs: list[tuple[str, object]] = [
        ("execution", record.execution_id),
        ("opened", moment(record.opened_us) + took),
        ("caller", _caller(envelope["caller"])),
    ]
    if envelope["tags"]:
        pairs.append(("tags", ", ".join(envelope["tags"])))
    for name in ("priority", "deadline", "idempotency_key", "traceparent"):
        if envelope[name]:
            pairs.append((name.replace("_", " "), str(envelope[name])))
    if envelope["id"] != record.execution_id:
        pairs.append(("request", envelope["id"]))
    if record.parent is not None:
        parent = record.parent
        pairs.append(("parent", f"{parent.execution}, {parent.scope} [{parent.question}]"))
    if record.forked_from is not None:
        fork = record.forked_from
        pairs.append(("forked from", f"{fork.execution}, {fork.scope} [{fork.question}]"))
    if record.children:
        pairs.append(("children", "\n".join(record.children)))
    if record.fingerprint is not None:
        pairs.append(("fingerprint", record.fingerprint))
    pairs.append(("payload", _payload(out, envelope["payload"])))
    return pairs


def _payload(out: Output, tree: Any) -> Text:
    """A payload; one that would fill many screens is cut, like arguments and answers."""
    size = len(encoded(tree))
    if out.verbosity or size <= _MOST_OF_PAYLOAD:
        return pretty(tree)
    return styled(f"{inline(tree, _MOST_OF_PAYLOAD)} ({size:,} bytes; -v prints it whole)", "")


def _caller(caller: Mapping[str, Any]) -> str:
    parts = [str(caller["name"])]
    if caller["roles"]:
        parts.append("roles " + ", ".join(caller["roles"]))
    if caller["tenant"] is not None:
        parts.append(f"tenant {caller['tenant']}")
    return "; ".join(parts)


def _print_plan(out: Output, record: ExecutionRecord) -> None:
    routing = record.envelope_tree["routing"]
    told = [record.strategy]
    if routing["target"] is not None:
        told.append(f"target {routing['target']}")
    if routing["fallback"]:
        told.append("only " + ", ".join(routing["fallback"]))
    if routing["prefer"] != "rank":
        told.append(f"prefer {routing['prefer']}")
    _heading(out, "Plan", "; ".join(told))
    if record.plan_tree["candidates"]:
        out.print(plan_table(record.plan_tree))
    else:
        out.print("  no candidates")


def _print_questions(out: Output, record: ExecutionRecord) -> None:
    if not record.questions:
        return
    _heading(out, "Questions and answers")
    scopes: dict[str, list[RecordedQuestion]] = {}
    for question in record.questions:
        scopes.setdefault(question.scope, []).append(question)
    most = 100_000 if out.verbosity else 200
    for number, (scope, questions) in enumerate(sorted(scopes.items())):
        table = listing(scope or "execution", "Asked", "Answered")
        table.columns[0].no_wrap = True
        for question in sorted(questions, key=lambda one: one.ordinal):
            asked = styled(f"{question.kind} ", "cyan")
            asked.append(text(question.name), style="bold")
            asked.append(_called(question, most))
            table.add_row(f"[{question.ordinal}]", asked, _answered(question, most))
        out.print(*([""] if number else []), table)


def _called(question: RecordedQuestion, most: int) -> str:
    tree = values.parse(question.arguments)
    if question.kind == "route" and isinstance(tree, dict):
        return f" {inline(tree.get('payload'), most)}"
    if not isinstance(tree, dict) or set(tree) != {"args", "kwargs"}:
        return f" {inline(tree, most)}"
    told = [inline(item, most) for item in tree["args"]]
    told += [f"{text(name)}={inline(item, most)}" for name, item in tree["kwargs"].items()]
    return f"({', '.join(told)})" if told else ""


def _answered(question: RecordedQuestion, most: int) -> Any:
    answer = question.answer
    if answer is None:
        return styled("no answer on record", "yellow")
    tree = values.parse(answer.data)
    if question.kind == ADMISSION:
        return styled(told_of(tree, most), "")
    if question.kind == "route" and answer.ok and isinstance(tree, dict):
        failed = tree.get("error") is not None
        shown = styled(tree.get("status"))
        return shown.append(
            f" {_fault(tree['error'], most) if failed else inline(tree.get('payload'), most)}"
        )
    if answer.ok:
        return styled(inline(tree, most), "")
    return styled(_fault(tree, most), "red")


def _fault(tree: Any, most: int) -> str:
    """An error on record: an agent's has a code, an effect's is an exception."""
    match tree:
        case {"code": str(kind), "message": str(message)}:
            return f"{kind}: {message}"
        case {"type": str(kind), "message": str(message)}:
            return f"{kind.removeprefix('builtins.')}: {message}"
    return inline(tree, most)


def _print_outcome(out: Output, record: ExecutionRecord) -> None:
    outcome = record.outcome
    if outcome is None:
        _heading(out, "Outcome", "none on record: the execution was interrupted")
        return
    _heading(out, "Outcome", outcome.status + ("" if outcome.agent is None else f" by {outcome.agent}"))
    if outcome.error is None:
        out.print(fields([("payload", _payload(out, outcome.payload))]))
    else:
        out.print(fields(error_fields(outcome.error)))


def _heading(out: Output, title: str, more: str = "") -> None:
    head = styled(title, "bold")
    if more:
        head.append(f"  {text(more)}")
    out.print("", head)
