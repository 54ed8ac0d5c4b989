"""One line of the log. This docstring is the format's specification; docs/record-format.md explains it.

A log is a sequence of lines, each ended by one newline byte, numbered from 0 and kept in segment files. A
line is one JSON object in UTF-8 whose keys, order and spacing never vary::

    {"seq":N,"ts":T,"kind":"K","execution":"E","durable":D,"commit":"C","chain":"H","salt":"S","body":B}

    N  the line's number: decimal digits without leading zeros, fewer than 20 of them, like T and D
    T  when it was written, or happened: microseconds since 1970-01-01 UTC; a minus sign may precede it
    K  what it tells: letters a-z (opened, asked, answered, closed, recovery)
    E  the execution that it belongs to: a UUID in lowercase, or nothing for an entry of the store itself
    D  the highest number known to be on disk when the line was written, below N; -1 for none
    C  32 bytes in lowercase hex: what the line commits to its body with
    H  32 bytes in lowercase hex: what ties the line to all lines before it
    S  16 random bytes in lowercase hex
    B  one JSON object, from its { to its }, without a newline byte; ``values`` makes its bytes

Hashes are SHA-256 over bytes as they stand in the file, never over anything written anew. Where a hash, a
salt or a store id goes into a hash, it is the bytes that the hex digits spell. ``a ‖ b`` is a, then b::

    commit    = SHA256(salt ‖ body)                        so a body can be erased, and the proofs stay
    leaf      = the line from its first byte to the closing quote of the commit value, inclusive
    leaf hash = SHA256(0x00 ‖ leaf)                        as in RFC 6962, section 2.1
    chain     = SHA256(chain of the line before ‖ leaf hash)
    chain before line 0 = SHA256("intentusnet-log-v1" ‖ 0x0a ‖ store id)

A value of more than 32,768 bytes stands in a file of its own, to which the body refers in its place by
``{"$blob":["<SHA-256 of the value's bytes in hex>",<how many bytes>]}`` (``references``): the commit covers
the digest, and the digest the value.

So every byte of a line is covered: by the leaf up to the commit, by the chain's own value, by the commit for
salt and body, and by the template for what lies between.

The entries of an execution end with ``closed``, whose body has ``count``, the number of the execution's
entries before it, and ``digest``, the SHA-256 of their commits in order. That is how one execution's lines,
taken out of the log, show that none is missing.

A log of two lines, of the store with id 00112233445566778899aabbccddeeff (each line is cut here to fit)::

    {"seq":0,"ts":1795232294957260,"kind":"opened","execution":"0197a3c4-5b60-7e21-9d3f-2c1b0a998877","durab
    le":-1,"commit":"b3c8a2f1d7f0bb849c5934c65ffd1f43bcb24e0e926fd7b5603d9dd8105b7d7f","chain":"04176b90865b
    d0abec57e227822144f58e2e09fe0ecfd266297c0d48948c72fb","salt":"101112131415161718191a1b1c1d1e1f","body":{
    "depth":0,"envelope":{"caller":{"name":"desk","roles":[],"tenant":null},"deadline":null,"id":"req-1","id
    empotency_key":null,"intent":{"name":"ticket.classify","version":"1.0"},"payload":{"text":"Hello"},"prio
    rity":0,"routing":{"fallback":[],"prefer":"rank","strategy":"direct","target":null},"tags":[],"tracepare
    nt":null},"environment":{},"parent":null,"plan":{"candidates":[{"agent":"triage","allowed":true,"cause":
    "no policy","idempotent":false,"remote":false,"rule":null,"side_effect":"read_only","version":"1.2"}],"s
    teps":["triage"],"strategy":"direct"}}}
    {"seq":1,"ts":1795232294957672,"kind":"closed","execution":"0197a3c4-5b60-7e21-9d3f-2c1b0a998877","durab
    le":-1,"commit":"91f8acf51604c969a19f90818ef518e8e015882987ff6b1a40a6cc421a6e7bb2","chain":"607b9b46d1e2
    6385b5b592022a62fefa384d58d9828936974c0cbab28db244f3","salt":"202122232425262728292a2b2c2d2e2f","body":{
    "agent":"triage","attempt":0,"count":1,"digest":"ad82823fc371cc6f8cdd4ee2e0a09f5bc5d37179d1804e528580f42
    b00693f49","error":null,"fingerprint":"0e84e66084ed84a73f84aedf30a39a913a84cf54fe8067eeb45ed34df5897974"
    ,"payload":{"name":"shipping"},"status":"success"}}

Everything in this module is a function of its arguments, a draft's random salt apart: no files, no locks.
"""

from __future__ import annotations

import re
from binascii import hexlify, unhexlify
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from intentusnet.errors import IntegrityBroken, InvalidInput
from intentusnet.log.salts import SALT_BYTES, fresh_salt
from intentusnet.references import Blob

GENESIS_PREFIX = b"intentusnet-log-v1\n"

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# 19 digits hold every 63-bit number; a bound keeps int() away from lines that are one endless digit.
_LINE = re.compile(
    rb'\{"seq":(0|[1-9][0-9]{0,18})'
    rb',"ts":(0|-?[1-9][0-9]{0,18})'
    rb',"kind":"([a-z]+)"'
    rb',"execution":"((?:' + _UUID.encode() + rb')?)"'
    rb',"durable":(-1|0|[1-9][0-9]{0,18})'
    rb',"commit":"([0-9a-f]{64})"'
    rb',"chain":"([0-9a-f]{64})"'
    rb',"salt":"([0-9a-f]{32})"'
    rb',"body":(\{.*\})\}'
)
# The same, where hashes and salt may be anything of their length: looking at each digit takes as long again.
_SHAPE = re.compile(
    rb'(\{"seq":(0|[1-9][0-9]{0,18})'
    rb',"ts":(?:0|-?[1-9][0-9]{0,18})'
    rb',"kind":"([a-z]+)"'
    rb',"execution":"(' + _UUID.encode() + rb'|)"'
    rb',"durable":(-1|0|[1-9][0-9]{0,18})'
    rb',"commit":"(.{64})")'
    rb',"chain":"(.{64})"'
    rb',"salt":"(.{32})"'
    rb',"body":(\{.*\})\}\n',
    re.DOTALL,
)
_EXECUTION = re.compile(rf"(?:{_UUID})?")
_STORE_ID = re.compile(r"[0-9a-f]{32}")
_AFTER_LEAF = b',"chain":"'
# As a number: bytes within bytes are looked for by way of an exception, which costs as much as a hash.
_NEWLINE = 10
_OPENING, _CLOSING = b"{}"


# A tuple, because some are made for every execution.
class Draft(NamedTuple):
    """An entry before it has a place in the log; make one with :meth:`make`.

    ``named``, ``committed`` and ``rest`` are the parts of its line that do not depend on its place; ``blobs``
    are the values that the body only refers to.
    """

    kind: str
    execution: str
    body: bytes
    salt: bytes
    commit: bytes
    ts: int | None
    named: bytes
    committed: bytes
    rest: bytes
    blobs: tuple[Blob, ...]

    @classmethod
    def make(
        cls,
        kind: str,
        execution: str,
        body: bytes,
        salt: bytes | None = None,
        ts: int | None = None,
        blobs: Sequence[Blob] = (),
    ) -> Draft:
        """A draft with its salt and commit, computed here so that no lock is held meanwhile.

        Args:
            kind: lowercase ASCII letters.
            execution: the execution's id, a UUID as lowercase text, or "" for an entry of the store itself.
            body: one JSON object in UTF-8 on one line. Its bytes go into the log as they are; that they are
                JSON is the caller's promise, checked by readers.
            salt: 16 bytes; random ones if None.
            ts: when it happened, in microseconds since 1970-01-01 UTC, if that is not when it is written.
            blobs: the values that the body refers to, instead of holding them.

        Raises:
            InvalidInput: an argument could not be read back from a line.
        """
        return Drafts(execution).make(kind, body, ts, blobs, salt)


class Drafts:
    """Makes the drafts of one execution, whose id is checked and encoded once for all of them.

    Args:
        execution: as for :meth:`Draft.make`.
    """

    __slots__ = ("_execution", "_named")

    def __init__(self, execution: str) -> None:
        self._execution = execution
        # Without it no draft can be made.
        is_valid = _EXECUTION.fullmatch(execution)
        self._named = f'","execution":"{execution}","durable":'.encode() if is_valid else b""

    def make(
        self,
        kind: str,
        body: bytes,
        ts: int | None = None,
        blobs: Sequence[Blob] = (),
        salt: bytes | None = None,
    ) -> Draft:
        """Does what :meth:`Draft.make` does."""
        if not (self._named and kind.isascii() and kind.isalpha() and kind.islower()):
            raise InvalidInput(
                "an entry with this kind and execution cannot be written",
                expected="a kind of letters a-z and an execution id that is a lowercase UUID or empty",
                got=f"kind {kind!r}, execution {self._execution!r}",
            )
        if len(body) < 2 or body[0] != _OPENING or body[-1] != _CLOSING or _NEWLINE in body:
            raise InvalidInput(
                "the body of an entry is not one JSON object on one line",
                expected="bytes from { to } without a newline",
                got=_excerpt(body),
            )
        if salt is None:
            salt = fresh_salt()
        elif len(salt) != SALT_BYTES:
            raise InvalidInput("a salt has the wrong length", expected="16 bytes", got=f"{len(salt)} bytes")
        commit = sha256(salt + body).digest()
        return Draft(
            kind,
            self._execution,
            body,
            salt,
            commit,
            ts,
            b',"kind":"' + kind.encode() + self._named,
            b',"commit":"%b"' % hexlify(commit),
            b"".join((b'","salt":"', hexlify(salt), b'","body":', body, b"}\n")),
            tuple(blobs),
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the log, taken apart; ``line`` is the line itself without its newline."""

    seq: int
    ts: int
    kind: str
    execution: str
    durable: int
    commit: bytes
    chain: bytes
    salt: bytes
    body: bytes
    line: bytes


def genesis(store_id: str) -> bytes:
    """The chain value before the first line of a store.

    Args:
        store_id: 32 lowercase hex digits.

    Raises:
        InvalidInput: the store id is something else.
    """
    if not _STORE_ID.fullmatch(store_id):
        raise InvalidInput("a store id is malformed", expected="32 lowercase hex digits", got=repr(store_id))
    return sha256(GENESIS_PREFIX + unhexlify(store_id)).digest()


def commit_of(salt: bytes, body: bytes) -> bytes:
    """What a line commits to its body with: SHA-256 of salt and body."""
    return sha256(salt + body).digest()


def leaf(line: bytes) -> bytes:
    """The part of a line that the chain and the Merkle tree cover: up to the end of the commit value.

    Raises:
        IntegrityBroken: the line has no such part.
    """
    # Nothing before the chain can hold these bytes, so the first find is the right one.
    end = line.find(_AFTER_LEAF)
    if end < 0:
        raise _no_template(line)
    return line[:end]


def leaf_hash(leaf_bytes: bytes) -> bytes:
    """The hash of a leaf, as in RFC 6962 section 2.1: SHA-256 of a zero byte and the leaf."""
    return sha256(b"\x00" + leaf_bytes).digest()


def chain_next(previous: bytes, leaf_hash_bytes: bytes) -> bytes:
    """The chain value of a line, from that of the line before and its own leaf hash."""
    return sha256(previous + leaf_hash_bytes).digest()


def format_line(
    draft: Draft, seq: int, ts: int | None, durable: int, prev_chain: bytes
) -> tuple[bytes, bytes]:
    """The line of a draft at its place, with the newline, and its chain value.

    Args:
        draft: what is to be written; its own ``ts``, if it has one, goes before the argument.
        seq: the line's number, from 0.
        ts: microseconds since 1970-01-01 UTC; needed if the draft has none.
        durable: the highest seq known to be on disk, -1 for none.
        prev_chain: the chain value of the line before, or :func:`genesis`.
    """
    when = ts if draft.ts is None else draft.ts
    assert when is not None
    head = b'{"seq":%d,"ts":%d%b%d%b' % (seq, when, draft.named, durable, draft.committed)
    chain = sha256(prev_chain + sha256(b"\x00" + head).digest()).digest()
    return b"".join((head, b',"chain":"', hexlify(chain), draft.rest)), chain


def parse_line(line: bytes) -> Entry:
    """A line, given without its newline, taken apart. Hashes are not checked: see :func:`check_line`.

    Raises:
        IntegrityBroken: the line does not match the template.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise _no_template(line)
    seq, ts, kind, execution, durable, commit, chain, salt, body = match.groups()
    return Entry(
        int(seq),
        int(ts),
        kind.decode(),
        execution.decode(),
        int(durable),
        unhexlify(commit),
        unhexlify(chain),
        unhexlify(salt),
        body,
        line,
    )


def check_line(line: bytes, seq: int, previous: bytes) -> tuple[bytes, bytes, int, bytes, bytes, bytes]:
    """Checks every byte of a line against its place in the log.

    Args:
        line: the line without its newline.
        seq: the number that it must have.
        previous: the chain value of the line before.

    Returns:
        Kind, execution, durable, commit, chain and body, as they stand in the line (hashes as 32 bytes).

    Raises:
        IntegrityBroken: template, seq, durable, commit or chain is wrong; the caller sets ``where``.
    """
    return check_leaf(line + b"\n", seq, previous)[:6]


def check_leaf(
    line: bytes, seq: int, previous: bytes
) -> tuple[bytes, bytes, int, bytes, bytes, bytes, bytes]:
    """Does what :func:`check_line` does for a line with its newline; the verifier's inner loop.

    Returns:
        What `check_line` does, and the leaf hash.
    """
    match = _SHAPE.fullmatch(line)
    if match is None:
        raise _no_template(line.removesuffix(b"\n"))
    leaf_bytes, found, kind, execution, durable_digits, commit_hex, chain_hex, salt_hex, body = match.groups()
    try:
        salt = unhexlify(salt_hex)
    except ValueError:
        raise _no_template(line[:-1]) from None
    commit = sha256(salt + body).digest()
    hashed = sha256(b"\x00" + leaf_bytes).digest()
    chain = sha256(previous + hashed).digest()
    durable = int(durable_digits)
    # What is equal to digits made here needs no look at its alphabet. Any doubt goes to the template itself.
    if (
        hexlify(chain) != chain_hex
        or hexlify(commit) != commit_hex
        or hexlify(salt) != salt_hex
        or int(found) != seq
        or durable >= seq
        or _NEWLINE in body
    ):
        raise _fault_of(line[:-1], seq, commit, chain)
    return kind, execution, durable, commit, chain, body, hashed


def _fault_of(line: bytes, seq: int, commit: bytes, chain: bytes) -> IntegrityBroken:
    """What is wrong with a line that should have this number, commit and chain value, and does not."""
    match = _LINE.fullmatch(line)
    if match is None:
        return _no_template(line)
    found, _, _, _, durable, commit_hex, chain_hex, _, _ = match.groups()
    if int(found) != seq:
        return IntegrityBroken("a line is not at its place", expected=f"seq {seq}", got=f"seq {int(found)}")
    if int(durable) >= seq:
        return IntegrityBroken(
            "a line claims that lines after it were on disk before it",
            expected=f"durable below {seq}",
            got=f"durable {int(durable)}",
        )
    if commit != unhexlify(commit_hex):
        return IntegrityBroken(
            "the body is not the one that was committed to", expected=commit_hex.decode(), got=commit.hex()
        )
    return IntegrityBroken(
        "the chain does not continue from the line before", expected=chain.hex(), got=chain_hex.decode()
    )


def _no_template(line: bytes) -> IntegrityBroken:
    return IntegrityBroken(
        "a line does not match the template",
        expected='{"seq":…,"ts":…,"kind":…,"execution":…,"durable":…,"commit":…,"chain":…,"salt":…,"body":{…}}',
        got=_excerpt(line),
    )


def _excerpt(data: bytes) -> str:
    return f"{data[:60]!r}… ({len(data)} bytes)" if len(data) > 60 else repr(data)
