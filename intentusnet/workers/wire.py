"""What a worker and its parent say to each other: a head in JSON, and data as it is.

A message is twelve bytes with the lengths of both (big-endian, four and eight), the head and the data. Both
sides run the same code, so there is no version. Nothing that is read can run code.

From the parent: ``define`` (an agent, by where to import it), ``call`` (that agent) and ``reply``. From the
worker: ``ready``, ``defined``, then for each call requests, each with a number that its reply repeats
(``begin``, ``end``, ``route``, ``world``), and at last ``done``, ``unwound`` or ``interrupted``.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

import orjson

from intentusnet.transcript import Answer, Question

_LENGTHS: Final = struct.Struct(">IQ")
#: Bytes that are asked for at once.
CHUNK: Final = 1 << 16


class Message(NamedTuple):
    """What was said."""

    head: dict[str, Any]
    data: bytes = b""


def encode(head: dict[str, Any], data: bytes = b"") -> bytes:
    """The bytes of a message."""
    text = orjson.dumps(head)
    return b"".join((_LENGTHS.pack(len(text), len(data)), text, data))


class Frames:
    """Puts messages together from bytes as they come; mutable."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete.

        Raises:
            ValueError: they are none.
        """
        held, messages, at = self._bytes, list[Message](), 0
        held += data
        while len(held) - at >= _LENGTHS.size:
            head_size, data_size = _LENGTHS.unpack_from(held, at)
            begin = at + _LENGTHS.size
            middle, end = begin + head_size, begin + head_size + data_size
            if len(held) < end:
                break
            messages.append(Message(orjson.loads(held[begin:middle]), bytes(held[middle:end])))
            at = end
        del held[:at]
        return messages


def question_head(question: Question) -> list[Any]:
    """A question without its arguments, which are data."""
    return [*question[:4], *question[5:]]


def question_of(head: list[Any], arguments: bytes) -> Question:
    """The question that `question_head` wrote."""
    scope, ordinal, kind, name, side_effect, idempotent, unordered = head
    return Question(scope, ordinal, kind, name, arguments, side_effect, idempotent, unordered)


def answer_head(answer: Answer) -> list[Any]:
    """An answer without its data."""
    return [answer.ok, answer.child, answer.refused]


def answer_of(head: list[Any], data: bytes) -> Answer:
    """The answer that `answer_head` wrote."""
    ok, child, refused = head
    return Answer(ok=ok, data=data, child=child, refused=refused)
