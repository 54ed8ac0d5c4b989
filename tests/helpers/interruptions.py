"""Runs that are killed at a given point, in processes of their own, and what came of them.

As a program it is told jobs, one JSON object a line on stdin, and answers each with one. Every job runs in a
process that is forked for it, so that a killed one is killed as a whole, and a resumption starts afresh.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from intentusnet import AsyncContext, Context, FileExecutionStore, IntentusRuntime, ManualClock, effect
from intentusnet.errors import InDoubt
from intentusnet.ids import SystemIds
from intentusnet.log.files import Files
from intentusnet.replay.recovering import waited_for
from intentusnet.replay.replaying import replay_here

EFFECTS: dict[str, dict[str, Any]] = {
    "read_only": {"side_effect": "read_only"},
    "idempotent": {"side_effect": "irreversible", "idempotent": True},
    "reversible": {"side_effect": "reversible"},
    "irreversible": {"side_effect": "irreversible"},
}
#: What the agent of `app` does, each once.
ACTS = ["first", "second", "inner", "left", "right", "last"]


class SameIds(SystemIds):
    """Ids that an agent is told are the same in every run; those of executions are not."""

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(int=7)

    def seed(self) -> int:
        return 7


class Killer:
    """Kills this process at the n-th point that it comes to."""

    def __init__(self, at: int | None) -> None:
        self._at = at
        self._lock = threading.Lock()
        self._passed = 0

    def point(self) -> None:
        with self._lock:
            if self._passed == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
            self._passed += 1


class KillingFiles(Files):
    """Before each call that changes a file or takes it to disk, there is a point."""

    def __init__(self, killer: Killer) -> None:
        self._killer = killer

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._killer.point()
        return super().write(fd, data)

    def fdatasync(self, fd: int) -> None:
        self._killer.point()
        super().fdatasync(fd)


def acting(place: Path, killer: Killer, traits: dict[str, Any]) -> Callable[[str], str]:
    """An effect that leaves a line in a file, with a point before that and one after it."""

    def act(name: str) -> str:
        killer.point()
        with open(place / "acts", "ab", buffering=0) as file:
            file.write(f"{name}\n".encode())
        killer.point()
        return name.upper()

    return effect(**traits)(act)


def acting_later(act: Callable[[str], str], traits: dict[str, Any]) -> Callable[[str], Awaitable[str]]:
    """The same effect, awaited; others have a turn before and after it."""

    async def act_later(name: str) -> str:
        await asyncio.sleep(0)
        told = act(name)
        await asyncio.sleep(0)
        return told

    return effect(**traits)(act_later)


def acts(place: Path) -> list[str]:
    path = place / "acts"
    return path.read_text().split() if path.exists() else []


def app(place: Path, kind: str, at: int | None = None, awaiting: str = "none") -> IntentusRuntime:
    """An agent that asks for a bit of everything, whose effects are of that kind.

    Which agents are asynchronous is said by `awaiting`: "none", "all", "outer" or "inner" ones.
    """
    killer = Killer(at)
    store = FileExecutionStore(place / "store", files=KillingFiles(killer))
    runtime = IntentusRuntime(store=store, clock=ManualClock(), ids=SameIds())
    act = acting(place, killer, EFFECTS[kind])

    later = acting_later(act, EFFECTS[kind])

    def inner(ctx: Context) -> str:
        return ctx.effect("act", act, "inner")

    async def inner_awaiting(ctx: AsyncContext) -> str:
        return await ctx.effect("act", later, "inner")

    def outer(ctx: Context) -> list[Any]:
        told: list[Any] = [str(ctx.now()), ctx.effect("act", act, "first"), str(ctx.uuid())]
        ctx.log("half-way")
        told += [ctx.effect("act", act, "second"), ctx.random.random(), ctx.route("inner").payload]
        told += ctx.gather(
            lambda: ctx.effect("act", act, "left"),
            lambda: ctx.effect("act", act, "right"),
        )
        return [*told, ctx.effect("act", act, "last")]

    async def outer_awaiting(ctx: AsyncContext) -> list[Any]:
        told: list[Any] = [str(ctx.now()), await ctx.effect("act", later, "first"), str(ctx.uuid())]
        ctx.log("half-way")
        told += [await ctx.effect("act", later, "second"), ctx.random.random()]
        told += [(await ctx.route("inner")).payload]
        told += await ctx.gather(ctx.effect("act", later, "left"), ctx.effect("act", later, "right"))
        return [*told, await ctx.effect("act", later, "last")]

    for name, plain, awaited in (("inner", inner, inner_awaiting), ("outer", outer, outer_awaiting)):
        handler: Callable[..., Any] = awaited if awaiting in ("all", name) else plain
        runtime.agent(name, handles=name, side_effect="read_only")(handler)

    @runtime.agent("many", handles="many", side_effect="read_only")
    def many(ctx: Context) -> list[str]:
        return [ctx.effect("act", act, f"act{number}") for number in range(20)]

    return runtime


def _route(job: dict[str, Any]) -> Any:
    with app(Path(job["place"]), job["kind"], job["at"], job["awaiting"]) as runtime:
        route = waited_for(runtime, runtime.route, runtime.route_async)
        response = route(job["intent"], idempotency_key=job.get("key"))
        return response.model_dump(mode="json") if job.get("full") else response.fingerprint


def _resume(job: dict[str, Any]) -> Any:
    """Resumes what there is, as a person does who knows what happened, and says what came of it."""
    place = Path(job["place"])
    told: dict[str, Any] = {"interrupted": 0, "doubts": [], "fingerprint": None, "before": acts(place)}
    with app(place, job["kind"], awaiting=job["awaiting"]) as runtime:
        resume = waited_for(runtime, runtime.resume, runtime.resume_async)
        assert runtime.store is not None
        found = runtime.recover()
        told["interrupted"] = len(found)
        told["rules"] = [execution.rule for execution in found]
        for execution in found:
            told["doubts"] += _resolve(runtime, execution.execution_id, place)
            resume(execution.execution_id)
        assert runtime.recover() == ()
        rows = runtime.store.list().rows
        told["verdicts"] = [replay_here(runtime, row.execution_id).verdict for row in rows]
        roots = [row.execution_id for row in rows if row.intent == job["intent"]]
        told["fingerprint"] = runtime.store.get(roots[0]).fingerprint if roots else None
        told["verified"] = not rows or runtime.store.verify().ok
    return told


def _resolve(runtime: IntentusRuntime, execution_id: str, place: Path) -> list[str]:
    """Answers what is in doubt with the truth; before that, a resumption must refuse."""
    told = []
    while True:
        found = next((one for one in runtime.recover() if one.execution_id == execution_id), None)
        if found is None:
            return told  # it has gone on with the execution that had asked for it
        doubts = [one for one in found.pending if one.rule == "in_doubt" and one.kind == "effect"]
        if not doubts:
            return told
        before = acts(place)
        try:
            waited_for(runtime, runtime.resume, runtime.resume_async)(execution_id)
        except InDoubt:
            assert acts(place) == before
        else:
            raise AssertionError("what is in doubt was resumed")
        assert runtime.store is not None
        doubt = doubts[0]
        questions = runtime.store.get(doubt.execution_id).questions
        asked = next(q for q in questions if (q.scope, q.ordinal) == (doubt.scope, doubt.question))
        name = json.loads(asked.arguments)["args"][0]
        happened = name in before
        runtime.resolve(
            doubt.execution_id,
            happened,
            by="ada",
            question=f"{doubt.scope}:{doubt.question}",
            answer=name.upper() if happened else None,
        )
        told.append(name)


_JOBS = {"route": _route, "resume": _resume}


class Processes:
    """Runs jobs, each in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, job: str, **told: Any) -> Any:
        """What a job said; None if it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"job": job, "awaiting": "none", **told}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["status"] in (0, -signal.SIGKILL), answer
        return answer["told"]

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Self]:
        with subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            yield cls(process)
            assert process.stdin is not None
            process.stdin.close()


def _serve() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            told = _JOBS[job["job"]](job)
            with open(write, "w") as file:
                json.dump(told, file)
            os._exit(0)
        os.close(write)
        with open(read) as file:
            said = file.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "told": json.loads(said) if said else None}), flush=True)


if __name__ == "__main__":
    _serve()
