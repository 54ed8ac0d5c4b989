"""`Hooks`: calls the hooks of a runtime (`Hook`).

A *guard* (`before`) says whether anybody is called at all, and whatever becomes of it but "yes" means no. An
*observer* (`after`, `on_error`, `on_event`) is told what happened and changes nothing: if it raises, that is
reported, and the execution goes on. None of them is called in a replay, where nothing happens.

What they do themselves is none of the agent's doing in whose thread they may run: it is not captured.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from intentusnet import values
from intentusnet.asker import current
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import ConfigurationError, Refused
from intentusnet.events import Event, Origin
from intentusnet.hook import Method, methods_of, report
from intentusnet.ids import Clock
from intentusnet.refusals import describe
from intentusnet.response import AgentResponse, ErrorCode, ErrorInfo, message_of, recordable_details
from intentusnet.routing.control import Control
from intentusnet.routing.guarding import PASSED, ask_guards, refused
from intentusnet.routing.hands import Recorder
from intentusnet.routing.observing import Observed
from intentusnet.routing.plan import Plan
from intentusnet.routing.request import Request
from intentusnet.scopes import entered
from intentusnet.transcript import Answer


class Hooks:
    """The hooks of a runtime; frozen.

    Args:
        hooks: in the order of their registration.
        clock: says when things happen.
        redacted: takes the secrets out of what guards say, before it is written down.

    Attributes:
        given: the hooks.
        guards: the names of those who are asked before anybody is called.

    Raises:
        ConfigurationError: one of them is no hook, or two guards have one name.
    """

    def __init__(self, hooks: Sequence[object], clock: Clock, redacted: Callable[[bytes], bytes]) -> None:
        self.given = hooks
        self._clock = clock
        self._redacted = redacted
        methods = [method for place, hook in enumerate(hooks) for method in methods_of(hook, place)]
        self._guards = tuple(method for method in methods if method.name == "before")
        self.guards = tuple(guard.hook for guard in self._guards)
        _check_names(self.guards)
        self._awaited = next((method for method in methods if method.is_async), None)
        self._watching = tuple(method for method in methods if method.name == "on_event")
        self._last = tuple(method for method in reversed(methods) if method.name in ("after", "on_error"))

    @property
    def awaits(self) -> bool:
        """Whether somebody has to await them."""
        return self._awaited is not None

    def check_awaited(self) -> None:
        """Refuses hooks that are coroutine functions where nobody awaits them.

        Raises:
            ConfigurationError: one of them is.
        """
        if self._awaited is not None:
            raise ConfigurationError(
                f"{self._awaited} is a coroutine function, and nobody awaits it here",
                hint="Await `route_async`, or make it a plain function; the command line awaits it.",
            )

    def observe(self, session: Recorder, request: Request, plan: Plan, origin: Origin) -> Observed:
        """Has observers told of what happens in a session, and that it has begun."""
        observed = Observed(session, request, plan, self._clock, self)
        observed.opened(origin)
        return observed

    def admit(self, request: Request, session: Recorder) -> bytes | None:
        """Asks the guards, as far as no verdict of theirs is on record.

        Returns:
            The encoded error of the first refusal.
        """
        asking = ask_guards(session, self.guards, request.control or Control())
        try:
            number = next(asking)
            while True:
                number = asking.send(self._verdict(self._guards[number], request))
        except StopIteration as stop:
            refusal: bytes | None = stop.value
            return refusal

    async def admit_async(self, request: Request, session: Recorder) -> bytes | None:
        """The same for asynchronous callers."""
        control = request.control or Control()
        asking = ask_guards(session, self.guards, control)
        try:
            number = next(asking)
            while True:
                number = asking.send(await self._verdict_async(self._guards[number], request, control))
        except StopIteration as stop:
            refusal: bytes | None = stop.value
            return refusal

    def tell(self, event: Event) -> None:
        """See `Observers.tell`."""
        for method in self._watching:
            self._call(method, event)

    def ended(self, request: Request, response: Callable[[], AgentResponse]) -> None:
        """See `Observers.ended`."""
        for method in self._last:
            told = response()
            if (method.name == "after") is told.ok:
                self._call(method, _copy(request), told)

    async def ended_async(self, request: Request, response: Callable[[], AgentResponse]) -> None:
        """See `Observers.ended_async`."""
        for method in self._last:
            told = response()
            if (method.name == "after") is told.ok:
                await self._await(method, _copy(request), told)

    def failed(self, request: Request, fault: BaseException) -> None:
        """See `Observers.failed`."""
        for method in self._last:
            if method.name == "on_error":
                self._call(method, _copy(request), fault)

    async def failed_async(self, request: Request, fault: BaseException) -> None:
        """See `Observers.failed_async`."""
        for method in self._last:
            # Nobody can await anything in a coroutine that is thrown away.
            if method.name == "on_error" and not (method.is_async and isinstance(fault, GeneratorExit)):
                await self._await(method, _copy(request), fault)

    def _verdict(self, guard: Method, request: Request) -> Answer:
        try:
            with _outside():
                _check_passed(guard, guard.call(_copy(request)))
        except KeyboardInterrupt:
            raise
        except BaseException as fault:  # noqa: BLE001 - whatever it is, it does not mean yes
            return self._refused(guard, fault)
        return PASSED

    async def _verdict_async(self, guard: Method, request: Request, control: Control) -> Answer:
        from asyncio import CancelledError

        try:
            with _outside():
                result = guard.call(_copy(request))
                _check_passed(
                    guard, await _unless_stopped(result, control) if isinstance(result, Awaitable) else result
                )
        except KeyboardInterrupt:
            raise
        except BaseException as fault:  # noqa: BLE001 - whatever it is, it does not mean yes
            if not isinstance(fault, CancelledError) or control.reason is None:
                return self._refused(guard, fault)
            message = f"the execution was cancelled while guard {guard.hook!r} was asked: {control.reason}"
            return refused(ErrorInfo(code=ErrorCode.CANCELLED, message=message).encode())
        return PASSED

    def _refused(self, guard: Method, fault: BaseException) -> Answer:
        error = _refusal(guard, fault) if isinstance(fault, Refused) else None
        if error is None:
            report(guard, fault)
            # What it says may be a secret, or the very thing that was to be kept out.
            error = ErrorInfo(
                code=ErrorCode.POLICY_DENIAL,
                message=f"guard {guard.hook!r} has failed, so nobody was called",
                type=type(fault).__qualname__,
                details={"guard": guard.hook},
            )
        return refused(self._redacted(error.encode()))

    def _call(self, method: Method, *arguments: object) -> None:
        with _reported(method), _outside():
            _never_awaited(method, method.call(*arguments))

    async def _await(self, method: Method, *arguments: object) -> None:
        with _reported(method), _outside():
            result = method.call(*arguments)
            if isinstance(result, Awaitable):
                await result


def hooks_of(hooks: Iterable[object], clock: Clock, redacted: Callable[[bytes], bytes]) -> Hooks | None:
    """The hooks; None if there are none.

    Raises:
        ConfigurationError: one of them is no hook.
    """
    if isinstance(hooks, str | bytes) or not isinstance(hooks, Iterable):
        raise ConfigurationError(
            "hooks are given as a list", where="hooks", expected="a list of hooks", got=describe(hooks)
        )
    known = tuple(hooks)
    return Hooks(known, clock, redacted) if known else None


def _check_names(guards: Sequence[str]) -> None:
    for place, name in enumerate(guards):
        if name in guards[:place]:
            raise ConfigurationError(
                f"two guards are called {name!r}",
                where="hooks",
                expected="a name for each, by which records tell who has said what",
                hint="Set the attribute `name` of one of them.",
            )


def _check_passed(guard: Method, result: object) -> None:
    """Refuses what a guard has returned, if that is not nothing."""
    if result is None:
        return
    if inspect.iscoroutine(result):
        result.close()
    raise TypeError(f"{guard} has returned {describe(result)}; it returns None, or raises Refused")


async def _unless_stopped(result: Awaitable[object], control: Control) -> object:
    """What a guard comes to; it is cancelled if its execution is.

    Raises:
        BaseException: what it raises.
    """
    from asyncio import ensure_future, get_running_loop

    from intentusnet.routing.awaiting import finished

    async def told() -> tuple[object, SystemExit | None]:
        try:
            return await result, None
        except SystemExit as fault:  # out of a task it would end the loop
            return None, fault

    task, loop = ensure_future(told()), get_running_loop()

    def stop() -> None:
        loop.call_soon_threadsafe(task.cancel)

    with control.wakes(stop):
        said, fault = await finished(task, control)
    if fault is not None:
        raise fault
    return said


def _refusal(guard: Method, fault: Refused) -> ErrorInfo | None:
    """What a guard says to the caller; None if it makes no sense."""
    code = next((known for known in ErrorCode if known == getattr(fault, "code", None)), None)
    if code is None or code is ErrorCode.IN_DOUBT:
        return None
    details = {"guard": guard.hook, **recordable_details(getattr(fault, "details", {}))}
    return ErrorInfo(code=code, message=message_of(fault), type=type(fault).__qualname__, details=details)


def _copy(request: Request) -> IntentEnvelope:
    """The envelope, with a copy of the payload as agents get one."""
    return request.envelope.model_copy(update={"payload": values.decode(request.payload)})


@contextlib.contextmanager
def _outside() -> Iterator[None]:
    """While it lasts, running code is nobody's but its own: what it does is not captured as an agent's."""
    token = entered(current, None)
    try:
        yield
    finally:
        current.reset(token)


def _never_awaited(method: Method, result: object) -> None:
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"{method} has returned a coroutine, and nobody awaits it here")


@contextlib.contextmanager
def _reported(method: Method) -> Iterator[None]:
    """While it lasts, what an observer raises is reported; what ends a program passes."""
    try:
        yield
    except Exception as fault:  # noqa: BLE001 - observers harm nothing
        report(method, fault)
