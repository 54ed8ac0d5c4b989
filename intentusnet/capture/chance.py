"""Chance: random bytes, ids and numbers that agents draw without their context.

What everything else is made of is caught, so that it does not matter how the rest was bound: ``os.urandom``
(and so ``uuid.uuid4`` and what reads random bytes for itself), the draws of ``random.SystemRandom`` (and so
``secrets``), and the seed that a ``random.Random()`` is given. The functions of the module ``random`` draw
from the stream of the agent's scope, of which only the seed is recorded, instead of the one that all threads
share. Ids that hold the time (``uuid1``, ``uuid6``, ``uuid7``) are asked as a whole.

Not reached: native code with a source of chance of its own, such as numpy's generators and uuid_utils.
"""

from __future__ import annotations

import functools
import os
import random
import secrets
import sys
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from intentusnet.asker import current
from intentusnet.base_context import BaseContext
from intentusnet.capture.functions import ask, asker_of, replace
from intentusnet.capture.hooks import Hook

NAME: Final = "chance"

#: These call on behalf of others.
_INTERNAL: Final = frozenset({"random", "secrets", "uuid"})
#: What these draw is for themselves alone: names of files, of processes, of connections.
_PRIVATE: Final = frozenset({"asyncio", "concurrent", "multiprocessing", "ssl", "tempfile", "threading"})

#: The random stream of a scope that stands for the one of the module.
_STREAM: Final = "module"

_IDS: Final = ("uuid1", "uuid6", "uuid7")
_STREAMED: Final = (
    "betavariate", "binomialvariate", "choice", "choices", "expovariate", "gammavariate", "gauss",
    "getrandbits", "getstate", "lognormvariate", "normalvariate", "paretovariate", "randbytes", "randint",
    "random", "randrange", "sample", "seed", "setstate", "shuffle", "triangular", "uniform",
    "vonmisesvariate", "weibullvariate",
)  # fmt: skip


def _asker() -> BaseContext | None:
    """The context through which the caller of a patched function asks, if it does."""
    return asker_of(sys._getframe(2), NAME, _INTERNAL, _PRIVATE)


def _install_bytes(module: ModuleType) -> None:
    # The second is on Linux alone.
    names = [name for name in ("urandom", "getrandom") if hasattr(module, name)]
    replace(module, {name: _bytes(name, getattr(module, name)) for name in names})


def _bytes(name: str, original: Callable[..., bytes]) -> Callable[..., bytes]:
    @functools.wraps(original)
    def drawn(size: int, *flags: int) -> bytes:
        context = None if current.get() is None else _asker()
        if context is None:
            return original(size, *flags)
        told: bytes = ask(context, "random", name, lambda: original(size, *flags), size)
        return told

    return drawn


def _install_random(module: ModuleType) -> None:
    replace(
        module,
        {name: _streamed(name, getattr(module, name)) for name in _STREAMED if hasattr(module, name)},
    )
    for name in ("random", "getrandbits", "randbytes"):
        _draw_from_system(name, getattr(random.SystemRandom, name))
    seed = random.Random.seed

    @functools.wraps(seed)
    def seeded(self: random.Random, a: Any = None, version: int = 2) -> None:
        context = _asker() if a is None else None
        if context is not None:
            a = ask(context, "random", "seed", lambda: secrets.randbits(128))
        seed(self, a, version)

    random.Random.seed = seeded  # type: ignore[method-assign]  # that is what a hook does
    # A bound method keeps the function that it was made of, which is the one that asks nothing.
    replace(secrets, {"randbits": random.SystemRandom().getrandbits})


def _streamed(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        context = None if current.get() is None else _asker()
        return (original if context is None else getattr(context.random_stream(_STREAM), name))(
            *args, **kwargs
        )

    return drawn


def _draw_from_system(name: str, original: Callable[..., Any]) -> None:
    @functools.wraps(original)
    def drawn(self: random.SystemRandom, *args: Any) -> Any:
        context = None if current.get() is None else _asker()
        if context is None:
            return original(self, *args)
        return ask(context, "random", f"system.{name}", lambda: original(self, *args), *args)

    setattr(random.SystemRandom, name, drawn)


def _install_uuid(module: ModuleType) -> None:
    replace(
        module, {name: _identified(name, getattr(module, name)) for name in _IDS if hasattr(module, name)}
    )


def _identified(name: str, original: Callable[..., uuid.UUID]) -> Callable[..., uuid.UUID]:
    @functools.wraps(original)
    def identified(*args: Any, **kwargs: Any) -> uuid.UUID:
        context = None if current.get() is None else _asker()
        if context is None:
            return original(*args, **kwargs)
        told: uuid.UUID = ask(context, "uuid", name, lambda: original(*args, **kwargs))
        return uuid.UUID(int=told.int)

    return identified


def _install(module: ModuleType) -> None:
    _install_random(module)
    _install_bytes(os)
    _install_uuid(uuid)


HOOKS: Final = (Hook(NAME, "random", _install),)
