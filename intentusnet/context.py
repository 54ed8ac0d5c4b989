"""`Context`: what an agent asks through.

Everything that an agent wants from the world goes through here, becomes a `Question`, and is answered by the
session: by the world in a live execution, from the record in a replay. The agent cannot tell the difference,
because in both cases it is handed the decoded bytes of the answer.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import itertools
import random
import threading
import typing
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar, overload

from pydantic import ValidationError

from intentusnet import raised, values
from intentusnet.agents import Agent
from intentusnet.codecs import codec_for
from intentusnet.effects import answer_of, result_codec, traits_of
from intentusnet.envelope import (
    Caller,
    IntentEnvelope,
    IntentRef,
    RoutingStrategy,
    invalid_envelope,
    names_of,
    routing_of,
)
from intentusnet.errors import ControlSignal, InvalidInput
from intentusnet.ids import Clock, Ids
from intentusnet.record import ParentLink
from intentusnet.refusals import describe
from intentusnet.response import AgentResponse
from intentusnet.routing.drivers import concurrently
from intentusnet.routing.isolation import call_inline
from intentusnet.routing.router import Request
from intentusnet.tags import is_text
from intentusnet.transcript import NO_ARGUMENTS, Answer, Question, Session, ask, attempt_scope, branch_scope

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class World:
    """What a context needs to ask the world: injected by the runtime.

    Attributes:
        clock, ids: time and chance.
        environ: environment variables.
        route: routes a child request.
    """

    clock: Clock
    ids: Ids
    environ: Mapping[str, str]
    route: Callable[[Request], AgentResponse]


@dataclass(slots=True)
class _Scope:
    """The state of one scope: which questions and gathers it has had."""

    path: str
    thread: int = field(default_factory=threading.get_ident)
    questions: itertools.count[int] = field(default_factory=itertools.count)
    gathers: itertools.count[int] = field(default_factory=itertools.count)
    random: random.Random | None = None


#: The branch of a gather that this thread runs, for the context that it belongs to.
_branch: contextvars.ContextVar[tuple[Context, _Scope] | None] = contextvars.ContextVar(
    "intentusnet_branch", default=None
)
#: The effect whose function runs: what it asks is part of that one answer, and not recorded again. A replay
#: does not run it, so it must not take any number of its scope either.
_inside_effect: contextvars.ContextVar[Question | None] = contextvars.ContextVar(
    "intentusnet_inside_effect", default=None
)


class Context:
    """What an agent may ask of the world. One is made for each call of an agent.

    Args:
        session: where answers come from.
        request: the execution's request.
        scope: the scope of the attempt.
        world: asked if the session has no answer.
    """

    __intentus_context__ = True

    def __init__(self, session: Session, request: Request, scope: str, world: World) -> None:
        self._session = session
        self._request = request
        self._root = _Scope(scope)
        self._world = world

    @functools.cached_property
    def envelope(self) -> IntentEnvelope:
        """The envelope, with a payload of this agent's own."""
        return self._request.envelope.model_copy(update={"payload": values.decode(self._request.payload)})

    @property
    def execution_id(self) -> str:
        """The execution's id."""
        return self._session.execution_id

    @property
    def idempotency_key(self) -> str:
        """The same key whenever this point of this request is run again; different for each scope."""
        return f"{self._request.envelope.idempotency_key or self.execution_id}/{self._scope().path}"

    def effect(self, name: str, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Calls a function that meets the world; a replay answers from the record and does not call it.

        Args:
            name: names the effect in the record.
            function: what is called. A return annotation is the type of the answer.
            args, kwargs: its arguments: recorded and compared, so they must be data.

        Raises:
            UnrecordableValue: an argument, or what the function returned, cannot be recorded.
            Exception: whatever the function raises, live and on replay.
        """
        if _inside_effect.get() is not None:
            return function(*args, **kwargs)
        traits = traits_of(function)
        codec = result_codec(function)
        question = self._question(
            "effect", name, values.encode_arguments(args, kwargs), traits.side_effect, traits.idempotent
        )
        ticket = self._session.begin(question)
        answer = ticket.answer
        if answer is None:
            fault: BaseException | None = None
            token = _inside_effect.set(question)
            try:
                answer = answer_of(name, codec, function(*args, **kwargs))
            except (ControlSignal, KeyboardInterrupt):
                raise
            except BaseException as raised_by_it:  # noqa: BLE001 - whatever it is, it is the answer
                fault, answer = raised_by_it, raised.capture(raised_by_it)
            finally:
                _inside_effect.reset(token)
            answer = self._session.end(ticket, answer)
            if fault is not None:
                raise fault
        if not answer.ok:
            raise raised.revive(answer.data)
        return typing.cast("T", codec.decode(answer.data))

    def now(self) -> datetime:
        """The time, in UTC, to the microsecond."""
        clock = self._world.clock
        return typing.cast(
            "datetime", self._plain("clock", "now", lambda: _EPOCH + timedelta(microseconds=clock.time_us()))
        )

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back; only differences mean anything."""
        return typing.cast("float", self._plain("clock", "monotonic", self._world.clock.monotonic))

    @property
    def random(self) -> random.Random:
        """A random stream of this scope's own; only its seed is recorded."""
        if _inside_effect.get() is not None:
            return random.Random(self._world.ids.seed())
        scope = self._scope()
        if scope.random is None:
            scope.random = random.Random(self._plain("random", "seed", self._world.ids.seed))
        return scope.random

    def uuid(self) -> uuid.UUID:
        """A random UUID."""
        return typing.cast("uuid.UUID", self._plain("uuid", "uuid4", self._world.ids.uuid))

    @overload
    def env(self, name: str) -> str | None: ...
    @overload
    def env(self, name: str, default: str) -> str: ...
    def env(self, name: str, default: str | None = None) -> str | None:
        """The environment variable's value, or the default."""
        value = self._plain("env", name, lambda: self._world.environ.get(name))
        return default if value is None else typing.cast("str", value)

    def sleep(self, seconds: float) -> None:
        """Waits; a replay does not."""
        self._plain("sleep", "sleep", lambda: self._world.clock.sleep(seconds), (seconds,))

    def log(self, message: str, /, **fields: Any) -> None:
        """Writes a note into the record. Notes are not compared."""
        self._plain("log", "note", lambda: None, (message,), fields)

    def route(
        self,
        intent: str | IntentRef,
        payload: Any = None,
        *,
        strategy: RoutingStrategy | str = RoutingStrategy.DIRECT,
        target: str | None = None,
        fallback: tuple[str, ...] | list[str] = (),
        prefer: Literal["rank", "first"] = "rank",
        caller: Caller | str | None = None,
        tags: tuple[str, ...] | list[str] | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> AgentResponse:
        """Routes a child intent: an execution of its own, linked both ways.

        Caller, tags, priority, deadline and trace are this envelope's unless told otherwise.

        Args:
            intent: name, or ``name@version``.
            payload: any recordable value.
            strategy, target, fallback, prefer: see `RoutingOptions`.
            caller, tags, priority, idempotency_key: see `IntentEnvelope`.

        Raises:
            InvalidEnvelope: an argument makes no sense.
            UnrecordableValue: the payload cannot be recorded.
        """
        own = self._request.envelope
        data = values.encode(plain(payload))
        try:
            envelope = IntentEnvelope(
                id=own.id,
                intent=intent,  # type: ignore[arg-type]  # the field's validator takes text
                payload=values.decode(data),
                caller=own.caller if caller is None else caller,  # type: ignore[arg-type]  # likewise
                tags=own.tags if tags is None else names_of("tags", tags),
                priority=own.priority if priority is None else priority,
                deadline=own.deadline,
                routing=routing_of(strategy, target, names_of("fallback", fallback), prefer),
                traceparent=own.traceparent,
                idempotency_key=idempotency_key,
            )
        except ValidationError as fault:
            raise invalid_envelope(fault) from fault
        asked = envelope.encode_compared(data)
        inside = _inside_effect.get()
        question = self._question("route", envelope.intent.name, asked) if inside is None else inside

        def world() -> Answer:
            parent = ParentLink(self.execution_id, question.scope, question.ordinal)
            named = envelope.model_copy(update={"id": f"{own.id}/{question.scope}/{question.ordinal}"})
            try:
                response = self._world.route(
                    Request(named, data, parent, self._request.depth + 1, self._request.durability)
                )
            except Exception as failure:
                # Agents' exceptions never come here, so it is the store's: not for this agent to swallow.
                self._session.fail(failure)
                raise
            return Answer(ok=True, data=values.dumps(response.tree()), child=response.execution_id)

        answer = ask(self._session, question, world) if inside is None else world()
        return AgentResponse.from_tree(values.parse(answer.data), answer.child or "")

    def gather(self, *calls: Callable[..., T]) -> list[T]:
        """Runs the calls at once, each in a thread and a scope of its own.

        Args:
            calls: functions without parameters, or with one, which is handed this context.

        Returns:
            Their results, in the order of the calls.

        Raises:
            Exception: of the calls that raised, the first in the order of the calls, when all have ended.
        """
        parent = self._scope()
        number = None if _inside_effect.get() is not None else next(parent.gathers)

        def branch(index: int, call: Callable[..., T]) -> Callable[[], T]:
            argument = (self,) if _takes_argument(call) else ()

            def run() -> T:
                scope = parent if number is None else _Scope(branch_scope(parent.path, number, index))
                token = _branch.set((self, scope))
                try:
                    return call(*argument)
                finally:
                    _branch.reset(token)

            return run

        return concurrently([branch(index, call) for index, call in enumerate(calls)])

    def _scope(self) -> _Scope:
        branch = _branch.get()
        return self._root if branch is None or branch[0] is not self else branch[1]

    def _question(
        self,
        kind: str,
        name: str,
        arguments: bytes = NO_ARGUMENTS,
        side_effect: str = "read_only",
        idempotent: bool = False,
    ) -> Question:
        scope = self._scope()
        return Question(
            scope.path,
            next(scope.questions),
            kind,
            _text(kind, name),
            arguments,
            side_effect,
            idempotent,
            unordered=scope.thread != threading.get_ident(),
        )

    def _plain(
        self,
        kind: str,
        name: str,
        world: Callable[[], Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if _inside_effect.get() is not None:
            return world()
        arguments = values.encode_arguments(args, kwargs or {}) if args or kwargs else NO_ARGUMENTS
        question = self._question(kind, name, arguments)

        def told() -> Answer:
            try:
                return Answer(ok=True, data=values.encode(world()))
            except Exception as fault:  # noqa: BLE001 - whatever it is, it is the answer
                return raised.capture(fault)

        answer = ask(self._session, question, told)
        if not answer.ok:
            raise raised.revive(answer.data)
        return values.decode(answer.data)


def _text(kind: str, name: object) -> str:
    if not isinstance(name, str) or not is_text(name):
        raise InvalidInput(f"the name of a question ({kind}) must be text", got=describe(name))
    return str.__str__(name)


def _takes_argument(call: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters
    )


def plain(value: Any) -> Any:
    """A model or dataclass as the plain value that it stands for; anything else as it is."""
    kind = type(value)
    if hasattr(kind, "model_dump") or hasattr(kind, "__dataclass_fields__"):
        return values.decode(codec_for(kind).encode(value))
    return value


def call_agent(agent: Agent, attempt: int, request: Request, session: Session, world: World) -> Answer:
    """Calls the agent of an attempt with a context of its own."""
    context = Context(session, request, attempt_scope(attempt), world)
    if _inside_effect.get() is None:
        return call_inline(agent, request.payload, context)
    token = _inside_effect.set(None)
    try:
        return call_inline(agent, request.payload, context)
    finally:
        _inside_effect.reset(token)
