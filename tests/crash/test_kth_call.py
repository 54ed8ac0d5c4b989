"""Any one call to the operating system may fail: at each of them, with each error, the promises hold.

The life of a store, from nothing over several segments to its end, is lived once for every call in it. What
is told as not being in the log is not there, and is let in when tried again; after a failed sync nothing is
let in any more until the store is opened anew. `make torture` lets the machine crash after it, too.
"""

import contextlib
import errno
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from crash.explore import AGAIN, Explorer, play
from crash.promises import STORE_AT, Story, drafts
from crash.simdisk import Tree
from crash.trace import Recording, Trace

from intentusnet.errors import IntentusError, StorePoisoned, StoreRefused, StoreWriteFailed
from intentusnet.log.durability import Durability
from intentusnet.log.segment import LOG_DIR
from intentusnet.log.verify import verify_store

_LIFE: list[tuple[int, Durability]] = [
    (0, "os"),
    (1, "disk"),
    (3, "os"),
    (0, "disk"),
    (0, "async"),
    (1, "disk"),
]
_SHORT = 100


@dataclass(frozen=True)
class Fault:
    """What befalls a call: an error; or a write takes 100 bytes, and the next call meets the error."""

    code: int | None
    short: bool

    def __str__(self) -> str:
        name = "nothing" if self.code is None else errno.errorcode[self.code]
        return f"short, then {name}" if self.short else name


FAULTS = [
    *(
        Fault(code, short)
        for code in (errno.EIO, errno.ENOSPC, errno.EINTR, errno.EROFS)
        for short in (False, True)
    ),
    Fault(None, True),
]
_ALWAYS = (Fault(errno.EIO, False), Fault(None, True))


class Failing(Recording):
    """Lets a fault befall one call.

    Args:
        trace: what to write the calls into.
        at: which call, from 1.
        fault: what befalls it.

    Attributes:
        hit: whether it has.
    """

    def __init__(self, trace: Trace, at: int, fault: Fault) -> None:
        super().__init__(trace)
        self.at = at
        self.code = fault.code
        self.short = fault.short
        self.hit = False

    def _begin(self, method: str) -> int | None:
        limit = super()._begin(method)
        if self.dead or self.calls != self.at or (self.short and method not in ("write", "pwrite")):
            return limit
        self.hit = True
        if self.short:
            self.short = False
            self.at += self.code is not None
            return _SHORT
        raise OSError(self.code, "it failed")


def life(trace: Trace, files: Recording) -> None:
    """A store from its making to its closing, by a caller who tries again what was not let in."""
    story = Story(trace, files)
    for questions, durability in _LIFE:
        story = _append(story, trace, files, questions, durability)
    with contextlib.suppress(StorePoisoned):
        story.close()
        return
    story.close()


def _append(story: Story, trace: Trace, files: Recording, questions: int, durability: Durability) -> Story:
    before = log_files(trace.disk.now())
    try:
        story.append(drafts(questions), durability)
    except StorePoisoned:
        for another in ("disk", "os", "async"):
            with pytest.raises(StorePoisoned):
                story.store.append(drafts(), durability=another)
        with contextlib.suppress(StorePoisoned):
            story.store.close()
        story = Story(trace, files)
        story.append(drafts(questions), durability)
    except (StoreWriteFailed, StoreRefused) as fault:
        _is_right(fault, log_files(trace.disk.now()) == before)
        story.append(drafts(questions), durability)
    return story


def _is_right(fault: IntentusError, same: bool) -> None:
    assert fault.hint
    assert same, "what was told not to be in the log is there"


def log_files(tree: Tree) -> Tree:
    """The segments that have anything in them."""
    log = f"{STORE_AT}/{LOG_DIR}/"
    return {path: data for path, data in tree.items() if path.startswith(log) and data}


def lives(root: Path, fault: Fault, step: int) -> Iterator[Trace]:
    """A life for each call that it makes, or each so many-th, where that call fails."""
    for at in count(1, step):
        below = root / str(at)
        below.mkdir()
        trace = Trace(below)
        files = Failing(trace, at, fault)
        play(trace, life, files=files)
        assert not files.open_now
        if files.hit:
            yield trace
        elif files.calls < at:
            return


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_any_call_may_fail(
    fault: Fault, memory: Path, torture: bool, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """Whichever it is, callers are told the truth, and the store goes on when the cause is gone."""
    (work := memory / "work").mkdir()
    (scratch := memory / "scratch").mkdir()
    explorer, failures = Explorer(scratch, seed, AGAIN), 0
    step = 1 if torture or fault in _ALWAYS else 5
    # What is on disk after a fault is the same for every error. A head note that is half written is mended at
    # once, and a file system does not take a part of a sector: crashes in between are left out.
    crashes = fault == Fault(errno.EIO, short=False)
    for trace in lives(work, fault, step):
        failures += 1
        explorer.check_end(trace)
        if torture and crashes:
            explorer.explore(trace)
    assert failures >= (5 if fault.short else 50) // step
    record_property("crash states", explorer.states)


def in_child(program: str, directory: Path) -> None:
    """Runs a program that is given a directory, and sees it succeed."""
    done = subprocess.run(
        [sys.executable, "-c", program, str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_file_may_not_grow_for_a_while(tmp_path: Path) -> None:
    """Where the system stops a file from growing, appends fail, say so, and work when the limit is raised."""
    in_child(_LIMITED, tmp_path)
    report = verify_store(tmp_path / "store")
    assert (report.ok, report.executions) == (True, 35)


def test_a_directory_may_be_read_only_for_a_while(memory: Path) -> None:
    """Where nobody may write, appends fail, say so, and work when the mode has been put right."""
    store = memory / "store"
    store.mkdir()
    try:
        in_child(_READ_ONLY, memory)
    finally:
        store.chmod(0o755)
    report = verify_store(store)
    assert (report.ok, report.executions) == (True, 1)


_LIMITED = """
import resource, sys
from pathlib import Path
from intentusnet.errors import StorePoisoned, StoreWriteFailed
from intentusnet.log.entry import Draft
from intentusnet.stores.file import FileExecutionStore

hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
store = FileExecutionStore(Path(sys.argv[1]) / "store")
good = failed = 0
for number in range(40):
    draft = Draft.make("opened", f"{number:08x}-0000-7000-8000-000000000000", b'{"text":"%b"}' % (b"x" * 300))
    try:
        store.append([draft])
        good += 1
    except StoreWriteFailed as fault:
        assert not isinstance(fault, StorePoisoned) and "raise the limit" in fault.hint, fault
        failed += 1
    if failed == 5:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.close()
assert (good, failed) == (35, 5)
"""

_READ_ONLY = """
import os, sys
from pathlib import Path
from intentusnet.errors import StoreRefused
from intentusnet.log.entry import Draft
from intentusnet.stores.file import FileExecutionStore

directory = Path(sys.argv[1]) / "store"
store = FileExecutionStore(directory)
draft = Draft.make("opened", "00000000-0000-7000-8000-000000000000", b"{}")
# The superuser may write anywhere: the rest is done as nobody.
if os.geteuid() == 0:
    directory.parent.chmod(0o755)
    os.chown(directory, 65534, 65534)
    os.seteuid(65534)
directory.chmod(0o555)
for _ in range(2):
    try:
        store.append([draft])
    except StoreRefused as fault:
        assert "mode" in fault.hint, fault
    else:
        raise AssertionError("it was let in")
assert list(directory.iterdir()) == []
directory.chmod(0o755)
assert store.append([draft]) == range(1)
store.close()
"""
