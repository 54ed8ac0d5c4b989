"""Secrets that an agent has met: what was one where it was named is one wherever it turns up later.

A token that a response named as one may be part of the path of the next request. There the record does not
show it, and a replay, to whose agent it was never shown, has the placeholder in the same place.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Final

from intentusnet.base_context import BaseContext
from intentusnet.capture.redaction import PLACEHOLDER

#: Shorter ones, and texts of several words, may as well be words under a key that sounds like a secret's.
_LEAST: Final = 16
#: As many as are looked for at once: the latest.
_MOST: Final = 256

_lock = threading.Lock()
_met: weakref.WeakKeyDictionary[BaseContext, dict[str, None]] = weakref.WeakKeyDictionary()


def known_to(context: BaseContext) -> tuple[str, ...]:
    """The secrets that the agent of a context has met in this call."""
    with _lock:
        return tuple(_met.get(context, ()))


def remember(context: BaseContext, secrets: Iterable[str]) -> None:
    """Takes note of secrets that the agent of a context has met."""
    worth = [one for one in secrets if len(one) >= _LEAST and PLACEHOLDER not in one and one.isprintable()]
    worth = [one for one in worth if not any(map(str.isspace, one)) and "\\" not in one]
    if not worth:
        return
    with _lock:
        met = _met.setdefault(context, {})
        for secret in worth:
            met.pop(secret, None)
            met[secret] = None
        for oldest in list(met)[: max(len(met) - _MOST, 0)]:
            del met[oldest]
