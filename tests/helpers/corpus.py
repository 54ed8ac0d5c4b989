"""A corpus of numbers: records that differ in a number alone, and runtimes that worker processes can make.

Functions of a module, because that is what can be sent to another process.
"""

import os
import signal
from pathlib import Path
from typing import Any

from intentusnet import Context, IntentusRuntime, MemoryExecutionStore
from intentusnet.errors import ConfigurationError
from intentusnet.replay.loads import RecordFile

DEADLY = (17, 30)
#: Where `make_noted` notes which process made a runtime.
NOTES = "INTENTUSNET_TEST_NOTES"


def recall(number: int) -> int:
    return number


def runtime_with(told: Any = recall, **options: Any) -> IntentusRuntime:
    """A runtime whose agent asks for what `told` makes of its number."""
    runtime = IntentusRuntime(**options)

    @runtime.agent("echo", handles="number.*", side_effect="read_only")
    def echo(number: int, ctx: Context) -> Any:
        return ctx.effect("recall", recall, told(number))

    return runtime


def make_runtime() -> IntentusRuntime:
    return runtime_with()


def make_deadly() -> IntentusRuntime:
    """Of some numbers, the process dies."""
    return runtime_with(lambda number: signal.raise_signal(signal.SIGKILL) if number in DEADLY else number)


def make_changed() -> IntentusRuntime:
    """Of each third number the next is made."""
    return runtime_with(lambda number: number if number % 3 else number + 1)


def make_noted() -> IntentusRuntime:
    with Path(os.environ[NOTES]).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return runtime_with()


def make_none() -> IntentusRuntime:
    raise ConfigurationError("there is no app today")


def make_dead() -> IntentusRuntime:
    os._exit(9)


def kept(directory: Path, count: int) -> list[RecordFile]:
    """Portable records of the numbers up to that, in files."""
    runtime = runtime_with(store=MemoryExecutionStore())
    assert runtime.store is not None
    files = []
    for number in range(count):
        response = runtime.route("number.even" if number % 2 == 0 else "number.odd", number)
        path = directory / f"{number:04}.jsonl"
        path.write_bytes(runtime.store.get(response.execution_id).to_jsonl())
        files.append(RecordFile(str(path)))
    return files
