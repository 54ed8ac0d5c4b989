"""Group commit: what many threads ask for at the same time is done by one of them, for all.

A plain lock around write and sync would be right and slow: its waiters are let in one by one, each to write a
line and to wait for the disk, while the disk would take all their lines in the time of one. Here the requests
that come in while a group is being done form the next group; whoever waits longest leads it.

A few who were led are woken one after the other, each by the one before; many are woken together.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from intentusnet.errors import IntentusError
from intentusnet.log.entry import Draft

UNWRITTEN = 1 << 63

#: Followers of one group, up to so many, are woken one by the other: at once, they would fight for the
#: interpreter, and each switch costs as much as an append. Of more, those that have to wait for it anyhow
#: are the next group, and the larger it is the fewer writes and syncs there are.
_IN_TURN = 8


class Request:
    """One append on its way; mutable, touched by its own thread and by the one that leads its group.

    Attributes:
        drafts: what is to be written.
        last: the seq of the last of them, once it is known.
        error: why it was not done.
    """

    __slots__ = ("_behind", "_leads", "_wake", "drafts", "error", "last")

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.last = UNWRITTEN
        self.error: IntentusError | None = None
        self._leads = False
        # Released to wake the thread; None if it does not wait.
        self._wake: threading.Lock | None = None
        # Those of its group who are still to be woken, the next one last; None before the first of them is.
        self._behind: list[Request] | None = None


class Groups:
    """Requests gathered into groups, one group at a time; mutable, for many threads."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._led = False
        self._waiting: list[Request] = []

    def join(self, request: Request) -> list[Request]:
        """Returns the group that the caller now leads, its request first, or nothing: the request is done.

        A leader must call :meth:`leave`, whatever happens.
        """
        with self._mutex:
            if not self._led:
                self._led = True
                return [request]
            request._wake = wake = threading.Lock()
            wake.acquire()
            self._waiting.append(request)
        try:
            wake.acquire()
            if not request._leads:
                self._wake_next(request._behind)
                return []
        except BaseException:
            self._abandon(request)
            raise
        with self._mutex:
            group, self._waiting = self._waiting, []
        return group

    def leave(self, group: list[Request]) -> None:
        """Wakes one that waits to lead the next group, and the first of this one's."""
        with self._mutex:
            if not self._waiting and len(group) <= 1:
                self._led = False
                return
            led = group[:0:-1]
            in_turn = len(led) <= _IN_TURN
            for request in led if in_turn else ():
                request._behind = led
            self._led = bool(self._waiting)
            # The heir first, so that its write is under way while the others go about their next append.
            if self._waiting:
                heir = self._waiting[0]
                heir._leads = True
                _wake(heir)
        if in_turn:
            self._wake_next(led)
        else:
            for request in led:
                _wake(request)

    def _wake_next(self, led: list[Request] | None) -> None:
        """Wakes the next of a group that was led, past those who were interrupted meanwhile."""
        if led:
            with self._mutex:
                while led and not _wake(led.pop()):
                    pass

    def _abandon(self, request: Request) -> None:
        """Sees to it that nobody waits for a request whose thread was interrupted while it waited."""
        with self._mutex:
            request._wake = None
            if request in self._waiting:
                self._waiting.remove(request)
            led = request._behind
            # Whoever comes to wake it later goes past it.
            woken = led is not None and request not in led
        if request._leads:
            self.leave([])
        elif woken:
            self._wake_next(led)


def _wake(request: Request) -> bool:
    """Wakes the thread of a request; False if it does not wait."""
    wake = request._wake
    if wake is not None:
        wake.release()
    return wake is not None
