"""A process that checks segments for a verification: what it does, what it is told, and what it answers.

It is started as ``python -m intentusnet.log.verify_worker``, never by forking, and imports only what the
verifier itself needs. It says on stdout which module it runs (`HELLO`). Then there are messages, requests on
stdin and answers on stdout: four bytes with the length, big-endian, then JSON. It answers each request with
how many bytes are done, now and then, and at last with what is known of the segment, or nothing if anything
at all is wrong with it: what that is, the verifier itself looks up.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final

import orjson

from intentusnet.errors import IntegrityBroken
from intentusnet.log.entry import genesis, parse_line
from intentusnet.log.executions import Portion, SegmentExecutions
from intentusnet.log.head import HeadNote
from intentusnet.log.report import Progress
from intentusnet.log.segment import LOG_DIR, Segment, line_ending_at, list_segments
from intentusnet.log.walk import Blobs, Checked, Walk, segment_part

#: What a worker says first, always so many bytes. What was started from other code than this is not believed.
HELLO: Final = sha256(os.fsencode(os.path.realpath(__file__))).digest()

_LENGTH_BYTES: Final = 4
_ID_CHARACTERS: Final = 36
_COMMIT_DIGITS: Final = 64


def message(content: Any) -> bytes:
    """The bytes of a message."""
    data = orjson.dumps(content)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def check_segment(
    directory: Path, store_id: str, first: int, note: HeadNote | None, progress: Progress
) -> Checked | None:
    """Checks one segment of a store by itself.

    The chain value before it is the one that the last line of the segment before claims: whether that is
    right, the check of that segment tells.

    Args:
        directory: the store.
        store_id: 32 lowercase hex digits.
        first: the seq that the segment begins with.
        note: what is claimed to be on disk.
        progress: told now and then how many bytes of the segment are checked.

    Returns:
        What is known of it; None if anything is wrong with it.

    Raises:
        IntegrityBroken: a file in the log is no segment.
        OSError: it cannot be read.
    """
    segments = {segment.first: segment for segment in list_segments(directory / LOG_DIR)}
    earlier = max((other for other in segments if other < first), default=None)
    before = genesis(store_id) if earlier is None else _claimed_chain(segments[earlier], first - 1)
    if before is None or first not in segments:
        return None
    executions = SegmentExecutions()
    part = segment_part(segments[first])
    blobs = Blobs(directory).check
    walk = Walk([part], first, before, executions, note=note, blobs=blobs, progress=progress)
    if walk.part(part) is not None:
        return None
    return Checked(
        first=first,
        before=before,
        entries=walk.seq - first,
        size=walk.size,
        chain=walk.chain,
        subtrees=tuple(walk.subtrees),
        executions=executions.portion(),
    )


def _claimed_chain(segment: Segment, seq: int) -> bytes | None:
    """The chain value of a segment's last line; None if that has another number, or cannot be read."""
    with suppress(IntegrityBroken):
        found = line_ending_at(segment, segment.size())
        if found is not None and (entry := parse_line(found[1])).seq == seq:
            return entry.chain
    return None


def request(directory: Path, store_id: str, first: int, note: HeadNote | None) -> dict[str, Any]:
    """The message that asks for one segment."""
    noted = note and [note.chain, note.offset, note.segment, note.seq]
    # In hex, because a path need not be text.
    return {"store": os.fsencode(directory).hex(), "id": store_id, "first": first, "note": noted}


def encode(checked: Checked) -> dict[str, Any]:
    """What is known of a segment, as a message."""
    portion = checked.executions
    return {
        "first": checked.first,
        "before": checked.before.hex(),
        "entries": checked.entries,
        "size": checked.size,
        "chain": checked.chain.hex(),
        "subtrees": [(level, node.hex()) for level, node in checked.subtrees],
        "opened": b"".join(portion.opened).decode(),
        "unclosed": {name.decode(): b"".join(commits).hex() for name, commits in portion.unclosed.items()},
        "earlier": {
            name.decode(): (b"".join(commits).hex(), claim)
            for name, (commits, claim) in portion.earlier.items()
        },
    }


def decode(known: Mapping[str, Any]) -> Checked:
    """What a message says of a segment."""
    opened = known["opened"].encode()
    return Checked(
        first=known["first"],
        before=bytes.fromhex(known["before"]),
        entries=known["entries"],
        size=known["size"],
        chain=bytes.fromhex(known["chain"]),
        subtrees=[(level, bytes.fromhex(node)) for level, node in known["subtrees"]],
        executions=Portion(
            opened=[opened[at : at + _ID_CHARACTERS] for at in range(0, len(opened), _ID_CHARACTERS)],
            unclosed={name.encode(): _commits(digits) for name, digits in known["unclosed"].items()},
            earlier={
                name.encode(): (_commits(digits), None if claim is None else (claim[0], claim[1]))
                for name, (digits, claim) in known["earlier"].items()
            },
        ),
    )


def _commits(digits: str) -> list[bytes]:
    step = _COMMIT_DIGITS
    return [bytes.fromhex(digits[at : at + step]) for at in range(0, len(digits), step)]


def read_message(file: IO[bytes]) -> Any:
    """The next message.

    Raises:
        EOFError: there is none, or not all of it.
    """
    length = int.from_bytes(_exactly(file, _LENGTH_BYTES), "big")
    return orjson.loads(_exactly(file, length))


def send(file: IO[bytes], data: bytes) -> None:
    """Sends a message.

    Raises:
        OSError: nobody reads it.
    """
    file.write(data)
    file.flush()


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise EOFError
    return data


def answer(asked: Mapping[str, Any], progress: Callable[[int], None]) -> dict[str, Any]:
    """The message that answers a request.

    Args:
        asked: a `request`.
        progress: told now and then how many bytes of the segment are checked.

    Raises:
        OSError: the segment cannot be read.
    """
    note = asked["note"] and HeadNote(*asked["note"])
    directory = Path(os.fsdecode(bytes.fromhex(asked["store"])))
    try:
        checked = check_segment(
            directory, asked["id"], asked["first"], note, lambda done, total: progress(done)
        )
    except IntegrityBroken:
        checked = None
    return {"checked": checked and encode(checked)}


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    send(answers, HELLO)
    while True:
        asked = read_message(requests)
        send(answers, message(answer(asked, lambda done: send(answers, message({"done": done})))))


def main() -> None:
    """Answers requests until there are no more."""
    # Ctrl-C goes to the whole group of processes; the verifier is the one to say that it is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What anything else prints must not get between the messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with suppress(EOFError, OSError):
        _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
