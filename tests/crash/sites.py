"""Every place of the package that asks the file layer for a sync: in the source, and in a stack.

Such a place is named by its module, its function and the method that it asks for; where a function asks for
the same more than once, by a number, too. A place in a function that syncs for others is as many as there are
functions that call it: what each of those loses without the sync is a question of its own.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType

import intentusnet

METHODS = ("fsync", "fdatasync", "fsync_dir")

_PACKAGE = str(Path(intentusnet.__file__).parent) + os.sep
#: Functions that stand between a sync and whoever asked for it.
_PASSED = {"must_sync", "_must_sync", "<lambda>"}
#: Functions that sync for others.
_SHARED = {"make_dir", "create_segment"}


def in_source() -> list[str]:
    """The names of all places, callers apart."""
    names = []
    for path in sorted(Path(_PACKAGE).rglob("*.py")):
        module = str(path).removeprefix(_PACKAGE)
        for (function, method), lines in _places(module).items():
            names += [_name(module, function, method, at, len(lines)) for at in range(len(lines))]
    return names


def in_stack(frame: FrameType | None, method: str) -> str:
    """The name of the place that a stack leads to, with the callers for whom it is.

    Args:
        frame: who called the file layer.
        method: of the file layer.
    """
    names: list[str] = []
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE) and code.co_name not in _PASSED:
            module = code.co_filename.removeprefix(_PACKAGE)
            if names:
                names.append(f"{module}:{code.co_qualname}")
            else:
                places = _places(module)[code.co_qualname, method]
                at = [number for number, lines in enumerate(places) if frame.f_lineno in lines]
                names.append(_name(module, code.co_qualname, method, at[0], len(places)))
            if code.co_name not in _SHARED:
                break
        frame = frame.f_back
    return " < ".join(names)


def _name(module: str, function: str, method: str, at: int, of: int) -> str:
    return f"{module}:{function} {method}" + (f" #{at + 1}" if of > 1 else "")


@cache
def _places(module: str) -> dict[tuple[str, str], list[range]]:
    """By function and method, the lines of each statement that asks for it."""
    found: dict[tuple[str, str], list[range]] = {}
    for function, method, lines in _asked(ast.parse(Path(_PACKAGE, module).read_bytes()), "", range(0)):
        found.setdefault((function, method), []).append(lines)
    return found


def _asked(node: ast.AST, scope: str, lines: range) -> Iterator[tuple[str, str, range]]:
    for child in ast.iter_child_nodes(node):
        # The file layer itself is what the rest asks.
        if isinstance(child, ast.ClassDef) and child.name != "Files":
            yield from _asked(child, f"{scope}{child.name}.", lines)
        elif isinstance(child, ast.FunctionDef):
            yield from _asked(child, f"{scope}{child.name}.<locals>.", lines)
        elif not isinstance(child, ast.ClassDef):
            if isinstance(child, ast.Attribute) and child.attr in METHODS:
                yield scope.removesuffix(".<locals>."), child.attr, lines
            simple = isinstance(child, ast.stmt) and not hasattr(child, "body")
            within = range(child.lineno, (child.end_lineno or child.lineno) + 1) if simple else lines
            yield from _asked(child, scope, within)
