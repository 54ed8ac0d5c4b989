"""What `import intentusnet` promises: names that stay, imported late."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import intentusnet


def declared() -> dict[str, str]:
    """Each name that type checkers see in the package, and the module that it comes from."""
    assert intentusnet.__file__ is not None
    tree = ast.parse(Path(intentusnet.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_types_and_promises_name_the_same_things() -> None:
    """What type checkers see is what is exported, neither more nor less."""
    assert sorted(declared()) == sorted(intentusnet.__all__)


@pytest.mark.parametrize("name", intentusnet.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    """Each name leads to the object of the module in which type checkers see it."""
    assert getattr(intentusnet, name) is getattr(import_module(declared()[name]), name)
    assert name in dir(intentusnet)


def test_other_names_are_missing_as_in_any_module() -> None:
    """An unknown name is an AttributeError that says so."""
    with pytest.raises(AttributeError, match="no attribute 'IntentusRunntime'"):
        intentusnet.IntentusRunntime  # type: ignore[attr-defined]  # noqa: B018 - that it fails is the point
