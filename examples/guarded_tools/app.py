"""The app: the tools behind the policy.

``runtime`` is what ``--app examples.guarded_tools.app:runtime`` takes, from the root of the repository.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from examples.guarded_tools.tools import World, register
from intentusnet import ExecutionStore, IntentusRuntime

POLICY: Final = Path(__file__).with_name("policy.toml")


def make_runtime(
    *, store: ExecutionStore | str | os.PathLike[str] | None = None, world: World | None = None
) -> IntentusRuntime:
    """A runtime with the tools as agents.

    Args:
        store: where it records.
        world: what the tools reach; a new one unless given.
    """
    made = IntentusRuntime(store=store, policy=POLICY)
    register(made, world or World())
    return made


runtime = make_runtime()
