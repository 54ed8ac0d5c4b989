"""Logs of many small segments, with executions that lie across them, for the tests of the verifier."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from helpers.drafts import STORE_ID, closed, draft

from intentusnet.ids import ManualClock
from intentusnet.log.entry import Draft, format_line, genesis
from intentusnet.log.identity import Identity
from intentusnet.log.verify import VerifyReport, verify_store
from intentusnet.log.writer import LogWriter

PER_SEGMENT = 5


def name(number: int) -> str:
    return f"{number:08x}-0000-7000-8000-000000000000"


def interleaved(executions: int, seed: int, most_open: int = 4) -> list[Draft]:
    """Executions of up to eight entries that run at the same time; the last ones have no end."""
    chance = random.Random(seed)
    drafts: list[Draft] = []
    running: list[list[Draft]] = []
    number = 0
    while number < executions:
        if len(running) < most_open and chance.random() < 0.5:
            running.append([draft("opened", name(number))])
            drafts.append(running[-1][0])
            number += 1
        elif running:
            one = chance.choice(running)
            if len(one) > 7 or chance.random() < 0.3:
                running.remove(one)
                drafts.append(closed(*one))
            else:
                one.append(draft(chance.choice(["asked", "answered"]), one[0].execution))
                drafts.append(one[-1])
    return drafts


def make_store(directory: Path, drafts: list[Draft], per_segment: int = PER_SEGMENT) -> Path:
    directory.mkdir()
    (directory / "store.json").write_bytes(Identity(STORE_ID, 0, {"segment_entries": per_segment}).encode())
    writer = LogWriter(directory, STORE_ID, clock=ManualClock(), max_entries=per_segment)
    writer.append(drafts, durability="disk")
    writer.close()
    return directory


def write_log(store: Path, drafts: list[Draft], per_segment: int = PER_SEGMENT) -> None:
    """Makes these entries the log of a store, whole in itself, and claims nothing about what is on disk."""
    shutil.rmtree(store / "log")
    (store / "log").mkdir()
    (store / "head.json").unlink(missing_ok=True)
    chain = genesis(STORE_ID)
    for first in range(0, len(drafts), per_segment):
        lines = []
        for seq, one in enumerate(drafts[first : first + per_segment], first):
            line, chain = format_line(one, seq, 0, -1, chain)
            lines.append(line)
        (store / "log" / f"{first:020d}.jsonl").write_bytes(b"".join(lines))


#: Twenty executions of up to eight entries.
DRAFTS = interleaved(20, seed=1)


def both(store: Path) -> tuple[VerifyReport, VerifyReport]:
    return verify_store(store, workers=1), verify_store(store, workers=2)
