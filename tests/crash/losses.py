"""What no crash does: acknowledged lines that are gone or damaged, where something still says that they were.

Two things say so: the head note, and every later line by its ``durable``. With either of them, verifying the
store must not take the damage for the torn end of a write, nor must opening it: it is refused, unless it lies
before the head note, where opening does not look.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crash.promises import STORE_AT, TORN, Told, Tried, expect, open_store
from crash.simdisk import Tree
from crash.trace import Trace, tree_of, write_tree
from helpers.executions import execution
from helpers.logs import Unsynced

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import parse_line
from intentusnet.log.files import LOCK_FILE
from intentusnet.log.head import HEAD_FILE
from intentusnet.log.segment import LOG_DIR, QUARANTINE_DIR
from intentusnet.log.verify import verify_store


@dataclass(frozen=True)
class Loss:
    """A store that has lost something: what, what is left, and whether opening it comes across it."""

    what: str
    tree: Tree
    seen: bool = True


def losses(trace: Trace) -> Iterator[Loss]:
    """Each acknowledged line of the last segment damaged, or cut off with all behind it.

    Args:
        trace: at its end, everything that is there is whole.
    """
    tree = trace.disk.now()
    head = f"{STORE_AT}/{HEAD_FILE}"
    path = max(path for path in tree if path.startswith(f"{STORE_AT}/{LOG_DIR}/"))
    data = tree[path] or b""
    tried, told = _times(trace)
    offset = 0
    for line in data.splitlines(keepends=True):
        entry = parse_line(line[:-1])
        damaged = data[:offset] + line.replace(b'"body"', bytes(6)) + data[offset + len(line) :]
        acknowledged = told.get(entry.commit)
        if acknowledged is not None:
            yield Loss(f"seq {entry.seq} damaged", {**tree, path: damaged}, seen=False)
            yield Loss(f"seq {entry.seq} cut off", {**tree, path: data[:offset]})
            later = data[offset + len(line) :].splitlines()
            if any(tried[parse_line(after).commit] > acknowledged for after in later):
                yield Loss(f"seq {entry.seq} damaged, note gone", {**tree, path: damaged, head: b""})
        offset += len(line)


def _times(trace: Trace) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """When each entry was tried, and when it was first told to be on disk, by commit."""
    tried: dict[bytes, int] = {}
    told: dict[bytes, int] = {}
    for time, event in enumerate(trace.events):
        if isinstance(event, Tried):
            tried |= {draft.commit: time for draft in event.drafts}
        elif isinstance(event, Told) and event.durable:
            for draft in event.drafts:
                told.setdefault(draft.commit, time)
    return tried, told


def check_refused(root: Path, loss: Loss) -> None:
    """Writes the store there, and sees it refused and left as it is.

    Raises:
        Violation: the loss was taken for something else.
    """
    write_tree(root, loss.tree)
    path = root / STORE_AT
    report = verify_store(path)
    found = report.first_bad is not None and TORN not in report.first_bad.reason
    expect(found, f"{loss.what}: verify says {report.first_bad}")
    store = open_store(root, Unsynced())
    try:
        store.append(execution(0xF0000000))
    except IntegrityBroken:
        lock = f"{STORE_AT}/{LOCK_FILE}"
        expect(tree_of(root) == {lock: b"", **loss.tree}, f"{loss.what}: refused, and changed")
    else:
        expect(not loss.seen, f"{loss.what}: taken for the torn end of a write")
        expect(not (path / QUARANTINE_DIR).exists(), f"{loss.what}: put aside")
    finally:
        store.close()
