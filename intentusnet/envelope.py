"""`IntentEnvelope`: the immutable request, and everything that says how it may be routed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Self

import uuid_utils
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from intentusnet import values
from intentusnet.errors import InvalidEnvelope
from intentusnet.frozen import made
from intentusnet.misfits import MOST_TOLD
from intentusnet.refusals import describe, pointer

DEFAULT_INTENT_VERSION = "1.0"

_LONGEST_NAME: Final = 512
Name = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_NAME)]


class RoutingStrategy(StrEnum):
    """How the agents that may handle an intent are called."""

    DIRECT = "direct"
    FALLBACK = "fallback"
    PARALLEL = "parallel"
    BROADCAST = "broadcast"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


class IntentRef(_Frozen):
    """The name and the version of what is asked for."""

    name: Name
    version: Name = DEFAULT_INTENT_VERSION

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``name`` or ``name@version``."""
        name, _, version = text.partition("@")
        return cls(name=name, version=version or DEFAULT_INTENT_VERSION)


class Caller(_Frozen):
    """Who asks: as told by whoever embeds the router, which is no identity provider."""

    name: Name = "anonymous"
    roles: tuple[Name, ...] = ()
    tenant: Name | None = None


_ANONYMOUS: Final = Caller()


class RoutingOptions(_Frozen):
    """How the intent is to be routed.

    Args:
        strategy: direct, fallback, parallel or broadcast.
        target: only this agent may handle it: a name, or ``name@versions`` such as ``triage@<2``.
        fallback: only these agents may handle it, in this order.
        prefer: the winner of a parallel execution: the best-ranked success ("rank"), or a race ("first").
    """

    strategy: RoutingStrategy = RoutingStrategy.DIRECT
    target: Name | None = None
    fallback: tuple[Name, ...] = ()
    prefer: Literal["rank", "first"] = "rank"


# Names are few and come again; the reference is frozen, so one serves all.
@lru_cache(maxsize=1024)
def _parsed(text: str) -> IntentRef:
    return IntentRef.parse(text)


def _intent(value: object) -> object:
    return _parsed(value) if type(value) is str else value


def _caller(value: object) -> object:
    return Caller(name=value) if isinstance(value, str) else value


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a deadline needs a time zone, such as datetime.now(UTC) + timedelta(seconds=5)")
    # As a record would give it back: an agent that answers with it must answer the same on replay.
    try:
        return value.astimezone(UTC)
    except OverflowError as fault:
        raise ValueError("the deadline lies outside of the years 1 to 9999 in UTC") from fault


class IntentEnvelope(_Frozen):
    """One request: what is wanted, with what, by whom, and how it may be routed.

    Args:
        id: names this request; made up if not given.
        intent: an `IntentRef`, or its text: ``name`` or ``name@version``.
        payload: any recordable value (see docs/record-format.md), most often a dict.
        caller: a `Caller`, or a name.
        tags: free labels, for policy and for finding it again.
        priority: higher is more urgent; the router itself only records it.
        deadline: no agent is called after this point in time.
        routing: strategy, target, explicit fallback list.
        traceparent: W3C trace context, carried along.
        idempotency_key: the caller's own name for "the same request", which is executed once where executions
            are recorded: see docs/idempotency.md. That of a child is handed to its agents only.
    """

    id: Name = Field(default_factory=lambda: str(uuid_utils.uuid7()))
    intent: Annotated[IntentRef, BeforeValidator(_intent)]
    payload: Any = None
    caller: Annotated[Caller, BeforeValidator(_caller)] = Caller()
    tags: tuple[Name, ...] = ()
    priority: Annotated[int, Field(ge=-values.MAX_PLAIN_INT, le=values.MAX_PLAIN_INT)] = 0
    deadline: Annotated[datetime, AfterValidator(_utc)] | None = None
    routing: RoutingOptions = RoutingOptions()
    traceparent: Annotated[str, StringConstraints(max_length=512)] | None = None
    idempotency_key: Name | None = None

    def encode(self, payload: bytes) -> bytes:
        """The envelope as it stands in the log, around a payload that is encoded already."""
        deadline = self.deadline
        return (
            b'{"caller":%b,"deadline":%b,"id":%b,"idempotency_key":%b,"intent":%b,"payload":%b,'
            b'"priority":%b,"routing":%b,"tags":%b,"traceparent":%b}'
        ) % (
            _encoded_caller(self.caller.name, self.caller.roles, self.caller.tenant),
            _NULL if deadline is None else values.dumps(deadline.astimezone(UTC).isoformat()),
            values.dumps(self.id),
            _NULL if self.idempotency_key is None else values.dumps(self.idempotency_key),
            _encoded_intent(self.intent.name, self.intent.version),
            payload,
            _encoded_priority(self.priority),
            _encoded_routing(self.routing),
            _encoded_tags(self.tags),
            _NULL if self.traceparent is None else values.dumps(self.traceparent),
        )

    def encode_compared(self, payload: bytes) -> bytes:
        """What the fingerprint covers of the envelope: ids, trace and points in time are left out."""
        return b'{"caller":%b,"intent":%b,"payload":%b,"priority":%b,"routing":%b,"tags":%b}' % (
            _encoded_caller(self.caller.name, self.caller.roles, self.caller.tenant),
            _encoded_intent(self.intent.name, self.intent.version),
            payload,
            _encoded_priority(self.priority),
            _encoded_routing(self.routing),
            _encoded_tags(self.tags),
        )

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """The envelope of a raw tree that `encode` wrote."""
        return cls.model_validate({**tree, "payload": values.untag(tree["payload"])})


_NULL: Final = b"null"

# These parts are few, come again with every envelope, and never change.
_encoded_priority = lru_cache(maxsize=1024)(values.dumps)
_encoded_tags = lru_cache(maxsize=1024)(values.dumps)


@lru_cache(maxsize=1024)
def _encoded_caller(name: str, roles: tuple[str, ...], tenant: str | None) -> bytes:
    return values.dumps({"name": name, "roles": roles, "tenant": tenant})


@lru_cache(maxsize=1024)
def _encoded_intent(name: str, version: str) -> bytes:
    return values.dumps({"name": name, "version": version})


def _encoded_routing(routing: RoutingOptions) -> bytes:
    return _encoded_options(routing.strategy, routing.target, routing.fallback, routing.prefer)


@lru_cache(maxsize=1024)
def _encoded_options(
    strategy: RoutingStrategy, target: str | None, fallback: tuple[str, ...], prefer: str
) -> bytes:
    return values.dumps(
        {"fallback": fallback, "prefer": prefer, "strategy": strategy.value, "target": target}
    )


def envelope_of(
    id: str,
    intent: str | IntentRef,
    payload: Any,
    caller: Caller | str,
    tags: tuple[str, ...],
    priority: int,
    deadline: datetime | None,
    routing: RoutingOptions,
    traceparent: str | None,
    idempotency_key: str | None,
) -> IntentEnvelope:
    """The envelope of these fields; the deadline is in UTC.

    Raises:
        Exception: of pydantic, if a field makes no sense; or of what stands there.
    """
    fields: dict[str, Any] = {
        "id": id,
        "intent": intent,
        "payload": payload,
        "caller": caller,
        "tags": tags,
        "priority": priority,
        "deadline": deadline,
        "routing": routing,
        "traceparent": traceparent,
        "idempotency_key": idempotency_key,
    }
    says_nothing = not tags and type(priority) is int and priority == 0
    if says_nothing and traceparent is None and idempotency_key is None:
        try:
            fields["intent"] = _intent(intent)
        except ValidationError:
            return IntentEnvelope(**fields)  # which tells its place in the envelope
        # What does say something then is a part that was checked when it was made; ids may be a user's.
        checked = type(fields["intent"]) is IntentRef and type(caller) is Caller
        if checked and type(id) is str and 0 < len(id) <= _LONGEST_NAME:
            return made(IntentEnvelope, fields)
    return IntentEnvelope(**fields)


def routing_of(
    strategy: RoutingStrategy | str,
    target: str | None,
    fallback: tuple[str, ...],
    prefer: Literal["rank", "first"],
) -> RoutingOptions:
    """The options; equal ones are made once."""
    try:
        return _known_routing(strategy, target, fallback, prefer)
    except TypeError:  # not hashable: it makes no sense, and who checks it says where
        return _known_routing.__wrapped__(strategy, target, fallback, prefer)


@lru_cache(maxsize=256)
def _known_routing(
    strategy: RoutingStrategy | str,
    target: str | None,
    fallback: tuple[str, ...],
    prefer: Literal["rank", "first"],
) -> RoutingOptions:
    return RoutingOptions(
        strategy=strategy,  # type: ignore[arg-type]  # pydantic takes the value of a StrEnum
        target=target,
        fallback=fallback,
        prefer=prefer,
    )


def names_of(where: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple; a single text is no list of its letters."""
    if type(names) is tuple:
        return names
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidEnvelope(
            "one name stands where several are meant",
            where=f"/{where}",
            expected="a list",
            got=describe(names),
        )
    return tuple(names)


def caller_of(caller: object, roles: tuple[str, ...], tenant: str | None) -> Caller:
    """The caller that the arguments name; roles and tenant belong to a name."""
    if isinstance(caller, Caller):
        if roles or tenant is not None:
            raise InvalidEnvelope(
                "a Caller brings its own roles and tenant",
                where="/caller",
                got=f"roles {roles!r} and tenant {tenant!r} beside it",
                hint="hand over the caller's name, or put them into the Caller",
            )
        return caller
    if caller is None:
        return Caller(roles=roles, tenant=tenant) if roles or tenant is not None else _ANONYMOUS
    return Caller(name=caller, roles=roles, tenant=tenant)  # type: ignore[arg-type]  # pydantic checks it


def invalid_envelope(fault: Exception) -> InvalidEnvelope:
    """What pydantic found, or an argument's own code raised, as an error: every field that makes no sense."""
    if not isinstance(fault, ValidationError):
        return InvalidEnvelope(
            "an argument cannot be looked at", got=describe(fault), hint="Hand over plain values"
        )
    found = fault.errors(include_url=False)
    places = [
        {
            "path": pointer(*(str(part) for part in one["loc"])),
            "expected": one["msg"].removeprefix("Value error, "),
            "got": "nothing" if one["type"] == "missing" else describe(one["input"]),
        }
        for one in found[:MOST_TOLD]
    ]
    first, others = places[0], len(found) - 1
    error = InvalidEnvelope(
        first["expected"] + (f" (and {others} more)" if others else ""), where=first["path"], got=first["got"]
    )
    error.misfits, error.total = tuple(places), len(found)
    return error
