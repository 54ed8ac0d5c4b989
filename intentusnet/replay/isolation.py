"""A process without a network: what native code cannot escape either.

The tripwire sees what Python does. A worker process that replays records, and nothing else, is moved into a
network namespace of its own, where there is no interface but a loopback that is down, so that connecting
fails in the kernel, whoever tries. Sockets that have a path in the file system are no part of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path
from typing import Final

_NEW_USER: Final = 0x1000_0000  # CLONE_NEWUSER, linux/sched.h
_NEW_NETWORK: Final = 0x4000_0000  # CLONE_NEWNET
_NAMESPACE: Final = "/proc/self/ns/net"

_isolated = False


def without_network() -> bool:
    """Moves this process into a network namespace of its own, for good.

    To be called first thing in a fresh worker process, while it has one thread. Connections that are open
    already stay open.

    Returns:
        Whether the process has no network from now on. False where there are no namespaces, where the kernel
            or its administrator refuses them, and when threads run already; then nothing has changed.
    """
    global _isolated  # noqa: PLW0603 - a process has one network
    with contextlib.suppress(OSError):  # without /proc nothing can be told
        _isolated = _isolated or _unshare()
    return is_without_network()


def is_without_network() -> bool:
    """Whether `without_network` has worked in this process, or in the one that it was forked from."""
    return _isolated


def guards() -> tuple[str, ...]:
    """What keeps replays in this process from touching the world, as a report names it."""
    return ("audit-hook", "network-namespace") if is_without_network() else ("audit-hook",)


def _unshare() -> bool:
    # Only the calling thread is moved: with others about, the process would still have its network.
    if sys.platform != "linux" or len(os.listdir("/proc/self/task")) != 1:
        return False
    user, group = os.geteuid(), os.getegid()
    before = os.readlink(_NAMESPACE)
    # os.unshare exists from Python 3.12 on; the function itself is the same.
    unshare = getattr(ctypes.CDLL(None), "unshare", None)
    # The first is the superuser's; for all others the namespace of users is what allows the other one.
    if unshare is not None and unshare(_NEW_NETWORK) != 0 and unshare(_NEW_USER | _NEW_NETWORK) == 0:
        with contextlib.suppress(OSError):
            _keep_ids(user, group)
    return os.readlink(_NAMESPACE) != before


def _keep_ids(user: int, group: int) -> None:
    """Without this all files would seem to be nobody's, and none could be made."""
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
