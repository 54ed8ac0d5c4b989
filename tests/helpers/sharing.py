"""How much of one immutable structure is not shared with another."""

import gc
from typing import Any

from intentusnet.agents import Agent
from intentusnet.catalog import Catalog
from intentusnet.table import Table

_CONTAINERS = (dict, tuple, Table, Catalog)


def slots_added(old: Any, new: Any) -> int:
    """How many entries the containers have that are in the new structure and not in the old one."""
    known = _containers(old)
    fresh = [one for key, one in _containers(new).items() if key not in known]
    return sum(len(one) for one in fresh if isinstance(one, (dict, tuple)))


def _containers(root: Any) -> dict[int, Any]:
    found, waiting = {}, [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, _CONTAINERS) and id(one) not in found:
            found[id(one)] = one
            waiting += [other for other in gc.get_referents(one) if not isinstance(other, (Agent, type))]
    return found
