"""Repair of a damaged log, when asked for: good lines stay, the others are kept aside, and the log says so.

The good lines before the first bad place stay byte for byte, so that every checkpoint over them stays true.
Everything from there on is copied to ``quarantine/repair-<seq>-<digest>/`` first. Then a ``recovery`` entry
takes its place, and behind it what can be saved of it, as new entries (``salvage`` says which, and why).

A repair is made beside the log (``mending``) and put in its place at one moment, that of ``repair.json``:
before it nothing has changed, after it the repair is finished by whoever runs it next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Final

from orjson import loads

from intentusnet.errors import IntegrityBroken, StoreRefused, StoreWriteFailed
from intentusnet.ids import SYSTEM_CLOCK, Clock
from intentusnet.log.blobs import read_blob
from intentusnet.log.damage import Damage, survey
from intentusnet.log.entry import Entry, chain_next, commit_of, leaf, leaf_hash, parse_line
from intentusnet.log.files import FILES, LOCK_FILE, Files
from intentusnet.log.head import HEAD_FILE
from intentusnet.log.identity import read_identity
from intentusnet.log.mending import Mend, pending, prepare, switch
from intentusnet.log.report import FirstBad
from intentusnet.log.salvage import Salvage, salvage
from intentusnet.log.sealing import COMPRESS_LOCK, held
from intentusnet.log.segment import LOG_DIR, QUARANTINE_DIR, list_segments
from intentusnet.references import BlobRef, references

_DIGITS: Final = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyz-")
#: In a line of another kind, quotes within a value have a backslash before them.
_RECOVERY: Final = b'"kind":"recovery","execution":""'


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What is wrong with a log, and what a repair makes of it.

    Attributes:
        store: the store's id.
        first_bad: the first place that is not as it was written; None if there is nothing to repair.
        torn: there is nothing to repair, but a torn tail, which opening the store for writing puts aside.
        kept_entries: entries before the first bad place; they stay as they are.
        salvaged_entries: entries behind it that are appended again.
        lost_entries: entries that are known to have been there and are not in the log any more.
        lost_bytes: bytes of lines behind the first bad place that are not appended again.
        cut_executions: begun, and without an end; whether they had one, and what they did, is unknown.
        lost_executions: not in the log any more.
        unproven_executions: in the log, with an entry whose ts, kind and execution the chain cannot prove.
        damaged_executions: in the log, and refer to a value whose blob is missing or damaged, which is not
            the log's damage, and stays so.
    """

    store: str
    first_bad: FirstBad | None
    torn: bool
    kept_entries: int
    salvaged_entries: int
    lost_entries: int
    lost_bytes: int
    cut_executions: tuple[str, ...]
    lost_executions: tuple[str, ...]
    unproven_executions: tuple[str, ...]
    damaged_executions: tuple[str, ...]

    @property
    def needed(self) -> bool:
        """Whether there is anything to repair."""
        return self.first_bad is not None


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did, or would do.

    Attributes:
        plan: what was found.
        repaired: whether the log was changed.
        quarantine: where the originals are, relative to the store; None if nothing was put there.
    """

    plan: RepairPlan
    repaired: bool
    quarantine: str | None

    def as_dict(self) -> dict[str, Any]:
        """The report as the command line prints it."""
        plan = self.plan
        return {
            "store": plan.store,
            "repaired": self.repaired,
            "torn": plan.torn,
            "kept_entries": plan.kept_entries,
            "salvaged_entries": plan.salvaged_entries,
            "lost_entries": plan.lost_entries,
            "lost_bytes": plan.lost_bytes,
            "cut_executions": list(plan.cut_executions),
            "lost_executions": list(plan.lost_executions),
            "unproven_executions": list(plan.unproven_executions),
            "damaged_executions": list(plan.damaged_executions),
            "quarantine": self.quarantine,
            "first_bad": None if plan.first_bad is None else plan.first_bad.as_dict(),
        }

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> RepairReport:
        """The report that `as_dict` wrote."""
        values = dict(tree)
        repaired, quarantine = values.pop("repaired"), values.pop("quarantine")
        bad = values.pop("first_bad")
        values = {name: tuple(value) if type(value) is list else value for name, value in values.items()}
        return cls(RepairPlan(first_bad=bad and FirstBad(**bad), **values), repaired, quarantine)


def plan_repair(directory: Path) -> RepairPlan:
    """What `repair_store` would do; changes nothing and takes no lock.

    Raises:
        StoreRefused: it is no store, one of another format version, or cannot be read.
        IntegrityBroken: the log is another store's, and is not repaired.
    """
    begun = pending(directory)
    if begun is not None:
        return RepairReport.from_dict(begun.report).plan
    damage = survey(directory, read_identity(directory).store_id)
    return _planned(directory, damage)[0]


def repair_store(directory: Path, *, clock: Clock = SYSTEM_CLOCK, files: Files = FILES) -> RepairReport:
    """Repairs a damaged log and keeps the original; leaves one alone that is whole, or torn at its end.

    Other processes wait meanwhile. Writers that have the store open are told with their next append that it
    must be opened again.

    Args:
        directory: the store.
        clock: the time of the recovery entry.
        files: the calls that change the store.

    Returns:
        What was done; of a repair that was begun earlier, what that one did.

    Raises:
        StoreRefused: it is no store, one of another format version, or cannot be read.
        IntegrityBroken: the log is another store's, and is not repaired.
        StoreWriteFailed: it could not be done; run again, it begins anew or is finished.
        StorePoisoned: a sync failed; run again, it begins anew or is finished.
    """
    identity = read_identity(directory)
    try:
        with held(directory / COMPRESS_LOCK, files), held(directory / LOCK_FILE, files):
            mend = pending(directory)
            if mend is None:
                damage = survey(directory, identity.store_id)
                plan, saved = _planned(directory, damage)
                if saved is None:
                    return RepairReport(plan, False, None)
                mend = _prepared(directory, plan, damage, saved, clock, files)
            switch(directory, mend, files)
            return RepairReport.from_dict(mend.report)
    except OSError as error:
        raise StoreWriteFailed(
            "the repair could not be finished",
            where=str(error.filename or directory),
            got=error.strerror or str(error),
            hint="The original is kept. Run `intentusnet repair` again when the cause is gone.",
        ) from error


def cut_executions(directory: Path) -> frozenset[str]:
    """The executions that repairs have left without an end, as the log's `recovery` entries name them.

    Raises:
        IntegrityBroken: the log is damaged.
        StoreRefused: it cannot be read.
    """
    if not any((directory / QUARANTINE_DIR).glob("repair-*")):
        return frozenset()
    cut: set[str] = set()
    try:
        for segment in list_segments(directory / LOG_DIR):
            with segment.open() as file:
                for line in file:
                    if _RECOVERY in line:
                        cut.update(loads(parse_line(line.removesuffix(b"\n")).body).get("cut", ()))
    except OSError as fault:
        raise StoreRefused(
            "the store cannot be read", where=str(fault.filename or directory), got=str(fault)
        ) from fault
    return frozenset(cut)


def _prepared(
    directory: Path, plan: RepairPlan, damage: Damage, saved: Salvage, clock: Clock, files: Files
) -> Mend:
    assert plan.first_bad is not None
    told = {
        "cut": list(plan.cut_executions),
        "lost": list(plan.lost_executions),
        "lost_bytes": plan.lost_bytes,
        "lost_entries": plan.lost_entries,
        "reason": plan.first_bad.reason,
        "repair": True,
        "salvaged": plan.salvaged_entries,
        "unproven": list(plan.unproven_executions),
    }
    return prepare(
        directory,
        damage,
        saved.kept(),
        told,
        lambda quarantine: RepairReport(plan, True, quarantine).as_dict(),
        clock=clock,
        files=files,
    )


def _planned(directory: Path, damage: Damage) -> tuple[RepairPlan, Salvage | None]:
    fault = damage.fault
    if fault is None or damage.torn:
        without = _without_blob(directory, _good_entries(damage))
        plan = RepairPlan(damage.store_id, None, damage.torn, damage.seq, 0, 0, 0, (), (), (), without)
        return plan, None
    _refuse_foreign(damage)
    _refuse_strays(directory, damage)
    kept = damage.seq
    number, offset = damage.at
    place = fault.where or HEAD_FILE
    if number < len(damage.sources):
        place = damage.sources[number].name
    first_bad = FirstBad(kept, place, damage.line, offset, fault.message, fault.expected, fault.got)
    saved = salvage(damage)
    plan = RepairPlan(
        store=damage.store_id,
        first_bad=first_bad,
        torn=False,
        kept_entries=kept,
        salvaged_entries=saved.entries,
        lost_entries=max(0, saved.rest.end - kept - saved.entries),
        lost_bytes=saved.rest.size - saved.size,
        cut_executions=saved.cut,
        lost_executions=saved.lost,
        unproven_executions=saved.unproven,
        damaged_executions=_without_blob(directory, chain(_good_entries(damage), saved.kept())),
    )
    return plan, saved


def _good_entries(damage: Damage) -> Iterator[Entry]:
    """The entries before the first bad place that refer to blobs."""
    for number, source in enumerate(damage.sources[: damage.at[0] + 1]):
        for at, raw in source.lines():
            if (number, at) >= damage.at:
                return
            if references(raw):
                yield parse_line(raw[:-1])


def _without_blob(directory: Path, entries: Iterable[Entry]) -> tuple[str, ...]:
    """The executions that refer to a value that cannot be read; each value is read once."""
    readable: dict[BlobRef, bool] = {}
    without: dict[str, None] = {}
    for entry in entries:
        for ref in references(entry.body):
            if ref not in readable:
                readable[ref] = _is_readable(directory, ref)
            if not readable[ref]:
                without[entry.execution] = None
    return tuple(without)


def _is_readable(directory: Path, ref: BlobRef) -> bool:
    try:
        read_blob(directory, ref)
    except (IntegrityBroken, OSError):
        return False
    return True


def _refuse_foreign(damage: Damage) -> None:
    """Refuses a log whose very first line is good in itself and was written for another store.

    A damaged byte in the part of it that only the chain covers looks the same, but can be found by trying.
    """
    if damage.seq > 0 or not damage.sources or damage.sources[0].first > 0:
        return
    try:
        entry = parse_line(next(damage.sources[0].lines(), (0, b""))[1].removesuffix(b"\n"))
    except IntegrityBroken:
        return
    start, said = damage.chain, leaf(entry.line)
    computed = chain_next(start, leaf_hash(said)).hex()
    off = sum(a != b for a, b in zip(computed, entry.chain.hex(), strict=True))
    of_this_store = off <= 1 or entry.seq != 0 or commit_of(entry.salt, entry.body) != entry.commit
    if of_this_store or _is_one_byte_off(said, start, entry.chain):
        return
    raise IntegrityBroken(
        "the log is of another store",
        where=damage.sources[0].name,
        expected=f"a log that begins with chain {computed}, that of store {damage.store_id}",
        got=f"chain {entry.chain.hex()}",
        hint="Nothing was changed. Put the store.json beside it that belongs to it, or the right log.",
    )


def _refuse_strays(directory: Path, damage: Damage) -> None:
    """Refuses what cannot be copied: directories, links and the like in the log."""
    for name in damage.strays:
        path = directory / LOG_DIR / name
        if path.is_symlink() or not path.is_file():
            raise IntegrityBroken(
                "something that is no file lies in the log directory",
                where=str(path),
                expected="segments only",
                hint="Nothing was changed. Move it elsewhere, and run `intentusnet repair` again.",
            )


def _is_one_byte_off(said: bytes, start: bytes, stated: bytes) -> bool:
    """Whether another digit or letter at one place makes a leaf the one that the chain value was made of."""
    for at, byte in enumerate(said):
        if byte not in _DIGITS:
            continue
        before, behind = sha256(b"\x00" + said[:at]), said[at + 1 :]
        for other in _DIGITS:
            hashed = before.copy()
            hashed.update(bytes((other,)) + behind)
            if chain_next(start, hashed.digest()) == stated:
                return True
    return False
