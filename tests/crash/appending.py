"""A program that starts processes whose threads append to one store, and kills them when it is told to.

It is told on its stdin, ``start N`` or ``kill N``, and answers each on its stdout. The processes are its own
children, forked when everything has been imported, so that two hundred of them do not take minutes. They tell
of what was acknowledged through a named pipe, a line at a time: writes as small as these are never mixed or
cut, and what is in the pipe survives whoever wrote it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from random import Random
from typing import Any

from helpers import executions as made

from intentusnet import Context, IntentusRuntime
from intentusnet.log.entry import Draft
from intentusnet.stores.base import StoreSettings
from intentusnet.stores.file import FileExecutionStore

#: How an execution gets into the log, and how often. A route is written piece by piece, the others at once.
WAYS = {"disk": 6, "os": 3, "async": 2, "route": 8, "large route": 1}
#: More than a value may have that lies in the log itself.
LARGE = 40_000


def name_of(process: int, thread: int, number: int) -> str:
    """The id of the execution that this thread appends as its n-th; routes have ids of their own."""
    return f"{process:08x}-{thread:04x}-7000-8000-{number:012x}"


def tag_of(process: int, thread: int, number: int) -> str:
    """The tag that says of any execution who recorded it."""
    return f"{process}.{thread}.{number}"


def payload_of(process: int, thread: int, number: int) -> dict[str, Any]:
    """What a route is asked; nobody else is asked the same."""
    size = LARGE if way_of(process, thread, number) == "large route" else 10
    return {"text": f"{process} {thread} {number} ".ljust(size, "x")}


def drafts_of(process: int, thread: int, number: int) -> list[Draft]:
    """An execution that is appended at once: some entries, always the same but for the salt."""
    name = name_of(process, thread, number)
    drafts = [made.opened(name, tags=[tag_of(process, thread, number)])]
    for question in range(number % 3):
        drafts += [made.asked(name, question), made.answered(name, question, f"{number} {question}")]
    return [*drafts, made.closed(drafts)]


def way_of(process: int, thread: int, number: int) -> str:
    """How this execution is recorded; the same for whoever asks."""
    return Random(f"{process} {thread} {number}").choices([*WAYS], [*WAYS.values()])[0]


def work(payload: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """The agent: asks the world once."""
    return ctx.effect("echo", dict, payload)


class Process:
    """One process with its threads."""

    def __init__(self, directory: Path, pipe: Path, process: int) -> None:
        self.store = FileExecutionStore(directory, "disk", create=False)
        self.runtime = IntentusRuntime(store=self.store)
        self.runtime.agent("worker", handles="work", side_effect="reversible")(work)
        self.pipe = os.open(pipe, os.O_WRONLY)
        self.process = process

    def run(self, threads: int) -> None:
        self.tell({"started": self.process})
        working = [threading.Thread(target=self.append, args=(number,)) for number in range(threads)]
        for thread in working:
            thread.start()
        for thread in working:
            thread.join()

    def tell(self, message: dict[str, Any]) -> None:
        os.write(self.pipe, json.dumps(message).encode() + b"\n")

    def append(self, thread: int) -> None:
        """Appends for ever, and tells of each execution when it is acknowledged."""
        try:
            number = 0
            while True:
                name = self.record(thread, number)
                self.tell({"acknowledged": [self.process, thread, number], "name": name})
                if number % 32 == 31 and self.store.get(name).status != "success":
                    raise AssertionError(f"{name} is not as it was acknowledged")
                number += 1
        except BaseException:  # noqa: BLE001 - whatever it is, the test has to hear of it
            self.tell({"failed": traceback.format_exc()[-3000:]})

    def record(self, thread: int, number: int) -> str:
        """Records one execution, to be acknowledged when this returns."""
        way = way_of(self.process, thread, number)
        if way.endswith("route"):
            own = (self.process, thread, number)
            response = self.runtime.route("work", payload_of(*own), tags=[tag_of(*own)])
            assert response.ok and response.execution_id is not None
            return response.execution_id
        self.store.append(drafts_of(self.process, thread, number), durability=way)
        if way == "async":
            self.store.sync()
        return name_of(self.process, thread, number)


def main(directory: Path, pipe: Path, threads: int) -> None:
    """Does what it is told, until it is told nothing more."""
    running: dict[int, int] = {}
    for order in sys.stdin:
        verb, number = order.split()
        if verb == "start":
            pid = os.fork()
            if pid == 0:
                try:
                    Process(directory, pipe, int(number)).run(threads)
                finally:
                    os._exit(1)
            running[int(number)] = pid
        else:
            pid = running.pop(int(number))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        print("done", flush=True)
    for pid in running.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def make(directory: Path, settings: StoreSettings) -> None:
    """The store that they all append to."""
    with FileExecutionStore(directory, settings=settings) as store:
        store.append(made.execution(1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
