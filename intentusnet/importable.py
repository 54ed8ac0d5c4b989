"""What another process can import: a function, or a class, by its module and its qualified name.

Only what is registered in this process is looked for in another one; nothing that a record names ever is.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from types import ModuleType
from typing import Any, Final, NamedTuple

from intentusnet.errors import ConfigurationError, InvalidAgent

_EXPECTED: Final = "a function or a class at the top of a module"
_HINT: Final = "define it there, or choose isolation 'thread'"


class Importable(NamedTuple):
    """Where something is found: `qualname` within the module."""

    module: str
    qualname: str

    def found(self) -> Any:
        """Imports the module, if need be, and looks it up.

        Raises:
            ImportError: there is no such module.
            AttributeError: there is nothing of that name in it.
            BaseException: whatever the module raises when it is imported.
        """
        found: Any = importlib.import_module(self.module)
        for part in self.qualname.split("."):
            found = getattr(found, part)
        return found


def check_nameable(agent: str, handler: object) -> None:
    """Refuses what no other process could ever import.

    Raises:
        InvalidAgent: it has no name within a module, or there are no worker processes on this system.
    """
    got = _unnameable(handler) if hasattr(os, "fork") else "a system that does not fork"
    if got:
        raise InvalidAgent(
            f"agent {agent!r} cannot run in a process of its own", expected=_EXPECTED, got=got, hint=_HINT
        )


def importable(agent: str, handler: object) -> Importable:
    """Where another process finds a function or class that `check_nameable` has let pass.

    Raises:
        ConfigurationError: it is not there, or another process cannot import the module.
    """
    module, qualname = str(getattr(handler, "__module__", "")), str(getattr(handler, "__qualname__", ""))
    got = f"{module}.{qualname}, which is something else there"
    if module == "__main__" and not _has_importable_main():
        got = "something from a program that is no file, or a package's __main__"
    elif _is_there(module, qualname, handler):
        return Importable(module, qualname)
    raise ConfigurationError(
        f"agent {agent!r} cannot be called in a process of its own", expected=_EXPECTED, got=got, hint=_HINT
    )


def _unnameable(handler: object) -> str:
    if not (inspect.isroutine(handler) or inspect.isclass(handler)):
        return f"an object of the type {type(handler).__name__}"
    owner = getattr(handler, "__self__", None)
    if owner is not None and not isinstance(owner, type | ModuleType):
        return f"a method of an object of the type {type(owner).__name__}"
    qualname = str(getattr(handler, "__qualname__", ""))
    if "<lambda>" in qualname:
        return "a lambda"
    return f"{qualname.rpartition('.')[2]}, defined within a function" if "<locals>" in qualname else ""


def _is_there(module: str, qualname: str, handler: object) -> bool:
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return bool(found == handler)  # not `is`: each look at a class method makes another object


def _has_importable_main() -> bool:
    """Whether multiprocessing can give another process the same main module."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return not (spec.name == "__main__" or str(spec.name).endswith(".__main__"))
    return getattr(main, "__file__", None) is not None
