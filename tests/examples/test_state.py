"""The plain form of a tool's state: nothing that a tool could notice gets lost in it."""

from typing import Any

import pytest

from intentusnet import Context, IntentusRuntime, MemoryExecutionStore


def through_the_store(state: Any) -> Any:
    """What an effect hands on: the state as it comes back from its recorded bytes."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())

    @runtime.agent("keeper", handles="keep")
    def keeper(ctx: Context) -> Any:
        return ctx.effect("load", lambda: state)

    response = runtime.route("keep")
    assert response.ok, response.error
    return response.payload


def file_system() -> tuple[Any, Any]:
    from examples.tool_sessions.wheel import tool_classes, tool_modules

    tool = tool_classes()["GorillaFileSystem"]()
    tool._load_scenario({})
    return tool, vars(tool_modules()["GorillaFileSystem"])


def restored(tool: Any, classes: Any) -> Any:
    from examples.tool_sessions.state import dehydrate, hydrate

    return hydrate(type(tool), through_the_store(dehydrate(tool)), classes)


def test_files_keep_the_order_of_their_making() -> None:
    """A listing after the round trip is in the order in which the files were made, not sorted."""
    tool, classes = file_system()
    for name in ("zebra", "ant", "mouse"):
        tool.touch(name)
    assert restored(tool, classes).ls() == {"current_directory_content": ["zebra", "ant", "mouse"]}


def test_shared_files_stay_shared() -> None:
    """A copied directory shares its files with the original, and still does after the round trip."""
    tool, classes = file_system()
    tool.mkdir("a")
    tool.cd("a")
    tool.touch("notes")
    tool.cd("..")
    tool.cp("a", "b")
    back = restored(tool, classes)
    back.cd("a")
    back.echo("new", "notes")
    back.cd("..")
    back.cd("b")
    assert back.cat("notes") == {"file_content": "new"}


def test_the_current_directory_is_one_of_the_tree() -> None:
    """What is made in the current directory after the round trip is seen from the root."""
    tool, classes = file_system()
    tool.mkdir("docs")
    tool.cd("docs")
    back = restored(tool, classes)
    back.touch("new")
    assert back.cd("..") == {}
    assert back.find(name="new") == {"matches": ["./docs/new"]}


@pytest.mark.parametrize(
    "value", [1, 1.0, True, None, "x", [1, [2]], {2: "b", 1: "a"}, {"b": 1, "a": {3, 1}}]
)
def test_values_come_back_as_they_were(value: Any) -> None:
    """Numbers keep their type, dicts their order and their keys, sets their kind."""
    from examples.tool_sessions.state import dehydrate, hydrate

    tool = type("Tool", (), {})()
    tool.held = value
    back = hydrate(type(tool), through_the_store(dehydrate(tool)), {}).held
    assert (back, type(back), repr(back)) == (value, type(value), repr(value))


@pytest.mark.parametrize(("before", "after"), [(1, True), (1, 1.0), ({"b": 1, "a": 2}, {"a": 2, "b": 1})])
def test_what_only_compares_equal_is_a_change(before: Any, after: Any) -> None:
    """A state that differs in type or order alone has changed, and would be saved."""
    from examples.tool_sessions.state import dehydrate, differs

    class Tool:
        held: Any

    tool, other = Tool(), Tool()
    tool.held, other.held = before, after
    assert before == after
    assert differs(dehydrate(tool), dehydrate(other))
    assert not differs(dehydrate(tool), dehydrate(tool))


def test_what_has_no_plain_form_is_refused() -> None:
    """A state that holds a foreign object is refused instead of being kept in part."""
    from fractions import Fraction

    from examples.tool_sessions.state import dehydrate

    tool = type("Tool", (), {})()
    tool.held = Fraction(1, 2)
    with pytest.raises(TypeError, match="Tool holds a Fraction"):
        dehydrate(tool)
