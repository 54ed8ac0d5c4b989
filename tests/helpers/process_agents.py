"""Agents that other processes can import, and what they tell of the process that they run in."""

import contextlib
import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from intentusnet import AgentFailure, Context, ErrorCode, effect


class Order(BaseModel):
    item: str
    count: int = 1


class Total(BaseModel):
    items: list[str]


@effect(side_effect="read_only")
def process_id() -> int:
    return os.getpid()


@effect(side_effect="read_only")
def read(text: str) -> str:
    return text


@effect
def write(path: str, text: str) -> int:
    with Path(path).open("a") as file:
        return file.write(text)


def pid(ctx: Context) -> int:
    """Where it runs; on record, so that a replay tells the same."""
    return ctx.effect("pid", process_id)


def echo(payload: Any) -> Any:
    return payload


def order(payload: Order) -> Total:
    return Total(items=[payload.item] * payload.count)


class Handling:
    def __init__(self) -> None:
        self.prefix = "handled"

    def handle(self, payload: str) -> str:
        return f"{self.prefix} {payload}"


class Static:
    @staticmethod
    def static(payload: str) -> str:
        return f"static {payload}"

    @classmethod
    def of_class(cls, payload: str) -> str:
        return f"{cls.__name__} {payload}"


def wrongly_typed() -> int:
    return "text"  # type: ignore[return-value]  # that is the point


def unrecordable() -> object:
    return object()


def fails(payload: str) -> None:
    raise AgentFailure(payload, code=ErrorCode.RATE_LIMIT, details={"retry_after": 3})


def raises() -> None:
    raise LookupError("nothing there")


def exits() -> None:
    sys.exit(3)


def interrupts() -> None:
    raise KeyboardInterrupt


def asks_everything(payload: int, ctx: Context) -> dict[str, Any]:
    """A question of every kind, from branches and threads, too."""

    def nested() -> str:
        return f"{ctx.now()} {ctx.effect('inner', read, 'covered')}"

    def failing() -> None:
        raise OSError(2, "gone", "file.txt")

    told: dict[str, Any] = {
        "id": bool(ctx.execution_id),
        "key": ctx.idempotency_key.partition("/")[2],
        "intent": str(ctx.envelope.intent.name),
        "payload": ctx.envelope.payload,
        "deadline": ctx.deadline is None,
        "now": ctx.now(),
        "monotonic": ctx.monotonic(),
        "random": ctx.random.random(),
        "stream": ctx.random_stream("dice").randint(1, 6),
        "uuid": ctx.uuid(),
        "env": ctx.env("PROCESS_AGENTS", "unset"),
        "patched": ctx.patched("a-change"),
        "effect": ctx.effect("read", read, "text"),
        "nested": ctx.effect("nested", nested).partition(" ")[2].partition(" ")[2],
        "gathered": ctx.gather(lambda: ctx.effect("a", read, "a"), lambda: round(ctx.random.random(), 9)),
        "mapped": ctx.map(lambda n: ctx.effect("n", read, str(n)), range(payload), limit=3),
    }
    thread = threading.Thread(target=ctx.effect, args=("threaded", read, "of a thread"))
    thread.start()
    thread.join()
    ctx.log("here", at=payload)
    ctx.usage(tokens=payload)
    ctx.check()
    ctx.sleep(0.001)
    with contextlib.suppress(FileNotFoundError):
        ctx.effect("failing", failing)
        told["failing"] = "not raised"
    response = ctx.route("child", {"from": payload}, tags=("t",))
    told["child"] = [response.payload, response.ok]
    return told


def child(payload: dict[str, int], ctx: Context) -> list[Any]:
    return [payload, ctx.env("PROCESS_AGENTS"), ctx.random.random()]


def routes(payload: list[str], ctx: Context) -> Any:
    """Asks the first intent, which is handed the rest."""
    first, *rest = payload
    response = ctx.route(first, rest)
    return response.payload if response.ok else str(response.error)


def routes_at_once(payload: list[str], ctx: Context) -> list[Any]:
    return ctx.gather(*[lambda i=intent: ctx.route(i).payload for intent in payload])


# --- what goes wrong ---


def begun(payload: str, *others: int) -> None:
    """Tells whoever reads the FIFO that the agent runs, and in which processes."""
    with Path(payload).open("w") as fifo:
        print(os.getpid(), *others, file=fifo)


def sleeps(payload: str) -> None:
    begun(payload)
    time.sleep(3600)


def loops(payload: str) -> None:
    """In native code that holds the interpreter's lock: no other thread of the process runs."""
    begun(payload)
    ctypes.PyDLL(None).pause()


def sleeps_in_effect(payload: str, ctx: Context) -> None:
    ctx.effect("open", effect(side_effect="reversible")(sleeps), payload)


def sleeps_in_reading(payload: str, ctx: Context) -> None:
    ctx.effect("open", effect(side_effect="read_only")(sleeps), payload)


def asks_forever(payload: str, ctx: Context) -> None:
    begun(payload)
    while True:
        ctx.now()


def catches_everything(payload: str, ctx: Context) -> str:
    while True:
        try:
            ctx.effect("write", write, payload, "x")
        except BaseException:  # noqa: BLE001 - an agent that catches what it can
            return "caught"


def aborts() -> None:
    os.abort()


def exits_at_once() -> None:
    os._exit(7)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def aborts_after_effect(payload: str, ctx: Context) -> None:
    ctx.effect("write", write, payload, "done")
    os.abort()


def aborts_in_effect(ctx: Context) -> None:
    ctx.effect("abort", os.abort)


def fills_memory() -> int:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), hard))
    try:
        return len(bytearray(1 << 30))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def out_of_memory(ctx: Context) -> int:
    return ctx.effect("fill", fills_memory)


def prints(payload: str) -> None:
    print(payload)
    print(payload.upper(), file=sys.stderr)


def prints_and_sleeps(payload: str) -> None:
    print("before the kill")
    sleeps(payload)


def starts_a_process(payload: str) -> None:
    """Gives its process a child."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    begun(payload, process.pid)
    time.sleep(3600)


def forks_and_dies(payload: str) -> None:
    """Its child has all that it had, the connection to the parent included, and is out of its group."""
    child = os.fork()
    if child == 0:
        os.setsid()
        time.sleep(3600)
        os.kill(os.getpid(), signal.SIGKILL)
    begun(payload, child)
    os.abort()


def meets(payload: list[str]) -> str:
    """Says that it is there, and waits for the others."""
    begun(payload[0])
    return Path(payload[1]).read_text()


def leaves_a_thread(payload: str, ctx: Context) -> int:
    """Its thread asks when the call is long over."""
    before = ctx.effect("pid", process_id)

    def late() -> None:
        try:
            Path(payload).read_text()  # until the test opens it
            while True:
                ctx.now()
        except BaseException as fault:
            begun(f"{payload}-told")
            _left.append(type(fault).__name__)
            raise

    threading.Thread(target=late, daemon=True).start()
    return before


_left: list[str] = []


def left(ctx: Context) -> list[str]:
    """What unwound the threads that were left behind in this process."""
    return ctx.effect("left", effect(side_effect="read_only")(lambda: list(_left)))


def draws() -> list[Any]:
    """Chance, without its context."""
    return [random.random(), os.urandom(4), uuid.uuid4()]


def deadline(ctx: Context) -> Any:
    return ctx.deadline


def waits_for_child(payload: str, ctx: Context) -> None:
    ctx.gather(
        lambda: ctx.route("hang", payload), lambda: ctx.effect("seen", aborts_when, payload + "-abort")
    )


@effect(side_effect="read_only")
def aborts_when(path: str) -> None:
    Path(path).read_text()
    os.abort()


def breaks_off(payload: str, ctx: Context) -> list[Any]:
    """Is interrupted between its effects, the first time."""
    told = [ctx.effect("first", read, "first"), ctx.random.random()]
    if not Path(payload).exists():
        Path(payload).touch()
        raise KeyboardInterrupt
    return [*told, *ctx.gather(lambda: ctx.effect("second", read, "second"))]


def acts_and_draws(payload: str, ctx: Context) -> None:
    """Two branches: an effect that waits at one door, and a question that waits at another."""

    @effect
    def act() -> str:
        return Path(f"{payload}-act").read_text()

    def draw() -> float:
        Path(f"{payload}-draw").read_text()
        return ctx.random.random()

    ctx.gather(lambda: ctx.effect("act", act), draw)


def takes_turns(payload: str, ctx: Context) -> None:
    """Threads, one after the other, whose questions come in another order the second time."""
    again = Path(payload).exists()
    for name in ("second", "first") if again else ("first",):
        thread = threading.Thread(target=ctx.env, args=(name,))
        thread.start()
        thread.join()
    ctx.effect("both", read, "asked")
    if not again:
        Path(payload).touch()
        raise KeyboardInterrupt


def doubles(payload: int) -> int:
    return payload * 2


def asks_itself(payload: int, ctx: Context) -> Any:
    """As often as the payload says."""
    return payload if payload == 0 else ctx.route("asks", payload - 1).payload
