"""Agents: who can handle what, and how they are called.

`AgentDefinition` is what the world may know of an agent: frozen data, JSON Schemas included. `Agent` adds the
function behind it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from intentusnet.codecs import PLAIN, Codec, codec_for
from intentusnet.errors import InvalidAgent
from intentusnet.importable import check_nameable
from intentusnet.limits import Limits

SideEffect = Literal["read_only", "reversible", "irreversible"]
Isolation = Literal["inline", "thread", "process"]

ANY_VERSION = "*"


class Capability(BaseModel):
    """Which intents an agent handles.

    Args:
        intent: a glob over intent names, such as ``ticket.*``.
        versions: which versions of the intent, as PEP 440 specifiers such as ``>=1,<2``; ``*`` for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    intent: str = Field(min_length=1)
    versions: str = ANY_VERSION

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``pattern`` or ``pattern@versions``.

        Raises:
            InvalidAgent: the version range cannot be read.
        """
        pattern, _, versions = text.partition("@")
        if not pattern:
            raise InvalidAgent(
                "a capability needs an intent name",
                expected="'ticket.classify' or 'ticket.*@>=1,<2'",
                got=repr(text),
            )
        capability = cls(intent=pattern, versions=versions or ANY_VERSION)
        version_matcher(capability.versions)
        return capability

    @property
    def is_exact(self) -> bool:
        """Whether the pattern names one intent only."""
        return not any(sign in self.intent for sign in "*?[")


def version_matcher(versions: str) -> Callable[[str], bool]:
    """A test of whether an intent's version lies in the range.

    Raises:
        InvalidAgent: the range cannot be read.
    """
    if versions == ANY_VERSION:
        return lambda _: True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        specifiers = SpecifierSet(versions)
    except InvalidSpecifier as fault:
        raise InvalidAgent(
            "the version range of a capability cannot be read",
            expected="PEP 440 specifiers such as '>=1,<2' or '==1.*', or '*'",
            got=repr(versions),
        ) from fault

    def matches(version: str) -> bool:
        try:
            return specifiers.contains(Version(version), prereleases=True)
        except InvalidVersion:
            return False

    return matches


class AgentDefinition(BaseModel):
    """What the world may know of an agent.

    Args:
        name: names it in plans, policies and records.
        version: the agent's own; several versions of a name may stand side by side.
        capabilities: which intents it handles.
        rank: lower is called first.
        remote: it runs elsewhere; called after all local ones, and never run again by a replay.
        side_effect: what its *body* does to the world outside recorded effects.
        idempotent: running the body twice does no more than running it once.
        timeout: seconds that one call may take; None for no limit but the envelope's deadline.
        isolation: what stops a call that takes longer: nothing but its own questions ("inline"), its thread
            is left behind ("thread"), its process is killed ("process"). See docs/timeouts.md.
        limits: how often, how many at once, and how soon again it is called. See docs/limits.md.
        description: one line for people.
        input_schema, output_schema: JSON Schema of payload and answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=512)
    version: str = Field(default="1.0", min_length=1)
    capabilities: tuple[Capability, ...] = Field(min_length=1)
    rank: int = 0
    remote: bool = False
    side_effect: SideEffect = "reversible"
    idempotent: bool = False
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    isolation: Isolation = "inline"
    limits: Limits | None = None
    description: str = ""
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] = {}


@dataclass(frozen=True, eq=False)
class Agent:
    """A definition with the function behind it.

    Attributes:
        definition: what is told about it.
        handler: called with the payload, the context, or both.
        payload_parameter, context_parameter: the names of its parameters for them; None if it takes none.
        input, output: the declared types.
        is_async: it is a coroutine function, and is awaited.
        registered: what was registered: the handler, or the class whose method that is.
    """

    definition: AgentDefinition
    handler: Callable[..., Any]
    payload_parameter: str | None
    context_parameter: str | None
    input: Codec = field(default=PLAIN)
    output: Codec = field(default=PLAIN)
    is_async: bool = False
    registered: Any = None

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.definition.name

    @property
    def order(self) -> tuple[bool, int, str]:
        """By this, candidates are ordered: never by registration, health or load."""
        return (self.definition.remote, self.definition.rank, self.definition.name)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the handler's source, or of its byte code where there is no source."""
        return hashlib.sha256(_source_of(self.handler)).hexdigest()

    def call(self, payload: Any, context: Any) -> Any:
        """Calls the function with what it asks for; of an asynchronous one, that gives an awaitable."""
        given = () if self.payload_parameter is None else (payload,)
        if self.context_parameter is None:
            return self.handler(*given)
        return self.handler(*given, **{self.context_parameter: context})


def _source_of(function: Any) -> bytes:
    target = inspect.unwrap(function)
    target = target.func if isinstance(target, functools.partial) else target
    target = getattr(target, "__func__", target)
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        return inspect.getsource(target).encode("utf-8", "surrogatepass")
    except (OSError, TypeError, SyntaxError):
        code = getattr(target, "__code__", None)
    return target.__qualname__.encode() if code is None else _code_bytes(code)


def _code_bytes(code: types.CodeType) -> bytes:
    constants = [_constant_bytes(constant) for constant in code.co_consts]
    return b"\0".join([code.co_code, repr(code.co_names).encode(), *constants])


def _constant_bytes(constant: object) -> bytes:
    if isinstance(constant, types.CodeType):
        return _code_bytes(constant)
    # The order of a set is another one in every process.
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant).encode()


def define_agent(
    name: str,
    handler: Any,
    *,
    handles: str | Capability | Iterable[str | Capability],
    version: str = "1.0",
    rank: int = 0,
    remote: bool = False,
    side_effect: SideEffect = "reversible",
    idempotent: bool = False,
    timeout: float | None = None,
    isolation: Isolation = "inline",
    limits: Limits | None = None,
    description: str | None = None,
    scope: Mapping[str, Any] | None = None,
) -> Agent:
    """Makes an agent of a function, of an object with a ``handle`` method, or of a class of such objects.

    Args:
        name: names it in plans, policies and records.
        handler: the function takes the payload, a context (a parameter that is called ``ctx`` or ``context``,
            or is annotated as one), or both; a class is instantiated without arguments.
        handles: intent patterns, each ``pattern`` or ``pattern@versions``.
        version, rank, remote, side_effect, idempotent, timeout, isolation, limits, description: see
            `AgentDefinition`.
        scope: names for forward references that the handler's module does not know.

    Raises:
        InvalidAgent: anything about it makes no sense.
    """
    function = _function_of(name, handler)
    patterns = [handles] if isinstance(handles, str | Capability) else list(handles)
    capabilities = tuple(Capability.parse(p) if isinstance(p, str) else p for p in patterns)
    hints = _hints(name, function, scope or {})
    payload_parameter, context_parameter = _parameters(name, function, hints)
    taken = codec_for(hints.get(payload_parameter, Any)) if payload_parameter else PLAIN
    given = codec_for(hints.get("return", Any))
    documented = inspect.getdoc(handler) if description is None else description
    try:
        definition = AgentDefinition(
            name=name,
            version=version,
            capabilities=capabilities,
            rank=rank,
            remote=remote,
            side_effect=side_effect,
            idempotent=idempotent,
            timeout=timeout,
            isolation=isolation,
            limits=limits,
            description=(documented or "").strip().partition("\n")[0],
            input_schema=taken.schema(),
            output_schema=given.schema(),
        )
    except ValueError as fault:
        raise InvalidAgent(f"agent {name!r} cannot be registered", got=_first_fault(fault)) from fault
    is_async = awaits(function)
    if is_async and isolation != "inline":
        raise InvalidAgent(
            f"agent {name!r} is asynchronous, and cannot be isolated",
            expected="isolation 'inline': it is cancelled when its time is up",
            got=repr(isolation),
        )
    agent = Agent(definition, function, payload_parameter, context_parameter, taken, given, is_async, handler)
    if isolation == "process":
        check_nameable(name, handler)
        _ = agent.digest  # of the source as it is now: workers are told what they have to find
    return agent


def _first_fault(fault: ValueError) -> str:
    if not isinstance(fault, ValidationError):
        return str(fault)
    first = fault.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']} (input {first['input']!r})"


def _function_of(name: str, handler: Any) -> Callable[..., Any]:
    if inspect.isclass(handler):
        try:
            handler = handler()
        except TypeError as fault:
            raise InvalidAgent(
                f"the class of agent {name!r} cannot be instantiated without arguments",
                got=str(fault),
                hint="register an instance: runtime.agent(name, handles=…)(TheClass(…))",
            ) from fault
    function = handler if inspect.isroutine(handler) else getattr(handler, "handle", handler)
    if not callable(function):
        raise InvalidAgent(
            f"agent {name!r} cannot be called", expected="a function, or an object with a `handle` method",
            got=type(handler).__name__,
        )  # fmt: skip
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise InvalidAgent(
            f"agent {name!r} is a generator",
            expected="a function that returns its answer, or a coroutine function",
            hint="return a list, or whatever the generator is to come to",
        )
    return typing.cast("Callable[..., Any]", function)


def awaits(function: Any) -> bool:
    """Whether it is a coroutine function, or an object that is called as one."""
    target = function.func if isinstance(function, functools.partial) else function
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(
        getattr(type(target), "__call__", None)  # noqa: B004 - what is asked is of which kind it is
    )


def _hints(name: str, function: Callable[..., Any], scope: Mapping[str, Any]) -> dict[str, Any]:
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        return typing.get_type_hints(target, localns=dict(scope), include_extras=True)
    except NameError as fault:
        raise InvalidAgent(
            f"a type hint of agent {name!r} names something that is not defined",
            got=str(fault),
            hint="define it before the agent is registered, or import it in the agent's module",
        ) from fault
    except Exception as fault:  # a hint may be any expression
        if not hasattr(target, "__annotations__"):
            return {}
        raise InvalidAgent(f"a type hint of agent {name!r} cannot be read", got=str(fault)) from fault


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
    hint = hints.get(parameter.name, Any)
    # Also as Context | None, or Annotated.
    if any(getattr(kind, "__intentus_context__", False) for kind in (hint, *typing.get_args(hint))):
        return True
    return parameter.name in ("ctx", "context") and hint in (Any, object)


def _parameters(
    name: str, function: Callable[..., Any], hints: Mapping[str, Any]
) -> tuple[str | None, str | None]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return "payload", None
    context = [p for p in parameters if _is_context(p, hints)]
    others = [p for p in parameters if p not in context and p.kind not in (p.VAR_KEYWORD,)]
    needed = [p for p in others if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    positional = [p for p in others if p.kind is not p.KEYWORD_ONLY]
    if len(context) > 1 or len(needed) > 1 or any(p.kind is p.KEYWORD_ONLY for p in needed):
        raise InvalidAgent(
            f"agent {name!r} takes parameters that the router does not know",
            expected="the payload, a context named `ctx` (or annotated with Context), or both",
            got=f"({', '.join(p.name for p in parameters)})",
        )
    if context and context[0].kind is inspect.Parameter.POSITIONAL_ONLY:
        raise InvalidAgent(
            f"the context of agent {name!r} must be a parameter that can be named",
            got=f"{context[0].name}, positional only",
        )
    payload = (needed or [p for p in positional if p.kind is p.VAR_POSITIONAL or p.default is not p.empty])[
        :1
    ]
    if payload and context and parameters.index(context[0]) < parameters.index(payload[0]):
        raise InvalidAgent(
            f"agent {name!r} takes the context before the payload",
            expected=f"({payload[0].name}, {context[0].name})",
            got=f"({context[0].name}, {payload[0].name})",
        )
    return (payload[0].name if payload else None), (context[0].name if context else None)
