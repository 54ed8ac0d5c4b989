"""Everything that can be captured, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from intentusnet.capture import aiohttp, chance, clock, httpx, process, urllib3
from intentusnet.capture.hooks import Hook

HOOKS: Final[Mapping[str, Hook]] = MappingProxyType(
    {
        hook.name: hook
        for hook in (
            *httpx.HOOKS,
            *urllib3.HOOKS,
            *aiohttp.HOOKS,
            *process.HOOKS,
            *chance.HOOKS,
            *clock.HOOKS,
        )
    }
)
