"""Time and chance, injected: the machine's own, and those of tests."""

import threading
import time
import uuid

import pytest

from intentusnet.ids import SYSTEM_CLOCK, SYSTEM_IDS, Clock, Ids, ManualClock, SeededIds


def test_the_system_clock_is_the_machines() -> None:
    """Microseconds since 1970, a clock that never goes back, and a sleep."""
    assert SYSTEM_CLOCK.time_us() <= time.time_ns() // 1000
    assert SYSTEM_CLOCK.monotonic() <= SYSTEM_CLOCK.monotonic()
    SYSTEM_CLOCK.sleep(0)


@pytest.mark.parametrize("ids", [SYSTEM_IDS, SeededIds(3)])
def test_ids_are_well_formed_and_differ(ids: Ids) -> None:
    """Execution ids are UUIDv7, agents' are UUIDv4, seeds have 128 bits."""
    executions, own = [[uuid.UUID(ids.execution_id()) for _ in range(50)], [ids.uuid() for _ in range(50)]]
    assert {u.version for u in executions} == {7} and {u.version for u in own} == {4}
    assert {u.variant for u in (*executions, *own)} == {uuid.RFC_4122}
    assert len({*executions, *own}) == 100
    assert 0 <= ids.seed() < 2**128


def test_execution_ids_sort_by_time() -> None:
    """Later ids are greater, so a list of them is in the order of making."""
    ids = [SYSTEM_IDS.execution_id() for _ in range(100)]
    assert ids == sorted(ids)


def test_seeded_ids_repeat() -> None:
    """The same seed gives the same ids in the same order; another seed others."""
    one, same, other = SeededIds(1), SeededIds(1), SeededIds(2)
    told = [[ids.execution_id(), ids.uuid(), ids.seed()] for ids in (one, same, other)]
    assert told[0] == told[1] != told[2]


def test_a_manual_clock_moves_when_told() -> None:
    """By advance, by sleep, and by its step at each reading."""
    clock: Clock = ManualClock(1_000_000)
    assert (clock.time_us(), clock.time_us(), clock.monotonic()) == (1_000_000, 1_000_000, 0)
    clock.sleep(1.5)
    assert clock.time_us() == 2_500_000 and clock.monotonic() == 1.5
    stepping = ManualClock(0, step_us=3)
    assert [stepping.time_us() for _ in range(3)] == [0, 3, 6]


def test_a_manual_clock_gives_each_reading_once_to_many_threads() -> None:
    """Concurrent readers of a stepping clock get different times."""
    clock, seen = ManualClock(0, step_us=1), []

    def read() -> None:
        seen.extend([clock.time_us() for _ in range(100)])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(400))
