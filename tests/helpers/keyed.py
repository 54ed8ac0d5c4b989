"""As a program: one process that routes with an idempotency key to an agent that leaves a trace of each call.

It is told what to do by arguments. `hold` says on a FIFO that its agent runs, and never ends by itself.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from intentusnet import Context, FileExecutionStore, IntentusRuntime, effect

#: Threads of each process that route at once.
THREADS = 4


def shop(place: Path, held: str = "") -> IntentusRuntime:
    """An agent that acts: it writes a line into the file ``calls`` whenever it is called."""
    runtime = IntentusRuntime(store=FileExecutionStore(place / "store"))

    @effect(side_effect="irreversible")
    def act() -> str:
        with open(place / "calls", "ab", buffering=0) as file:
            file.write(b"called\n")
        if held:
            with open(held, "w") as fifo:
                fifo.write("called\n")
            signal.pause()
        return "called"

    @runtime.agent("pay", handles="pay", side_effect="read_only")
    def pay(payload: Any, ctx: Context) -> Any:
        ctx.effect("act", act)
        return {"paid": payload}

    return runtime


def calls(place: Path) -> int:
    """How often the agent was called, by whomever."""
    path = place / "calls"
    return len(path.read_text().split()) if path.exists() else 0


def start(place: Path, *args: str) -> subprocess.Popen[str]:
    """Starts a process; see `main`."""
    return subprocess.Popen(
        [sys.executable, __file__, str(place), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def told(process: subprocess.Popen[str]) -> list[Any]:
    """What the threads of a process were answered, when it has ended."""
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


def main(place: str, held: str = "") -> None:
    """Routes; without `held` by several threads at once, when stdin says so."""
    with shop(Path(place), held) as runtime:
        if held:
            runtime.route("pay", 5, idempotency_key="k")
            return
        at_once = threading.Barrier(THREADS)
        lock = threading.Lock()

        def request() -> None:
            at_once.wait()
            response = runtime.route("pay", 5, idempotency_key="k")
            with lock:
                print(response.model_dump_json(), flush=True)

        sys.stdin.readline()
        threads = [threading.Thread(target=request) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
