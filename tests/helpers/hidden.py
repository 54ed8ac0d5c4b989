"""Agents that each read one thing behind the record, and the same agents with that put right.

The doctor is to find each hidden source at its line, and nothing once it is fixed.
"""

from dataclasses import dataclass

HEAD = """
import functools, os, random, secrets, socket, subprocess, sys, time, uuid
from datetime import UTC, date, datetime
from pathlib import Path
from random import choice
from time import time_ns
from uuid import uuid4

from intentusnet import Context, IntentusRuntime, effect

runtime = IntentusRuntime(store="records"{capture})
COUNT = 0


def count():
    global COUNT
    COUNT += 1
    return COUNT


@effect(side_effect="read_only")
def version():
    return subprocess.run([sys.executable, "-V"], capture_output=True, text=True).stdout


def connect(port):
    socket.create_connection(("127.0.0.1", port), timeout=9).close()


def append(text):
    with open("appended.txt", "a") as file:
        file.write(text)
"""

AGENT = """

@runtime.agent("{name}", handles="{name}.do")
def do_{name}(payload, ctx: Context):
    port = payload
{body}  # <{name}>
"""

FOOT = """

if __name__ == "__main__":
    Path("grows.txt").write_text(str(time.time()))
    with socket.create_server(("127.0.0.1", 0)) as server:
        for agent in sorted(runtime.registry.agents(), key=lambda agent: agent.name):
            runtime.route(f"{agent.name}.do", server.getsockname()[1])
    Path(f"new-{time.time_ns()}.listed").touch()
    Path("grows.txt").write_text(str(time.time()))
"""


@dataclass(frozen=True)
class Hidden:
    """One source.

    Attributes:
        cause: what the doctor calls it.
        hidden, fixed: the last line of the agent's body.
        captured: by what it is captured; "" if it is not.
    """

    cause: str
    hidden: str
    fixed: str
    captured: str = ""


SOURCES = {
    "time": Hidden("time", "return time.time()", "return ctx.now().timestamp()", "clock"),
    "early": Hidden("time", "return time_ns()", "return ctx.now()", "clock"),
    # Captured, it would still depend on the time zone.
    "datetime": Hidden("time", "return str(datetime.now())", "return str(ctx.now())"),
    "utc": Hidden("time", "return datetime.now(UTC)", "return ctx.now()", "clock"),
    "timer": Hidden("timer", "return time.perf_counter()", "return ctx.monotonic()", "clock"),
    "uuid": Hidden("uuid", "return str(uuid.uuid4())", "return str(ctx.uuid())", "chance"),
    "bound": Hidden("uuid", "return str(uuid4())", "return str(ctx.uuid())", "chance"),
    "uuid1": Hidden("uuid", "return str(uuid.uuid1())", "return str(ctx.uuid())", "chance"),
    "random": Hidden("chance", "return random.random()", "return ctx.random.random()", "chance"),
    "choice": Hidden("chance", "return choice(range(999))", "return ctx.random.choice(range(999))", "chance"),
    "own": Hidden("chance", "return random.Random().random()", "return ctx.random.random()", "chance"),
    "secret": Hidden(
        "chance", "return secrets.token_hex(8)", "return ctx.effect('s', secrets.token_hex, 8)", "chance"
    ),
    "bytes": Hidden("chance", "return os.urandom(8)", "return ctx.effect('b', os.urandom, 8)", "chance"),
    "variable": Hidden("environment", "return os.environ['TMPDIR']", "return ctx.env('TMPDIR')"),
    "getenv": Hidden("environment", "return os.getenv('TMPDIR')", "return ctx.env('TMPDIR')"),
    "file": Hidden(
        "file", "return Path('grows.txt').read_text()", "return ctx.effect('r', Path('grows.txt').read_text)"
    ),
    "listing": Hidden(
        "directory",
        "return sorted(p.name for p in Path('.').iterdir() if '.l' in p.name)",
        "return ctx.effect('l', lambda: sorted(p.name for p in Path('.').iterdir() if '.l' in p.name))",
    ),
    "network": Hidden("network", "return connect(port)", "return ctx.effect('connect', connect, port)"),
    "program": Hidden("process", "return version()", "return ctx.effect('version', version)", "process"),
    "write": Hidden("write", "return append('x')", "return ctx.effect('append', append, 'x')"),
    "set": Hidden(
        "order",
        "return list({f'tag-{n}' for n in range(9)})",
        "return sorted({f'tag-{n}' for n in range(9)})",
    ),
    "asked": Hidden(
        "order",
        "return ctx.effect('size', len, list({f'tag-{n}' for n in range(9)}))",
        "return ctx.effect('size', len, sorted({f'tag-{n}' for n in range(9)}))",
    ),
    "zone": Hidden(
        "zone",
        "return str(datetime.fromtimestamp(1_000_000_000))",
        "return str(datetime.fromtimestamp(1_000_000_000, UTC))",
    ),
    "state": Hidden("state", "return count()", "return ctx.effect('count', count)"),
}  # fmt: skip


def program(bodies: dict[str, str], capture: str = "") -> str:
    """A program with an agent for each body, which routes once to each.

    Args:
        bodies: the last line of each agent's body, by name.
        capture: the names that its runtime captures, as in source code; "" for none.
    """
    agents = "".join(AGENT.format(name=name, body=f"    {body}") for name, body in bodies.items())
    return HEAD.format(capture=f", capture=({capture},)" if capture else "") + agents + FOOT


def line_of(source: str, name: str) -> int:
    """The line of an agent's body in a program."""
    return next(n for n, line in enumerate(source.splitlines(), 1) if line.endswith(f"# <{name}>"))


def definition_of(source: str, name: str) -> int:
    """The line on which an agent's function is defined."""
    return next(n for n, line in enumerate(source.splitlines(), 1) if line.startswith(f"def do_{name}("))
