"""How durable an entry is when an append returns; docs/durability.md says what each level survives.

``disk``: it is on disk. ``os``: the operating system has it, so that it survives the death of the process.
``async``: this process has it, and writes it to disk after a bounded time, or a bounded number of others.
"""

from __future__ import annotations

from typing import Final, Literal

from intentusnet.errors import InvalidInput
from intentusnet.refusals import describe

Durability = Literal["disk", "os", "async"]

#: The strongest first.
DURABILITIES: Final[tuple[Durability, ...]] = ("disk", "os", "async")


def check_durability(durability: object) -> None:
    """Raises InvalidInput if there is no such durability; None is "as the store was told"."""
    if durability is not None and (type(durability) is not str or durability not in DURABILITIES):
        raise InvalidInput(
            "there is no such durability",
            where="durability",
            expected=" or ".join(DURABILITIES),
            got=describe(durability),
        )
