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
