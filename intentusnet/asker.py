"""`Asker`: puts an agent's questions to a session, each from the scope in which it is asked.

`Context` is what agents see of it; hooks that catch what agents do not ask themselves use `begin` and `end`.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from intentusnet import garbage, raised, values
from intentusnet.errors import (
    BranchCancelled,
    ControlSignal,
    DeadlineExceeded,
    ExecutionCancelled,
    InvalidInput,
)
from intentusnet.ids import SYSTEM_CLOCK, Clock, Ids
from intentusnet.refusals import describe
from intentusnet.response import AgentResponse
from intentusnet.routing.drivers import OffLoop, concurrently
from intentusnet.routing.request import Request
from intentusnet.scopes import Scope, covered, entered, inside_effect
from intentusnet.sizes import DEFAULT_SIZES, Sizes
from intentusnet.tags import is_text
from intentusnet.transcript import (
    ACTING_KINDS,
    NO_ARGUMENTS,
    Answer,
    Question,
    Session,
    Ticket,
    ask,
    branch_scope,
)

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class World:
    """What a context needs to ask the world: injected by the runtime.

    Attributes:
        clock, ids: time and chance.
        environ: environment variables.
        route, route_async: route a child request.
        off_loop: for asynchronous agents, calls what may wait for a disk.
        capture: what the runtime's hooks are to catch, in their own terms; None for nothing.
        redact: takes the secrets out of encoded arguments, in the way of that world's setting.
        sizes: how large payloads and answers may be.
    """

    clock: Clock
    ids: Ids
    environ: Mapping[str, str]
    route: Callable[[Request], AgentResponse]
    route_async: Callable[[Request], Awaitable[AgentResponse]]
    off_loop: OffLoop
    capture: object = None
    redact: Callable[[World, bytes], bytes] | None = None
    sizes: Sizes = DEFAULT_SIZES

    def redacted(self, arguments: bytes) -> bytes:
        """Encoded arguments as they are written down, and compared."""
        return arguments if self.redact is None else self.redact(self, arguments)


class Asker:
    """Puts the questions of one call of an agent to a session.

    Args:
        session: where answers come from.
        request: the execution's request.
        scope: the scope of the attempt.
        world: asked if the session has no answer.
        until_us: when the attempt's time is up, in microseconds since 1970-01-01 UTC; None for never.
    """

    def __init__(
        self, session: Session, request: Request, scope: str, world: World, until_us: int | None = None
    ) -> None:
        self._session = session
        self._request = request
        self._root = Scope(scope)
        self._world = world
        self._until_us = until_us
        self._ended = False
        self._open: dict[int, Callable[[], None]] = {}

    @property
    def capture(self) -> object:
        """What hooks are to catch, in their own terms; None for nothing."""
        return self._world.capture

    def begin(
        self,
        kind: str,
        name: str,
        arguments: bytes = NO_ARGUMENTS,
        side_effect: str = "read_only",
        idempotent: bool = False,
    ) -> Ticket:
        """Takes note of a question that a hook has caught; see `Session.begin`.

        Args:
            kind, name: what is asked; a kind of ``transcript.ACTING_KINDS`` is on record before it is done.
            arguments: encoded by ``values``.
            side_effect, idempotent: what asking may do to the world.

        Returns:
            A ticket, with the answer if the session has it. Otherwise the hook asks the world within
                `covered`, and hands the answer to `end`.

        Raises:
            DeadlineExceeded: it may act, and the attempt's time is up.
        """
        if kind in ACTING_KINDS:
            self._check_time()
        return self._session.begin(self._question(kind, name, arguments, side_effect, idempotent))

    def end(self, ticket: Ticket, answer: Answer) -> Answer:
        """Takes note of what the world answered to a hook; see `Session.end`."""
        return self._session.end(ticket, answer)

    def at_end(self, key: int, finish: Callable[[], None] | None) -> None:
        """Has something called when the agent's call ends, under a key; None takes it back."""
        if finish is None:
            self._open.pop(key, None)
        else:
            self._open[key] = finish

    def close(self) -> None:
        """Ends the call: hooks no longer ask through this context, and finish what they have begun."""
        self._ended = True
        while self._open:
            # What the loser of a race has to tell is not wanted any more.
            with contextlib.suppress(ControlSignal):
                self._open.pop(next(iter(self._open)))()

    def check(self) -> None:
        """Returns if the agent may go on. Long computations call it now and then; what may act does.

        Nothing is recorded of a check that passes. One that finds its time up is on record, and a replay
        fails at that check, whatever the time is then.

        Raises:
            BranchCancelled: another agent has won the race, or this one was cut off.
            ExecutionCancelled: the execution was cancelled.
            DeadlineExceeded: the agent's time, or the envelope's, is up.
        """
        inside = inside_effect.get()
        if inside is None:
            number = next(self._scope().checks)
            question = self._question("check", "deadline", values.encode_arguments((number,), {}))
        else:
            question = Question(inside.scope, inside.ordinal, "check", "deadline")
        ticket = self._session.begin(question)
        answer = ticket.answer
        if answer is None:
            if self._until_us is None or self._world.clock.time_us() < self._until_us:
                return
            # When it was is another matter in each run, and what is raised is compared.
            late = DeadlineExceeded("the deadline has passed")
            if inside is not None:
                raise late
            answer = self._session.end(ticket, raised.capture(late))
        if not answer.ok:
            raise raised.revive(answer.data)

    def _check_time(self) -> None:
        # Not for threads of the agent's own: timing would decide which of their questions finds the time up.
        if self._until_us is not None and self._scope().is_own():
            self.check()

    def _wait(self, seconds: float) -> None:
        """Waits, but no longer than the attempt may take, or than until the execution is cancelled."""
        clock, control = self._world.clock, self._request.control
        if control is None or clock is not SYSTEM_CLOCK:
            clock.sleep(self._bounded(seconds))
        elif control.wait(self._bounded(seconds)) is not None:
            raise ExecutionCancelled(control.reason)

    def _bounded(self, seconds: float) -> float:
        """So many seconds, but no more than are left."""
        if self._until_us is None:
            return seconds
        return min(seconds, max(self._until_us - self._world.clock.time_us(), 0) / 1_000_000)

    def captures(self) -> bool:
        """Whether hooks are to ask through this context for the code that runs."""
        return not self._ended and inside_effect.get() is None and not garbage.is_collected()

    def _scope(self) -> Scope:
        inner = branch.get()
        return self._root if inner is None or inner[0] is not self else inner[1]

    def _branches(self, calls: Sequence[Callable[[], T]], limit: int | None) -> list[T]:
        scope_of = self._branch_scopes()

        def bound(index: int, call: Callable[[], T]) -> Callable[[], T]:
            def run() -> T:
                token = entered(branch, (self, scope_of(index)))
                try:
                    return call()
                finally:
                    branch.reset(token)

            return run

        return concurrently([bound(index, call) for index, call in enumerate(calls)], limit)

    def _branch_scopes(self) -> Callable[[int], Scope]:
        """What gives each of several concurrent calls its scope; to be asked in the strand that it is for."""
        parent = self._scope()
        # What a thread or task of the agent's own does has no place in the scope's order, so its branches
        # could be numbered by timing alone: they share the scope, and match without order.
        if inside_effect.get() is not None or not parent.is_own():
            return lambda _: parent
        number = next(parent.gathers)
        return lambda index: Scope(branch_scope(parent.path, number, index))

    def _question(
        self,
        kind: str,
        name: str,
        arguments: bytes = NO_ARGUMENTS,
        side_effect: str = "read_only",
        idempotent: bool = False,
    ) -> Question:
        scope = self._scope()
        if self._ended:
            raise self._over(scope)
        return Question(
            scope.path,
            next(scope.questions),
            kind,
            text_of(kind, name),
            arguments,
            side_effect,
            idempotent,
            unordered=not scope.is_own(),
        )

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        return self._world.redacted(values.encode_arguments(args, kwargs))

    def _over(self, scope: Scope) -> BaseException:
        """What meets a question that comes when the call has ended: no answer could count."""
        if current.get() is self:
            return BranchCancelled(scope.path)  # a thread of the call's own, which nobody waits for
        return InvalidInput(
            "the context is that of a call that has ended",
            where=scope.path,
            hint="A context is for one call of its agent: use the one that is handed to this call",
        )

    def _plain(
        self,
        kind: str,
        name: str,
        world: Callable[[], Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if inside_effect.get() is not None:
            return world()
        arguments = self._arguments(args, kwargs or {}) if args or kwargs else NO_ARGUMENTS
        question = self._question(kind, name, arguments)

        def told() -> Answer:
            try:
                with covered(question):
                    return Answer(ok=True, data=values.encode(world()))
            except Exception as fault:  # noqa: BLE001 - whatever it is, it is the answer
                return raised.capture(fault)

        answer = ask(self._session, question, told)
        if not answer.ok:
            raise raised.revive(answer.data)
        return values.decode(answer.data)


#: Who asks for the agent whose code runs.
current: contextvars.ContextVar[Asker | None] = contextvars.ContextVar("intentusnet_asker", default=None)
#: The branch that this thread runs, for the asker that it belongs to.
branch: contextvars.ContextVar[tuple[Asker, Scope] | None] = contextvars.ContextVar(
    "intentusnet_branch", default=None
)


def current_scope() -> Scope | None:
    """The scope of the agent's code that runs; None outside of agents."""
    asker = current.get()
    return None if asker is None else asker._scope()


def text_of(kind: str, name: object) -> str:
    """The name of a question of that kind, as text.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(name, str) or not is_text(name):
        raise InvalidInput(f"the name of a question ({kind}) must be text", got=describe(name))
    return str.__str__(name)


def point_in_time(microseconds: int) -> datetime:
    """A time of a clock, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
