"""How `show` tells what the limits said of a call: in words, with durations that people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from intentusnet import values
from intentusnet.cli.output import inline, span, text

#: What every verdict says in its own way.
_TOLD: Final = frozenset({"admitted", "breaker", "concurrency", "error", "rate"})


def told_of(verdict: Mapping[str, Any], most: int) -> str:
    """A verdict on record, as a line of text.

    Args:
        verdict: a raw tree, whose form is checked already as far as it decides anything.
        most: so many characters of what is somebody's own.
    """
    verdict = values.untag(verdict)
    if "again" in verdict:
        if verdict["again"]:
            return f"again after {_span(verdict['delay'])}"
        reason = verdict.get("reason")
        return f"not again: {text(reason) if isinstance(reason, str) else inline(reason, most)}"
    told = ["admitted" if verdict["admitted"] else f"refused: {verdict['error']['code']}"]
    told += _details(verdict.get("rate"), verdict.get("concurrency"), verdict.get("breaker"))
    others = {name: said for name, said in verdict.items() if name not in _TOLD}
    return ", ".join([*told, *([inline(others, most)] if others else [])])


def _details(rate: Any, place: Any, breaker: Any) -> list[str]:
    told = []
    match rate:
        case {"admitted": False, "per": per}:
            told.append(f"rate per {per}")
    match place:
        case {"decision": "queued", "place": number, "estimate": estimate}:
            told.append(f"queued at place {number}, estimate {_span(estimate)}")
        case {"decision": "refused"}:
            told.append("no place")
        case {"decision": "nested"}:
            told.append("nested in a call that has a place")
    match place:
        case {"waited": waited}:
            told.append(f"waited {_span(waited)}")
    match breaker:
        case {"probe": True}:
            told.append("as the breaker's probe")
        case {"admitted": False}:
            told.append("the breaker is open")
    retry_after = max((_retry_after(said) for said in (rate, place, breaker)), default=0)
    return [*told, f"retry after {_span(retry_after)}"] if retry_after else told


def _retry_after(said: Any) -> int:
    match said:
        case {"retry_after": int(wait)}:
            return wait
    return 0


def _span(nanoseconds: Any) -> str:
    return span(nanoseconds // 1000) if type(nanoseconds) is int else inline(nanoseconds, 100)
