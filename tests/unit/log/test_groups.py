"""Group commit: who leads, who is led, and what happens to a turn that nobody takes."""

import threading
from types import SimpleNamespace

import pytest
from helpers.logs import until

from intentusnet.log import groups as module
from intentusnet.log.groups import Groups, Request


def joined(groups: Groups, count: int, seen: list[tuple[Request, list[Request]]]) -> list[threading.Thread]:
    """Threads that ask for something while somebody leads, one after the other, and lead or are led."""

    def ask(request: Request) -> None:
        group = groups.join(request)
        if group:
            for member in group:
                member.last = 1
            groups.leave(group)
        seen.append((request, group))

    threads = []
    for number in range(count):
        threads.append(threading.Thread(target=ask, args=(Request([]),)))
        threads[-1].start()
        until(lambda number=number: len(groups._waiting) == number + 1)
    return threads


def test_alone_one_leads_oneself() -> None:
    """Without others every request is a group of its own, at once."""
    groups = Groups()
    for _ in range(3):
        request = Request([])
        assert groups.join(request) == [request]
        groups.leave([request])


@pytest.mark.parametrize("count", [5, 20], ids=["woken in turn", "woken together"])
def test_those_who_come_meanwhile_are_the_next_group(count: int) -> None:
    """While one leads, the others wait; then the first of them leads all, in the order in which they came."""
    groups, seen = Groups(), []
    mine = Request([])
    assert groups.join(mine) == [mine]
    threads = joined(groups, count, seen)
    assert seen == []
    groups.leave([mine])
    for thread in threads:
        thread.join(30)
    (leader, group), *_ = [pair for pair in seen if pair[1]]
    assert group[0] is leader and len(group) == count
    assert sorted(len(group) for _, group in seen) == [0] * (count - 1) + [count]
    assert all(request.last == 1 for request, _ in seen)
    assert groups.join(mine) == [mine]


class Interrupted(BaseException):
    """As KeyboardInterrupt, in a thread of the test's choice."""


class InterruptedLock:
    """A lock on which the second acquire, the waiting one, ends with an interrupt when it is told to."""

    def __init__(self, now: threading.Event) -> None:
        self._acquired = 0
        self._now = now

    def acquire(self) -> bool:
        self._acquired += 1
        if self._acquired == 2:
            self._now.wait(30)
            raise Interrupted
        return True

    def release(self) -> None:
        """What wakes a real lock comes too late here."""


def test_a_waiter_interrupted_while_it_is_served_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is being done by another thread is done, although its own thread has gone."""
    groups, seen, now = Groups(), [], threading.Event()
    mine, lost = Request([]), Request([])
    groups.join(mine)
    leader = joined(groups, 1, seen)

    def ask() -> None:
        with pytest.raises(Interrupted):
            groups.join(lost)

    victim = threading.Thread(target=ask)
    with monkeypatch.context() as patch:
        patch.setattr(module, "threading", SimpleNamespace(Lock=lambda: InterruptedLock(now)))
        victim.start()
        until(lambda: len(groups._waiting) == 2)
    groups.leave([mine])
    leader[0].join(30)
    now.set()
    victim.join(30)
    assert lost.last == 1 and len(seen[0][1]) == 2
    assert groups.join(mine) == [mine]


@pytest.mark.parametrize("woken", [False, True], ids=["not woken yet", "woken already"])
def test_a_led_waiter_that_is_interrupted_does_not_keep_the_next_from_waking(
    monkeypatch: pytest.MonkeyPatch, woken: bool
) -> None:
    """Those who were led are woken one by the other, past whoever is no longer there to wake the next."""
    groups, seen, now, go_on = Groups(), [], threading.Event(), threading.Event()
    mine = Request([])
    groups.join(mine)

    def lead() -> None:
        group = groups.join(Request([]))
        go_on.wait(30)
        groups.leave(group)

    def ask() -> None:
        with pytest.raises(Interrupted):
            groups.join(Request([]))

    leader, victim = threading.Thread(target=lead), threading.Thread(target=ask)
    leader.start()
    until(lambda: len(groups._waiting) == 1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "threading", SimpleNamespace(Lock=lambda: InterruptedLock(now)))
        victim.start()
        until(lambda: len(groups._waiting) == 2)
    other = threading.Thread(target=lambda: seen.append(groups.join(Request([]))))
    other.start()
    until(lambda: len(groups._waiting) == 3)
    groups.leave([mine])
    until(lambda: groups._waiting == [])
    if not woken:
        now.set()
        victim.join(30)
    go_on.set()
    leader.join(30)
    assert seen == [] or not woken
    now.set()
    victim.join(30)
    other.join(30)
    assert seen == [[]] and not groups._led


@pytest.mark.parametrize("chosen", [False, True], ids=["still waiting", "already chosen to lead"])
def test_an_interrupted_waiter_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, chosen: bool) -> None:
    """Whoever is interrupted while waiting leaves the queue, and hands on a turn that was meant for it."""
    groups, seen, now = Groups(), [], threading.Event()
    mine = Request([])
    groups.join(mine)

    def ask() -> None:
        with pytest.raises(Interrupted):
            groups.join(Request([]))

    victim = threading.Thread(target=ask)
    with monkeypatch.context() as patch:
        patch.setattr(module, "threading", SimpleNamespace(Lock=lambda: InterruptedLock(now)))
        victim.start()
        until(lambda: len(groups._waiting) == 1)
    if not chosen:
        now.set()
        victim.join(30)
    groups.leave([mine])
    assert groups._led is chosen
    now.set()
    victim.join(30)
    assert not groups._led and groups._waiting == []
    assert groups.join(mine) == [mine]
    threads = joined(groups, 2, seen)
    groups.leave([mine])
    for thread in threads:
        thread.join(30)
    assert sorted(len(group) for _, group in seen) == [0, 2]
