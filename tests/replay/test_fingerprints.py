"""The same run has the same fingerprint, whatever the hash seed, time zone, locale and order of threads."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from intentusnet import Context, IntentusRuntime, MemoryExecutionStore

SCRIPT = """
import datetime, decimal, sys, uuid
from intentusnet import *

class Failed(Exception):
    pass

def world(*args, **kwargs):
    return {"set": {"a", "b", "c", 1, 2.5}, "at": datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.UTC),
            "naive": datetime.datetime(2026, 7, 1, 12), "money": decimal.Decimal("1.50"),
            "keys": {1: 2, (3,): 4}}

def fails(*args):
    raise Failed("ä", ("x", "y"))

class Ids(SeededIds):
    def uuid(self):
        return uuid.UUID(int=1)

runtime = IntentusRuntime(store=MemoryExecutionStore(), clock=ManualClock(), ids=SeededIds(5), environ={})

def agent(payload, ctx):
    told = [ctx.effect("world", world, {"p", "q", "r"}, key=frozenset("abc")), ctx.now(), ctx.uuid()]
    told.append(ctx.random.random())
    try:
        ctx.effect("fails", fails, "ä")
    except Failed as fault:
        told.append([str(fault), fault.args[1]])
    return told + ctx.gather(lambda: ctx.effect("one", int, 1), lambda: ctx.effect("two", int, 2))

for name in "cab":
    runtime.agent(name, handles="x", rank={"a": 1}.get(name, 0))(agent)
rule = {"id": "no", "effect": "deny", "agent": "c", "payload": {"n": {"gt": 0.5}}}
runtime = runtime.configure(policy={"default": "allow", "rules": [rule]})
for strategy in ("direct", "fallback"):
    response = runtime.route("x", {"n": 1, "tags": {"é", "b"}}, strategy=strategy, tags=["ü"], caller="ann")
    print(response.fingerprint, runtime.replay(response.execution_id).verdict)
"""


def told_under(tmp_path: Path, **environment: str) -> str:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**{k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))}, **environment},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hash_seed_time_zone_and_locale_make_no_difference(tmp_path: Path) -> None:
    """One execution in processes that differ in all three has one fingerprint, and replays to match."""
    told = {
        told_under(tmp_path, PYTHONHASHSEED=seed, TZ=zone, LC_ALL=locale)
        for seed, zone, locale in [
            ("0", "UTC", "C"), ("1", "Asia/Kolkata", "C.UTF-8"), ("random", "America/St_Johns", "POSIX"),
            ("12345", "Pacific/Apia", "en_US.UTF-8"),
        ]
    }  # fmt: skip
    (one,) = told
    assert one.split()[1::2] == ["match", "match"]


@pytest.mark.parametrize("strategy", ["parallel", "broadcast"])
def test_the_order_of_threads_makes_no_difference(strategy: str) -> None:
    """Two hundred fan-outs, whose branches take turns as they like, have one fingerprint and one winner."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())

    def pause() -> None:
        # The order of the threads is the subject here; nothing is said about time.
        time.sleep(random.random() / 2000)

    def agent_of(name: str) -> Any:
        def agent(ctx: Context) -> Any:
            def branch(number: int) -> Any:
                pause()
                return [ctx.effect("f", lambda n: n * 2, number), ctx.effect("same", lambda: number)]

            pause()
            told = ctx.gather(*(lambda n=n: branch(n) for n in range(3)))
            pause()
            if name == "a":
                raise ValueError("no")
            return [name, ctx.effect("g", len, name), told]

        return agent

    for name in "cab":
        runtime.agent(name, handles="x")(agent_of(name))
    responses = [runtime.route("x", strategy=strategy) for _ in range(200)]
    assert len({response.fingerprint for response in responses}) == 1
    assert {response.agent for response in responses} == {"b" if strategy == "parallel" else None}
    assert all(runtime.replay(r.execution_id).verdict == "match" for r in responses[::20])
