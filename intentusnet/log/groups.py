"""Group commit: what many threads ask for at the same time is done by one of them, for all.

A plain lock around write and sync would be right and slow: its waiters are let in one by one, each to write a
line and to wait for the disk, while the disk would take all their lines in the time of one. Here the requests
that come in while a group is being done form the next group; whoever waits longest leads it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from intentusnet.errors import IntentusError
from intentusnet.log.entry import Draft

UNWRITTEN = 1 << 63


class Request:
    """One append on its way; mutable, touched by its own thread and by the one that leads its group.

    Attributes:
        drafts: what is to be written.
        last: the seq of the last of them, once it is known.
        error: why it was not done.
    """

    __slots__ = ("_leads", "_wake", "drafts", "error", "last")

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.last = UNWRITTEN
        self.error: IntentusError | None = None
        self._leads = False
        self._wake: threading.Lock | None = None


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
        except BaseException:
            with self._mutex:
                if request in self._waiting:
                    self._waiting.remove(request)
            if request._leads:
                self.leave([])
            raise
        if not request._leads:
            return []
        with self._mutex:
            group, self._waiting = self._waiting, []
        return group

    def leave(self, group: list[Request]) -> None:
        """Wakes the group's threads, and one that waits to lead the next."""
        with self._mutex:
            if not self._waiting and len(group) <= 1:
                self._led = False
                return
            heir = self._waiting[0] if self._waiting else None
            self._led = heir is not None
            if heir is not None:
                heir._leads = True
        # The heir first, so that its write is under way while the others go about their next append.
        for request in (heir, *group[1:]):
            if request is not None and request._wake is not None:
                request._wake.release()
