"""`ExecutionRecord`: the fold of one execution's entries, and the fingerprint of what it says.

A record is read from the log's bytes alone. It holds *raw trees*: parsed JSON with the tags of ``values``
left as they are, so that nothing is decoded that nobody asks for, and re-encoding gives the bytes back. A
value that an entry only refers to (``references``) stands in its place like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from intentusnet import formats, values
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import IntegrityBroken, InvalidInput, NotReplayable
from intentusnet.references import MARK, Blob, BlobRef, resolved
from intentusnet.response import AgentResponse, AttemptSummary, ErrorInfo
from intentusnet.transcript import NO_ARGUMENTS, ROOT_SCOPE, Answer, turn_of


class LoggedEntry(Protocol):
    """What a record needs of an entry of the log."""

    @property
    def seq(self) -> int: ...
    @property
    def ts(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def execution(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def line(self) -> bytes: ...
    @property
    def commit(self) -> bytes: ...


class RecordedQuestion(NamedTuple):
    """A question on record with its answer; ``answer`` is None where the execution ended before it came."""

    scope: str
    ordinal: int
    kind: str
    name: str
    arguments: bytes
    side_effect: str
    idempotent: bool
    unordered: bool
    answer: Answer | None


@dataclass(frozen=True, slots=True)
class ParentLink:
    """A question of another execution, such as the one that an execution answers."""

    execution: str
    scope: str
    question: int


@dataclass(frozen=True, slots=True)
class RecordedOutcome:
    """How an execution ended, in raw trees."""

    status: str
    agent: str | None
    attempt: int | None
    payload: Any
    error: Any

    def tree(self) -> dict[str, Any]:
        """The outcome as one raw tree."""
        return {
            "agent": self.agent,
            "attempt": self.attempt,
            "error": self.error,
            "payload": self.payload,
            "status": self.status,
        }


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """One execution as its entries tell it.

    Attributes:
        execution_id: UUIDv7 as text.
        status: "success", "error", or "interrupted" where no end is on record.
        envelope_tree: the intent envelope, raw.
        plan_tree: candidates, decisions and steps, raw.
        environment: versions and digests of package, agents, configuration, policy and Python.
        parent: the execution that asked for this one.
        forked_from: the question of another execution that was given another answer in this one.
        runner: who ran it, for as long as it was not resumed; `Custody` knows whether he still does.
        depth: how many executions it is nested in.
        questions: everything asked, with the answers, in the order of the log.
        outcome: how it ended.
        fingerprint: as written by the recorder; `fingerprint_of` computes it anew.
        opened_us, closed_us: microseconds since 1970-01-01 UTC.
        entries: the entries themselves, with their bytes.
        blobs: the values that the entries refer to, in the order in which they first do.
    """

    execution_id: str
    status: str
    envelope_tree: Mapping[str, Any]
    plan_tree: Mapping[str, Any]
    environment: Mapping[str, Any]
    parent: ParentLink | None
    depth: int
    questions: tuple[RecordedQuestion, ...]
    outcome: RecordedOutcome | None
    fingerprint: str | None
    opened_us: int
    closed_us: int | None
    entries: tuple[LoggedEntry, ...] = field(repr=False)
    blobs: tuple[Blob, ...] = field(default=(), repr=False)
    forked_from: ParentLink | None = None
    runner: str | None = None

    @property
    def envelope(self) -> IntentEnvelope:
        """The intent envelope that was routed."""
        return IntentEnvelope.from_tree(self.envelope_tree)

    @property
    def intent(self) -> str:
        """The intent's name."""
        return str(self.envelope_tree["intent"]["name"])

    @property
    def strategy(self) -> str:
        """The routing strategy's name."""
        return str(self.plan_tree["strategy"])

    @property
    def duration_us(self) -> int | None:
        """Microseconds from the first entry to the last, by the recorder's clock."""
        return None if self.closed_us is None else self.closed_us - self.opened_us

    @property
    def response(self) -> AgentResponse:
        """The response that the caller got.

        Raises:
            NotReplayable: the execution has no end on record.
        """
        if self.outcome is None:
            raise NotReplayable(
                "the execution was interrupted: no response is on record",
                where=self.execution_id,
                hint="`intentusnet show` prints what it had done until then",
            )
        return AgentResponse(
            execution_id=self.execution_id,
            status="success" if self.outcome.status == "success" else "error",
            agent=self.outcome.agent,
            payload=values.untag(self.outcome.payload),
            error=None if self.outcome.error is None else ErrorInfo.from_tree(self.outcome.error),
            attempts=self.attempts,
            fingerprint=self.fingerprint,
        )

    @property
    def attempts(self) -> tuple[AttemptSummary, ...]:
        """Each call of an agent, and how it ended: in the plan's order, retries behind what they repeat."""
        steps = len(self.plan_tree["steps"])
        asked = (q for q in self.questions if q.kind == "agent")
        calls = sorted(asked, key=lambda q: turn_of(q.ordinal, steps))
        return tuple(
            AttemptSummary.of(q.name, q.answer.ok, q.answer.data) for q in calls if q.answer is not None
        )

    @property
    def usage(self) -> dict[str, float]:
        """What was used up (`Context.usage`), by name, summed over all scopes; children have their own."""
        return usage_of(self.questions)

    @property
    def children(self) -> tuple[str, ...]:
        """Ids of the executions that this one asked for."""
        return tuple(
            q.answer.child for q in self.questions if q.answer is not None and q.answer.child is not None
        )

    def to_jsonl(self) -> bytes:
        """The portable record: the execution's lines, byte for byte, then those of its large values."""
        lines = [entry.line + b"\n" for entry in self.entries]
        return b"".join([*lines, *(blob.line() for blob in self.blobs)])


class Asked(Protocol):
    """What `usage_of` needs of a question."""

    @property
    def kind(self) -> str: ...
    @property
    def arguments(self) -> bytes: ...


def usage_of(questions: Iterable[Asked]) -> dict[str, float]:
    """What was used up according to an execution's questions, by name; see `ExecutionRecord.usage`."""
    told: dict[str, list[float]] = {}
    for question in questions:
        if question.kind == "usage":
            for name, count in values.untag(values.parse(question.arguments)["kwargs"]).items():
                told.setdefault(name, []).append(count)
    return {
        # Floats are summed as if exactly: their order in the log is that of threads.
        name: math.fsum(counts) if any(type(count) is float for count in counts) else sum(counts)
        for name, counts in sorted(told.items())
    }


def _no_blobs(ref: BlobRef) -> bytes:
    raise IntegrityBroken(
        "a value that an entry refers to is missing",
        expected=f"{ref.size} bytes with the SHA-256 {ref.digest}",
        got="entries alone",
    )


class _Bodies:
    """Parses bodies with all their values; mutable: the values that had to be loaded for it."""

    def __init__(self, load: Callable[[BlobRef], bytes]) -> None:
        self.blobs: dict[BlobRef, Blob] = {}
        self._load = load

    def parse(self, entry: LoggedEntry) -> Any:
        body = entry.body
        if MARK not in body:
            return values.parse(body)
        try:
            return values.parse(resolved(body, self._data))
        except IntegrityBroken as fault:
            named = f"seq {entry.seq} of execution {entry.execution}"
            fault.where = f"{fault.where}, which {named} refers to" if fault.where else named
            raise

    def _data(self, ref: BlobRef) -> bytes:
        if ref not in self.blobs:
            self.blobs[ref] = Blob(ref, self._load(ref))
        return self.blobs[ref].data


def fold(entries: Iterable[LoggedEntry], load: Callable[[BlobRef], bytes] = _no_blobs) -> ExecutionRecord:
    """Folds the entries of one execution, in the order of the log, into a record.

    Args:
        entries: the entries.
        load: gives the bytes of a value that an entry refers to, checked, or raises IntegrityBroken.

    Raises:
        IntegrityBroken: the entries do not tell one execution from its beginning on, or a value is missing.
    """
    entries = tuple(entries)
    if not entries or entries[0].kind != "opened":
        raise IntegrityBroken(
            "the record does not begin with the execution's first entry",
            where=f"seq {entries[0].seq}" if entries else "",
            expected="an `opened` entry",
            got=f"`{entries[0].kind}`" if entries else "no entry at all",
        )
    try:
        return _fold(entries, _Bodies(load))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, InvalidInput) as fault:
        raise IntegrityBroken(
            "an entry's body is not of the recorded format",
            where=f"execution {entries[0].execution}",
            got=f"{type(fault).__name__}: {fault}",
            hint="check it with `intentusnet verify`",
        ) from fault


def _fold(entries: tuple[LoggedEntry, ...], bodies: _Bodies) -> ExecutionRecord:
    opened = bodies.parse(entries[0])
    formats.check_opened(opened)
    plan = opened["plan"]
    asked: dict[tuple[str, int], dict[str, Any]] = {}
    answered: dict[tuple[str, int], dict[str, Any]] = {}
    closed: dict[str, Any] | None = None
    for attempt, name in enumerate(implied_steps(plan)):
        asked[ROOT_SCOPE, attempt] = {"kind": "agent", "name": name}
    for entry in entries[1:]:
        body = bodies.parse(entry)
        if entry.kind == "closed":
            formats.check_closed(body)
            closed = body
        elif entry.kind == "asked":
            formats.check_asked(body)
            _take_asked(body, asked)
        else:
            formats.check_answered(body)
            _take_answered(body, asked, answered)
    for (scope, ordinal), question in asked.items():
        if scope == ROOT_SCOPE:
            formats.check_root(ordinal, question, answered.get((scope, ordinal)), plan["steps"])
    answers = {key: _answer(body) for key, body in answered.items()}
    outcome = None
    if closed is not None:
        outcome = RecordedOutcome(
            closed["status"], closed["agent"], closed["attempt"], closed["payload"], closed["error"]
        )
        _answer_from_outcome(outcome, asked, answers)
    parent, forked_from = opened["parent"], opened.get("forked_from")
    # By places, because names take a fifth longer, and many records are read at once.
    return ExecutionRecord(
        entries[0].execution,
        "interrupted" if outcome is None else outcome.status,
        opened["envelope"],
        plan,
        opened["environment"],
        None if parent is None else ParentLink(**parent),
        opened["depth"],
        tuple([_question(key, body, answers.get(key)) for key, body in asked.items()]),
        outcome,
        None if closed is None else closed["fingerprint"],
        entries[0].ts,
        None if closed is None else entries[-1].ts,
        entries,
        tuple(bodies.blobs.values()),
        None if forked_from is None else ParentLink(**forked_from),
        opened.get("runner"),
    )


def _take_asked(body: dict[str, Any], asked: dict[tuple[str, int], dict[str, Any]]) -> None:
    key = (body["scope"], body["question"])
    if key in asked:  # whoever resumed the execution has asked it again
        formats.check_same(asked[key], body)
    asked[key] = body


def _take_answered(
    body: dict[str, Any],
    asked: dict[tuple[str, int], dict[str, Any]],
    answered: dict[tuple[str, int], dict[str, Any]],
) -> None:
    key = (body["scope"], body["question"])
    if key in answered:
        raise ValueError(f"question {key[1]} of scope {key[0]!r} is answered twice")
    if "kind" in body:
        if key in asked:
            raise ValueError(f"question {key[1]} of scope {key[0]!r} is told twice")
        asked[key] = body
    elif key not in asked:
        raise ValueError(f"question {key[1]} of scope {key[0]!r} is answered, and was never asked")
    answered[key] = body


def implied_steps(plan: Mapping[str, Any]) -> Sequence[str]:
    """The agents that the `opened` entry itself announces: their calls need no `asked` entry.

    Where limits come before the calls, it announces none: an execution that ends while it waits has called
    nobody.
    """
    steps: Sequence[str] = () if plan.get("gated") else plan["steps"]
    return steps if plan["strategy"] in ("parallel", "broadcast") else steps[:1]


def _answer(body: Mapping[str, Any]) -> Answer:
    ok = "error" not in body
    data = values.dumps(body["value"] if ok else body["error"])
    return Answer(ok, data, body.get("child"), body.get("refused", False))


def _answer_from_outcome(
    outcome: RecordedOutcome, asked: Mapping[tuple[str, int], Any], answers: dict[tuple[str, int], Answer]
) -> None:
    """The answer of the attempt that decided a direct or fallback execution stands in the outcome alone."""
    if outcome.attempt is None:
        return
    key = (ROOT_SCOPE, outcome.attempt)
    if key in asked and key not in answers:
        ok = outcome.status == "success"
        answers[key] = Answer(ok, values.dumps(outcome.payload if ok else outcome.error))


def _question(key: tuple[str, int], body: Mapping[str, Any], answer: Answer | None) -> RecordedQuestion:
    return RecordedQuestion(
        *key,
        body["kind"],
        body["name"],
        values.dumps(body["arguments"]) if "arguments" in body else NO_ARGUMENTS,
        body.get("side_effect", "read_only"),
        body.get("idempotent", False),
        body.get("unordered", False),
        answer,
    )
