"""Exceptions that nobody should raise."""

from collections.abc import Callable
from typing import Any

from helpers.hostile import HALF, Liar, Raising, Text, nested

from intentusnet import AgentFailure


class Odd(Exception):
    def __str__(self) -> str:
        return HALF


class OddArgs(Exception):
    @property
    def args(self) -> Any:  # type: ignore[override]  # that is what is hostile
        raise RuntimeError("args")


class OddFailure(AgentFailure):
    @property
    def code(self) -> Any:  # type: ignore[override]  # that is what is hostile
        raise RuntimeError("code")

    @code.setter
    def code(self, _: Any) -> None:
        pass


class OddCode(AgentFailure):
    def __init__(self) -> None:
        super().__init__("odd", code=Raising(), details=Raising())  # type: ignore[arg-type]  # that is what is hostile


def deep_group() -> BaseException:
    group: Exception = ValueError(1)
    for _ in range(400):
        group = ExceptionGroup("g", [group])
    return group


#: What an agent or an effect may raise.
FAULTS: dict[str, Callable[[], BaseException]] = {
    "half": lambda: ValueError(HALF),
    "odd": Odd,
    "odd arguments": OddArgs,
    "odd failure": lambda: OddFailure("x"),
    "odd code": OddCode,
    "unshowable": lambda: ValueError(Raising()),
    "deep": lambda: ValueError(nested(100_000)),
    "deep details": lambda: AgentFailure("x", details={"a": nested(100_000)}),
    "rather deep details": lambda: AgentFailure("x", details={"a": nested(190)}),
    "odd name": lambda: type("Odder", (Exception,), {"__qualname__": "\ud800"})("x"),
    "group": deep_group,
    "recursion": lambda: RecursionError("x"),
    "memory": lambda: MemoryError("x"),
    "exit": lambda: SystemExit(Raising()),
    "generator exit": lambda: GeneratorExit("x"),
    "stop": lambda: StopIteration(1),
    "base": lambda: BaseException(b"\xff"),
    "attributes": lambda: _with_attributes(ValueError("x")),
    "huge": lambda: ValueError("x" * 300_000),
    "huge details": lambda: AgentFailure("x", details={"a": "x" * 300_000}),
    "odd message": lambda: ValueError(Liar("a")),
    "text subclass": lambda: ValueError(Text("a")),
}


def _with_attributes(fault: Exception) -> Exception:
    vars(fault).update(a=Raising(), b=HALF, c=nested(100_000), **{HALF: 1, "not a name": 2})
    return fault
