"""`Context`: what an agent asks through.

Everything that an agent wants from the world goes through here, becomes a `Question`, and is answered by the
session: by the world in a live execution, from the record in a replay. The agent cannot tell the difference,
because in both cases it is handed the decoded bytes of the answer.
"""

from __future__ import annotations

import functools
import inspect
import math
import typing
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, Literal, TypeVar, overload

from pydantic import ValidationError

from intentusnet import carrying, raised, values
from intentusnet.agents import Agent
from intentusnet.asker import Asker, World, current, text_of
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
from intentusnet.errors import ControlSignal, DeadlineExceeded, InvalidInput
from intentusnet.record import ParentLink
from intentusnet.refusals import describe
from intentusnet.response import AgentResponse
from intentusnet.routing.isolation import call_inline
from intentusnet.routing.router import Request
from intentusnet.scopes import covered, inside_effect
from intentusnet.transcript import Answer, Question, Session, ask, attempt_scope

__all__ = ["Context", "World", "call_agent", "capturing", "covered", "plain"]

T = TypeVar("T")
Item = TypeVar("Item")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: So many items of a `Context.map` at once, unless it is told another number.
_AT_ONCE: Final = 32


def capturing() -> Context | None:
    """The context through which running code asks what it does not ask itself: what a hook has caught.

    Returns:
        None outside of agents, in threads that have outlived the call of their agent, and inside an effect,
            whose answer covers all that it does.
    """
    asker = current.get()
    return asker if isinstance(asker, Context) and asker.captures() else None


class Context(Asker):
    """What an agent may ask of the world. One is made for each call of an agent; see `Asker`."""

    __intentus_context__ = True

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
        if inside_effect.get() is not None:
            return function(*args, **kwargs)
        traits = traits_of(function)
        codec = result_codec(function)
        question = self._question(
            "effect", name, self._arguments(args, kwargs), traits.side_effect, traits.idempotent
        )
        ticket = self._session.begin(question)
        answer = ticket.answer
        if answer is None:
            fault: BaseException | None = None
            try:
                with covered(question):
                    answer = answer_of(name, codec, function(*args, **kwargs))
            except (ControlSignal, KeyboardInterrupt):
                raise
            except BaseException as raised_by_it:  # noqa: BLE001 - whatever it is, it is the answer
                fault, answer = raised_by_it, raised.capture(raised_by_it)
            answer = self._session.end(ticket, answer)
            if fault is not None:
                raise fault
        if not answer.ok:
            raise raised.revive(answer.data)
        try:
            return typing.cast("T", codec.decode(answer.data))
        except InvalidInput as misfit:
            raise self._session.misfit(ticket, misfit) from None

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
    def random(self) -> Random:
        """A random stream of this scope's own; only its seed is recorded."""
        return self._stream(None)

    def random_stream(self, name: str) -> Random:
        """A random stream of this scope's own with a name; only its seed is recorded.

        What is drawn from one stream shifts no other. Threads and tasks that draw at once want a name each.

        Args:
            name: any text; the same name in the same scope is the same stream.

        Raises:
            InvalidInput: the name is no text.
        """
        return self._stream(text_of("random", name))

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

    def usage(self, **counts: float) -> None:
        """Writes down what was used up: ``ctx.usage(tokens=812, cost=0.03)``. Not compared.

        `ExecutionRecord.usage` has the sums by name.

        Raises:
            InvalidInput: a count is no finite int or float.
        """
        for name, count in counts.items():
            if type(count) not in (int, float) or (type(count) is float and not math.isfinite(count)):
                raise InvalidInput(
                    "what was used up is told in numbers",
                    where=name,
                    expected="a finite int or float",
                    got=describe(count),
                )
        self._plain("usage", "usage", lambda: None, (), counts)

    def patched(self, patch: str) -> bool:
        """Whether the code after a change runs here, or the one before: ``if ctx.patched("retry-twice"): …``.

        Executions of now answer yes, and say so in their record. The replay of a record that does not say so,
        because it is older than the change, answers no and takes the old branch. Within a scope the first
        answer stays.

        When no older record is replayed any more, the old branch can go, but the call has to stay, its result
        unused, as long as records that name the patch are: without it they diverge with `missing`.

        Args:
            patch: names the change.

        Raises:
            InvalidInput: the name is no text.
        """
        patch = text_of("patched", patch)
        if inside_effect.get() is not None:
            return True
        scope = self._scope()
        with scope.lock:
            if patch not in scope.patches:
                scope.patches[patch] = typing.cast("bool", self._plain("patched", patch, lambda: True))
            return scope.patches[patch]

    @property
    def deadline(self) -> datetime | None:
        """The envelope's deadline; None if it has none."""
        return self._request.envelope.deadline

    def check(self) -> None:
        """Returns if the agent may go on. Long computations call it now and then.

        Nothing is recorded of a check that passes. One that finds the deadline behind it is on record, and a
        replay fails at that check, whatever the time is then.

        Raises:
            BranchCancelled: another agent has won the race.
            DeadlineExceeded: the deadline has passed.
        """
        inside = inside_effect.get()
        if inside is None:
            number = next(self._scope().checks)
            question = self._question("check", "deadline", values.encode_arguments((number,), {}))
        else:
            question = Question(inside.scope, inside.ordinal, "check", "deadline")
        ticket = self._session.begin(question)
        answer, deadline = ticket.answer, self.deadline
        if answer is None:
            if deadline is None or self._world.clock.time_us() < deadline.timestamp() * 1_000_000:
                return
            late = DeadlineExceeded(f"the deadline {deadline.isoformat()} has passed")
            if inside is not None:
                raise late
            answer = self._session.end(ticket, raised.capture(late))
        if not answer.ok:
            raise raised.revive(answer.data)

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
        inside = inside_effect.get()
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
        given = [functools.partial(call, self) if _takes_argument(call) else call for call in calls]
        return self._branches(given, None)

    def map(
        self, function: Callable[[Item], T], items: Iterable[Item], *, limit: int | None = None
    ) -> list[T]:
        """Calls the function with each item, several at once, each in a scope of its own.

        Args:
            function: what is called. No call may wait for another one.
            items: what it is called with.
            limit: so many at once, at least 1; 32 unless given.

        Returns:
            The results, in the order of the items.

        Raises:
            InvalidInput: the limit makes no sense.
            Exception: of the calls that raised, the first in the order of the items, when all have ended.
        """
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InvalidInput(
                "the limit makes no sense", where="limit", expected="1 or more", got=describe(limit)
            )
        return self._branches([functools.partial(function, item) for item in items], limit or _AT_ONCE)

    def _stream(self, name: str | None) -> Random:
        if inside_effect.get() is not None:
            return Random(self._world.ids.seed())
        scope = self._scope()
        with scope.lock:
            if name not in scope.streams:
                asked = ("seed", ()) if name is None else ("stream", (name,))
                scope.streams[name] = Random(self._plain("random", asked[0], self._world.ids.seed, asked[1]))
            return scope.streams[name]


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
    carrying.install()
    context = Context(session, request, attempt_scope(attempt), world)
    inside, asker = inside_effect.set(None), current.set(context)
    try:
        return call_inline(agent, request.payload, context)
    finally:
        context.close()
        current.reset(asker)
        inside_effect.reset(inside)
