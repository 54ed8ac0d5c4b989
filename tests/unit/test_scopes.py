"""Scopes: whose code runs, and that to ask for it is safe at any time."""

import subprocess
import sys

COLLECTING = """
import gc, time
from intentusnet import IntentusRuntime

runtime = IntentusRuntime(capture=True)
runtime.agent("agent", handles="x")(lambda payload: payload)
runtime.route("x", [1])
gc.callbacks.append(lambda phase, info: time.perf_counter())
gc.set_threshold(1, 1, 1)
for _ in range(300):
    assert runtime.route("x", [1]).ok
print("done")
"""


def test_whose_code_runs_may_be_asked_during_a_garbage_collection() -> None:
    """What a collection calls may ask for the captured time between agents: the interpreter survives it."""
    done = subprocess.run([sys.executable, "-c", COLLECTING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[:2000]


WITHIN = """
import gc, time
from intentusnet import Context, IntentusRuntime, MemoryExecutionStore

runtime = IntentusRuntime(capture=True, store=MemoryExecutionStore())
told = []

@runtime.agent("agent", handles="x", side_effect="read_only")
def agent(ctx: Context) -> list[float]:
    def branch(ctx: Context) -> float:
        return ctx.effect("halve", lambda: 0.5) + time.time() * 0
    return ctx.gather(branch, branch)

class Finalized:
    def __init__(self):
        self.itself = self
    def __del__(self):
        told.append(time.time())

def called(phase, info):
    told.append(time.perf_counter())
    told.append(time.time())
    Finalized()

first = runtime.route("x")
gc.callbacks.append(called)
gc.set_threshold(1, 1, 1)
for _ in range(60):
    response = runtime.route("x")
    assert response.ok and response.fingerprint is not None
    assert len(runtime.store.get(response.execution_id).questions) == 5
gc.set_threshold(700, 10, 10)
assert len(told) > 1000
for row in runtime.store.list().rows:
    assert runtime.replay(row.execution_id).verdict == "match"
print("done")
"""


def test_what_a_collection_calls_is_not_the_agents() -> None:
    """In the midst of an agent's code, too: nothing of it is recorded, and the interpreter survives it."""
    # Where it is not so, the collector's question waits for a lock that the agent's own question holds.
    done = subprocess.run(
        [sys.executable, "-c", WITHIN], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[:2000]
