"""`BaseContext`: what an agent asks without having to wait, and what waiting and awaiting agents share.

Everything that an agent wants from the world goes through its context, becomes a `Question`, and is answered
by the session: by the world in a live execution, from the record in a replay. The agent cannot tell the
difference, because in both cases it is handed the decoded bytes of the answer.
"""

from __future__ import annotations

import functools
import inspect
import math
import typing
import uuid
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any, Final, NamedTuple, TypeVar, overload

from intentusnet import values
from intentusnet.agents import Agent
from intentusnet.asker import Asker, World, current, point_in_time, text_of
from intentusnet.codecs import Codec, codec_for
from intentusnet.effects import result_codec, traits_of
from intentusnet.envelope import IntentEnvelope, invalid_envelope, names_of, routing_of
from intentusnet.errors import InvalidAgent, InvalidInput, UnrecordableValue
from intentusnet.record import ParentLink
from intentusnet.refusals import describe
from intentusnet.response import AgentResponse, ErrorInfo
from intentusnet.routing.isolation import until_us
from intentusnet.routing.request import Request
from intentusnet.scopes import inside_effect
from intentusnet.sizes import admitted, written
from intentusnet.transcript import Answer, Question, Session, attempt_scope

#: So many items of a `map` at once, unless it is told another number.
AT_ONCE: Final = 32

#: Most payloads are of these types, which stand for themselves.
_PLAIN: Final = frozenset({dict, list, str, int, float, bool, type(None)})


class Child(NamedTuple):
    """A child intent that is about to be asked for.

    Attributes:
        question: what is asked.
        envelope, data: what is routed, and its encoded payload.
        refusal: why that is refused; then ``data`` is what stands for it in the records.
    """

    question: Question
    envelope: IntentEnvelope
    data: bytes
    refusal: ErrorInfo | None


class BaseContext(Asker):
    """What both kinds of context ask in the same way. One is made for each call of an agent; see `Asker`."""

    __intentus_context__ = True
    _has_timeout = False

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

    def now(self) -> datetime:
        """The time, in UTC, to the microsecond."""
        clock = self._world.clock
        return typing.cast("datetime", self._plain("clock", "now", lambda: point_in_time(clock.time_us())))

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
        """The environment variable's value, or the default.

        Of a variable that is a secret by its name, such as ``API_KEY``, the record has a placeholder, which a
        replay answers.
        """
        real: list[str | None] = []

        def read() -> str | None:
            real.append(self._world.environ.get(name))
            named: dict[str, str | None] = values.untag(
                values.parse(self._world.redacted(values.encode({name: real[0]})))
            )
            return named[name]

        value = self._plain("env", name, read)
        value = real[0] if real else value
        return default if value is None else typing.cast("str", value)

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
        """When the agent's time, or the envelope's, is up, whichever is first; None for no limit."""
        if self._until_us is None or not self._has_timeout:
            return self._request.envelope.deadline
        until_us = self._until_us
        return typing.cast("datetime", self._plain("clock", "deadline", lambda: point_in_time(until_us)))

    def _effect(
        self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Question, Codec]:
        """The question that an effect is, and the codec of its answer."""
        self._check_time()
        traits = traits_of(function)
        codec = result_codec(function)
        question = self._question(
            "effect", name, self._arguments(args, kwargs), traits.side_effect, traits.idempotent
        )
        return question, codec

    def _child(self, intent: Any, payload: Any, options: dict[str, Any]) -> Child:
        """The question that a child intent is.

        Args:
            intent, payload: of the child.
            options: the other arguments of `Context.route`.
        """
        self._check_time()
        own = self._request.envelope
        data, refusal = admitted(plain(payload), self._world.sizes)
        caller, tags, priority = options["caller"], options["tags"], options["priority"]
        try:
            envelope = IntentEnvelope(
                id=own.id,
                intent=intent,
                payload=values.decode(data),
                caller=own.caller if caller is None else caller,
                tags=own.tags if tags is None else names_of("tags", tags),
                priority=own.priority if priority is None else priority,
                deadline=None if self._until_us is None else point_in_time(self._until_us),
                routing=routing_of(
                    options["strategy"],
                    options["target"],
                    names_of("fallback", options["fallback"]),
                    options["prefer"],
                ),
                traceparent=own.traceparent,
                idempotency_key=options["idempotency_key"],
            )
        except InvalidInput:
            raise
        except Exception as fault:  # of pydantic, or of the arguments themselves
            raise invalid_envelope(fault) from fault
        inside = inside_effect.get()
        if inside is not None:
            return Child(inside, envelope, data, refusal)
        asked = envelope.encode_compared(data)
        return Child(self._question("route", envelope.intent.name, asked), envelope, data, refusal)

    def _child_request(self, child: Child, resumes: str | None = None) -> Request:
        """The request that asks for a child execution, or for the end of an interrupted one."""
        own, question = self._request, child.question
        name = f"{own.envelope.id}/{question.scope}/{question.ordinal}"
        return Request(
            child.envelope.model_copy(update={"id": name}),
            child.data,
            ParentLink(self.execution_id, question.scope, question.ordinal),
            own.depth + 1,
            own.durability,
            own.control,
            own.holding,
            child.refusal,
            resumes=resumes,
        )

    def _stream(self, name: str | None) -> Random:
        if inside_effect.get() is not None:
            return Random(self._world.ids.seed())
        scope = self._scope()
        with scope.lock:
            if name not in scope.streams:
                asked = ("seed", ()) if name is None else ("stream", (name,))
                scope.streams[name] = Random(self._plain("random", asked[0], self._world.ids.seed, asked[1]))
            return scope.streams[name]


Kind = TypeVar("Kind", bound=BaseContext)


def context_for(
    kind: type[Kind], agent: Agent, attempt: int, request: Request, session: Session, world: World
) -> Kind:
    """A context of that kind, for one call of an agent."""
    context = kind(session, request, attempt_scope(attempt), world, until_us(agent, request, world.clock))
    if agent.definition.timeout is not None:
        context._has_timeout = True
    return context


def without_secrets(answer: Answer, world: World) -> Answer:
    """An agent's answer; what an exception says of secrets, such as a URL with a key, stays out of it."""
    return answer if answer.ok else answer._replace(data=world.redacted(answer.data))


def child_answer(response: AgentResponse) -> Answer:
    """What a child execution came to, as an answer."""
    return Answer(ok=True, data=values.dumps(response.tree()), child=response.execution_id)


def child_response(answer: Answer) -> AgentResponse:
    """The response that `child_answer` was made of."""
    return AgentResponse.from_tree(values.parse(answer.data), answer.child or "")


def takes_argument(call: Callable[..., Any]) -> bool:
    """Whether a function has a parameter that has to be given."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters
    )


def check_limit(limit: int | None) -> int:
    """How many calls of a `map` there are at once.

    Raises:
        InvalidInput: the limit makes no sense.
    """
    if limit is not None and (type(limit) is not int or limit < 1):
        raise InvalidInput(
            "the limit makes no sense", where="limit", expected="1 or more", got=describe(limit)
        )
    return limit or AT_ONCE


def capturing() -> BaseContext | None:
    """The context through which running code asks what it does not ask itself: what a hook has caught.

    Returns:
        None outside of agents, in threads that have outlived the call of their agent, and inside an effect,
            whose answer covers all that it does.
    """
    asker = current.get()
    return asker if isinstance(asker, BaseContext) and asker.captures() else None


def plain(value: Any) -> Any:
    """A model or dataclass as the plain value that it stands for; anything else as it is."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    try:
        stands_for_fields = hasattr(kind, "model_dump") or hasattr(kind, "__dataclass_fields__")
    except Exception:  # noqa: BLE001 - a class can have code of its own, too
        return value
    if stands_for_fields:
        try:
            return values.decode(written(codec_for(kind).encode, value))
        except InvalidAgent as fault:
            raise UnrecordableValue(
                fault.message, expected=fault.expected, got=fault.got, hint="Hand over a dict of its fields"
            ) from fault
    return value
