"""What raises no audit event of its own, or reaches the world by a way round, is stopped in a replay too."""

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from intentusnet import IntentusRuntime, MemoryExecutionStore, ReplayReport, Verdict
from intentusnet.replay.isolation import is_without_network
from intentusnet.replay.workers import WorkerProcesses


def replay(agent: Callable[[], Any]) -> ReplayReport:
    """Records an agent that is told that it is recorded, and replays it, when it is told that it is not."""
    live = [True]

    def told() -> Any:
        return None if live.pop() else agent()

    live.insert(0, False)
    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("agent", handles="x")(told)
    response = runtime.route("x")
    assert response.ok, response.error
    return runtime.replay(response.execution_id)


def touched(report: ReplayReport) -> str:
    """What was tried first."""
    assert report.verdict is Verdict.DIVERGED
    assert (report.divergences[0].kind, report.divergences[0].scope) == ("unexpected", "attempt:0")
    return report.divergences[0].question


# --- connections that were open before ---


class Peer:
    """The other end of connections: a real server, which keeps what it is sent."""

    def __init__(self, encrypted: bool) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.client = socket.create_connection(self.listening.getsockname())
        self.server, _ = self.listening.accept()
        if encrypted:
            authority = trustme.CA()
            of_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("localhost").configure_cert(of_server)
            of_client = ssl.create_default_context()
            authority.configure_trust(of_client)
            with ThreadPoolExecutor(1) as other:
                wrapped = other.submit(of_server.wrap_socket, self.server, True)
                self.client = of_client.wrap_socket(self.client, server_hostname="localhost")
                self.server = wrapped.result()

    def has_been_sent(self) -> bytes:
        """All that came, up to what a live client sends last."""
        self.client.sendall(b"!")
        got = b""
        while not got.endswith(b"!"):
            got += self.server.recv(100)
        return got

    def close(self) -> None:
        for one in (self.client, self.server, self.listening):
            one.close()


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    with contextlib.closing(Peer(request.param)) as made:
        yield made


def send(client: socket.socket) -> Any:
    return client.send(b"x")


def send_all(client: socket.socket) -> Any:
    return client.sendall(b"x")


def receive(client: socket.socket) -> Any:
    return client.recv(1)


def receive_into(client: socket.socket) -> Any:
    return client.recv_into(bytearray(1))


def read_file(client: socket.socket) -> Any:
    with client.makefile("rb") as file:
        return file.read(1)


def write_file(client: socket.socket) -> Any:
    with client.makefile("wb") as file, contextlib.suppress(ValueError):
        file.write(b"x")
        file.flush()


@pytest.mark.parametrize("use", [send, send_all, receive, receive_into, read_file, write_file])
def test_a_connection_that_was_open_before_is_not_used(
    use: Callable[[socket.socket], Any], peer: Peer
) -> None:
    """A pooled connection raises no event when it is used again, and is stopped all the same."""
    assert replay(lambda: None).verdict is Verdict.MATCH  # the guards are up before the connection is used
    peer.server.sendall(b"y")
    question = touched(replay(lambda: use(peer.client)))
    assert question == ("socket.recv" if use in (receive, receive_into, read_file) else "socket.send")
    assert peer.has_been_sent() == b"!"
    assert peer.client.recv(1) == b"y"


def test_an_event_loop_may_wake_itself() -> None:
    """The pair of sockets that asyncio makes for itself is no connection to anyone."""

    async def main() -> str:
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(lambda: loop.call_soon_threadsafe(woken.set))
        await woken.wait()
        return "woken"

    runtime = IntentusRuntime(store=MemoryExecutionStore())
    runtime.agent("agent", handles="x")(lambda: asyncio.run(main()))
    response = runtime.route("x")
    assert response.payload == "woken"
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH


# --- tasks and threads ---


def in_task(touch: Callable[[], None]) -> None:
    async def task() -> None:
        touch()

    async def main() -> None:
        await asyncio.create_task(task())

    asyncio.run(main())


def in_executor(touch: Callable[[], None]) -> None:
    async def main() -> None:
        await asyncio.to_thread(touch)

    asyncio.run(main())


def in_thread(touch: Callable[[], None]) -> None:
    thread = threading.Thread(target=quietly, args=(touch,))
    thread.start()
    thread.join()


def in_pool(touch: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(touch).result()


def in_timer(touch: Callable[[], None]) -> None:
    timer = threading.Timer(0, quietly, (touch,))
    timer.start()
    timer.join()


def quietly(touch: Callable[[], None]) -> None:
    """A thread of its own has nobody to raise to."""
    with contextlib.suppress(BaseException):
        touch()


@pytest.mark.parametrize("how", [in_task, in_executor, in_thread, in_pool, in_timer])
def test_what_an_agent_starts_is_watched(how: Callable[..., Any], tmp_path: Path) -> None:
    """Tasks and threads that an agent starts carry its context with them, and are stopped like itself."""

    def touch() -> None:
        (tmp_path / "new").write_text("x")

    assert touched(replay(lambda: how(touch))) == "open"
    assert list(tmp_path.iterdir()) == []


# --- processes ---


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_no_process_is_started_by_multiprocessing(method: str, tmp_path: Path) -> None:
    """Spawning raises no event before Python 3.14; the process is not started, however it would be."""

    def agent() -> None:
        multiprocessing.get_context(method).Process(target=os.mkdir, args=(tmp_path / "new",)).start()

    # A fork server first makes a directory for its socket; one that runs already is asked through that.
    assert touched(replay(agent)) in ("os.fork", "_posixsubprocess.fork_exec", "os.mkdir", "socket.connect")
    assert multiprocessing.active_children() == [] and list(tmp_path.iterdir()) == []


# --- native code ---


@pytest.mark.parametrize(("name", "args"), [("_exit", (0,)), ("abort", ())])
def test_the_process_is_not_ended(name: str, args: tuple[int, ...]) -> None:
    """An agent that would take the replay's report along, and an exit code of 0 for it, is stopped."""
    assert touched(replay(lambda: getattr(os, name)(*args))) == f"os.{name}"


def test_native_functions_that_act_are_not_found(tmp_path: Path) -> None:
    """Which function ctypes looks up is told: one that acts by its name is stopped, others are not."""
    (tmp_path / "kept").touch()

    def agent() -> None:
        ctypes.CDLL(None).getpid()
        ctypes.CDLL(None).unlink(os.fsencode(tmp_path / "kept"))

    report = replay(agent)
    assert touched(report) == "ctypes.dlsym" and report.divergences[0].actual[1] == "unlink"
    assert (tmp_path / "kept").exists()


# --- what is harmless ---


def test_a_database_may_be_read(tmp_path: Path) -> None:
    """Opened read-only, or kept in memory, a database is no more touched than a file that is read."""
    with contextlib.closing(sqlite3.connect(tmp_path / "db")) as made:
        made.execute("create table t (x)")

    def agent() -> None:
        for name in (f"file:{tmp_path}/db?mode=ro", "file::memory:?cache=shared", "file:x?mode=memory"):
            sqlite3.connect(name, uri=True).close()

    assert replay(agent).verdict is Verdict.MATCH
    opens_for_writing = replay(lambda: sqlite3.connect(f"file:{tmp_path}/db?mode=rw", uri=True).close())
    assert touched(opens_for_writing) == "sqlite3.connect"


def test_modules_may_set_variables_when_they_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is how some tell their native parts what to do; the agent's own code may not."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("INTENTUSNET_TEST", "before")
    (tmp_path / "sets_variable.py").write_text("import os\nos.environ['INTENTUSNET_TEST'] = 'loaded'\n")

    def agent() -> None:
        import sets_variable  # noqa: F401 - loading it is all  # type: ignore[import-not-found]

    assert replay(agent).verdict is Verdict.MATCH
    assert os.environ["INTENTUSNET_TEST"] == "loaded"
    assert touched(replay(lambda: os.environ.pop("INTENTUSNET_TEST"))) == "os.unsetenv"


def test_a_temporary_file_may_be_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spooled file is stopped when it grows out of memory, and not before."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def spool(size: int) -> None:
        with tempfile.SpooledTemporaryFile(max_size=10) as file:
            file.write(b"x" * size)

    assert replay(lambda: spool(10)).verdict is Verdict.MATCH
    assert touched(replay(lambda: spool(11))) == "open"
    assert list(tmp_path.iterdir()) == []


# --- a process without a network ---

CONNECTS = """
import ctypes, encodings.idna, os, socket, sys, threading
from intentusnet.replay.isolation import guards, without_network
if "thread" in sys.argv:
    done = threading.Event()
    threading.Thread(target=done.wait, daemon=True).start()
if "someone" in sys.argv:
    os.setgroups([]); os.setgid(12345); os.setuid(12345)
    ctypes.CDLL(None).prctl(4, 1)  # as it would be if that user had started it
before = os.geteuid(), os.getegid()
refused = "connected"
worked = without_network()
assert worked == without_network() and ("network-namespace" in guards()) == worked
assert (os.geteuid(), os.getegid()) == before
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
except OSError:
    refused = "refused"
open(sys.argv[2], "w").close()
print(worked, refused, os.stat(sys.argv[2]).st_uid == before[0])
"""


def in_worker(place: Path, *options: str, **settings: Any) -> list[str]:
    """What a process tells that tries to do without a network, and then to connect to a server of ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = [sys.executable, "-c", CONNECTS, port, str(place / "made"), *options]
        ended = subprocess.run(command, capture_output=True, text=True, check=True, **settings)
    return ended.stdout.split()


def test_a_worker_without_network_cannot_connect(tmp_path: Path) -> None:
    """Where the kernel allows it there is nothing to connect to; either way the function says how it is."""
    assert in_worker(tmp_path) in (["True", "refused", "True"], ["False", "connected", "True"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be someone else")
def test_an_ordinary_user_stays_who_they_are() -> None:
    """Without privileges it takes a namespace of users, in which ids and files stay as they were."""
    with tempfile.TemporaryDirectory() as place:  # pytest's own directories are closed to others
        Path(place).chmod(0o777)
        told = in_worker(Path(place), "someone")
    assert told in (["True", "refused", "True"], ["False", "connected", "True"])


def test_a_process_with_threads_keeps_its_network(tmp_path: Path) -> None:
    """The kernel moves only the thread that asks, so nothing is moved, and nothing is claimed."""
    assert in_worker(tmp_path, "thread") == ["False", "connected", "True"]


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_workers_that_replay_are_moved_and_live_ones_are_not() -> None:
    """A worker is in another network namespace if it says so, and in this one if it is to reach the world."""
    here = os.readlink("/proc/self/ns/net")
    with WorkerProcesses(1) as workers:
        moved = workers.submit(is_without_network).result()
        assert moved == (workers.submit(os.readlink, "/proc/self/ns/net").result() != here)
    with WorkerProcesses(1, offline=False) as workers:
        assert workers.submit(os.readlink, "/proc/self/ns/net").result() == here


def test_threads_of_other_contexts_are_not_stopped(tmp_path: Path) -> None:
    """A pool that was there before a replay goes on with its own work meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        begun = threading.Event()
        other = pool.submit(lambda: begun.wait(10) and (tmp_path / "made").write_text("x"))

        def agent() -> None:
            begun.set()
            other.result(10)

        assert replay(agent).verdict is Verdict.MATCH
    assert (tmp_path / "made").exists()
