"""`Hook`: code of the user's around executions: what it may have, and how it is told of when it has raised.

``hooks`` calls it.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, NamedTuple

from intentusnet.agents import awaits
from intentusnet.envelope import IntentEnvelope
from intentusnet.errors import ConfigurationError, HookWarning
from intentusnet.events import Event
from intentusnet.refusals import describe
from intentusnet.response import AgentResponse, message_of
from intentusnet.tags import is_text


class Hook:
    """What a runtime calls around its executions; a hook has some of these methods, and needs no base class.

    Attributes:
        name: names a guard in records; the class's name unless it is set. No two guards may share one.
    """

    name: str

    def before(self, envelope: IntentEnvelope) -> Awaitable[None] | None:
        """A guard: returns if the execution may call agents.

        Guards are asked in the order of registration, for children, too; the first refusal ends it.

        Args:
            envelope: the request; its payload is a copy.

        Raises:
            Refused: it may not. Whatever else is raised, or returned, is a refusal as well.
        """

    def after(self, envelope: IntentEnvelope, response: AgentResponse) -> Awaitable[None] | None:
        """The execution has succeeded, and that is on record. The last one that was registered is first."""

    def on_error(
        self, envelope: IntentEnvelope, error: AgentResponse | BaseException
    ) -> Awaitable[None] | None:
        """The execution has failed; in the order of `after`.

        Args:
            envelope: the request.
            error: the response, which is on record; or what `route` raises where there is none.
        """

    def on_event(self, event: Event) -> None:
        """Something has happened in an execution; in the order of registration, in whatever thread it was."""


_TAKES: Final = {
    "before": ("envelope",),
    "after": ("envelope", "response"),
    "on_error": ("envelope", "error"),
    "on_event": ("event",),
}


#: The modules whose frames lie between an execution and a hook.
_CALLERS: Final = (__name__, f"{__name__}s")


class Method(NamedTuple):
    """A method of a hook.

    Attributes:
        hook: the hook's name.
        name: the method's.
        call: the method itself.
        is_async: it is a coroutine function.
    """

    hook: str
    name: str
    call: Callable[..., Any]
    is_async: bool

    def __str__(self) -> str:
        return f"`{self.name}` of hook {self.hook!r}"


def methods_of(hook: object, place: int) -> Iterator[Method]:
    """The methods of a hook, at its place among the hooks.

    Raises:
        ConfigurationError: it is no hook.
    """
    where = f"hooks[{place}]"
    if isinstance(hook, type):
        raise ConfigurationError(
            f"{hook.__name__} is a class",
            where=where,
            expected="a hook",
            hint=f"Give it as {hook.__name__}().",
        )
    name = _name_of(hook, where)
    methods = {method: getattr(hook, method, None) for method in _TAKES}
    # What the base class has does nothing.
    own = {
        method: call
        for method, call in methods.items()
        if call is not None and getattr(call, "__func__", None) is not getattr(Hook, method)
    }
    if not own:
        raise ConfigurationError(
            "this is no hook",
            where=where,
            expected=f"some of the methods {', '.join(_TAKES)}",
            got=describe(hook),
        )
    for method, call in own.items():
        yield Method(name, method, call, _check(f"{where}.{method}", method, call))


def _name_of(hook: object, where: str) -> str:
    name = getattr(hook, "name", None)
    if name is None:
        return type(hook).__name__
    if not isinstance(name, str) or not name or not is_text(name):
        raise ConfigurationError(
            "the name of a hook is no text", where=f"{where}.name", expected="text", got=describe(name)
        )
    return str.__str__(name)


def _check(where: str, name: str, call: Any) -> bool:
    """Whether a method is a coroutine function.

    Raises:
        ConfigurationError: it cannot be called as hooks are.
    """
    expected = f"{name}({', '.join(_TAKES[name])})"
    if not callable(call):
        raise ConfigurationError("it cannot be called", where=where, expected=expected, got=describe(call))
    with contextlib.suppress(ValueError, TypeError):  # of what is written in C, nobody may know
        signature = inspect.signature(call)
        try:
            signature.bind(*_TAKES[name])
        except TypeError as fault:
            got = f"{name}{signature}"
            raise ConfigurationError(
                "it takes other arguments", where=where, expected=expected, got=got
            ) from fault
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise ConfigurationError(
            "it is a generator",
            where=where,
            expected="a function, or a coroutine function",
            got=describe(call),
        )
    is_async = awaits(call)
    if is_async and name == "on_event":
        raise ConfigurationError(
            "it is a coroutine function",
            where=where,
            expected="a function: events come in threads, too, where nobody could await it",
            got=describe(call),
            hint="Put the event into a queue, and await what you do with it elsewhere.",
        )
    return is_async


def report(method: Method, fault: BaseException) -> None:
    """Warns that a hook has raised, at the line where it did.

    Whatever becomes of the warning, this returns.
    """
    warning = HookWarning(f"{method} has raised {type(fault).__qualname__}: {message_of(fault)}")
    file, line, scope = _place(method, fault)
    module = str(scope.get("__name__", "<unknown>"))
    with contextlib.suppress(Exception):  # what shows warnings may be the user's, too
        try:
            warnings.warn_explicit(
                warning, HookWarning, file, line, module, scope.setdefault("__warningregistry__", {})
            )
        except HookWarning:  # warnings are errors, and this one must not be an execution's
            warnings.showwarning(warning, HookWarning, file, line)


def _place(method: Method, fault: BaseException) -> tuple[str, int, dict[str, Any]]:
    """File and line in a hook where it has raised, with the globals there; without such a line, its first."""
    trace = fault.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") in _CALLERS:
        trace = trace.tb_next
    if trace is not None:
        return trace.tb_frame.f_code.co_filename, trace.tb_lineno, trace.tb_frame.f_globals
    function = getattr(method.call, "__func__", method.call)
    code = getattr(function, "__code__", None)
    if code is None:
        return __file__, 1, globals()
    return code.co_filename, code.co_firstlineno, function.__globals__
