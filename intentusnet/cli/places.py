"""The places where a value does not fit, for people: one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intentusnet.errors import IntentusError, InvalidInput


def lines_of(details: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The faults in an error's details, a line each, and what else is in the details.

    Args:
        details: a raw tree, as an agent may have written it, too.
    """
    faults = details.get("faults")
    if not isinstance(faults, list) or not faults or not all(map(_is_fault, faults)):
        return [], dict(details)
    rest = {name: part for name, part in details.items() if name not in ("faults", "total")}
    told, total = [line_of(fault) for fault in faults], details.get("total")
    if isinstance(total, int) and total > len(told):
        told.append(f"and {total - len(told)} more")
    return told, rest


def line_of(fault: Mapping[str, str]) -> str:
    """One fault: where, what was expected, what is there."""
    return f"{fault['path'] or 'the value itself'}: expected {fault['expected']}, got {fault['got']}"


def _is_fault(tree: Any) -> bool:
    return (
        isinstance(tree, dict)
        and tree.keys() == {"path", "expected", "got"}
        and all(isinstance(part, str) for part in tree.values())
    )


def others_of(error: IntentusError) -> dict[str, str]:
    """What an error has to tell beside its first fault: ``{"also": …}``, or nothing."""
    if not isinstance(error, InvalidInput) or error.total < 2:
        return {}
    told, _ = lines_of(error.places())
    return {"also": "\n".join(told[1:])}
