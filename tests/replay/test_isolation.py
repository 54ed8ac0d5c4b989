"""Machines on which a process cannot do without its network: the report says which guard was on."""

import platform
import socket
import subprocess
import sys
from typing import Any

import pytest

from intentusnet import values

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")

#: Each has the kernel refuse in another way, and prints that it cannot where it may not even do that.
REFUSALS = {
    # A limit of the administrator's, in a namespace of users of which the process is one.
    "limited": """
user = os.geteuid()
if libc.unshare(0x1000_0000) != 0:
    sys.exit("cannot")
Path("/proc/self/uid_map").write_text(f"0 {user} 1")
for limit in ("net", "user"):
    Path(f"/proc/sys/user/max_{limit}_namespaces").write_text("0")
""",
    # A filter of system calls, as containers have it: unshare fails with EPERM, all others pass.
    "filtered": f"""
number = {{"x86_64": 272, "aarch64": 97}}.get({platform.machine()!r})
if number is None:
    sys.exit("cannot")
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x0005_0001), (0x06, 0, 0, 0x7FFF_0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HL", len(steps), ctypes.addressof(code))
if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, program, 0, 0) != 0:
    sys.exit("cannot")
""",
    # Without /proc nobody can tell whether the process was moved.
    "without /proc": """
if libc.unshare(0x1000_0000) != 0 or libc.chroot(sys.argv[2].encode()) != 0:
    sys.exit("cannot")
""",
}

WORKER = """
import ctypes, encodings.idna, os, socket, struct, sys
from pathlib import Path
from intentusnet import IntentusRuntime, MemoryExecutionStore, values
from intentusnet.replay.isolation import is_without_network, without_network

runtime = IntentusRuntime(store=MemoryExecutionStore())
reaching = [False]

@runtime.agent("agent", handles="x")
def agent(payload):
    if reaching[0]:
        socket.create_connection(("127.0.0.1", payload)).close()
    return payload

port = int(sys.argv[1])
record = runtime.store.get(runtime.route("x", port).execution_id)
runtime.replay(record)  # whatever is loaded late is loaded now
libc = ctypes.CDLL(None, use_errno=True)
{refusal}
worked = without_network()
still = runtime.replay(record)
reaching[0] = True
stopped = runtime.replay(record)
socket.create_connection(("127.0.0.1", port)).close()
told = [worked, is_without_network(), still.guards, still.verdict, stopped.guards]
print(values.dumps([*told, stopped.divergences[0].question]).decode())
"""


def told_by(refusal: str, *arguments: str) -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", WORKER.replace("{refusal}", refusal), str(server.getsockname()[1])]
        ended = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if "cannot" in ended.stderr.splitlines():
        pytest.skip("this machine lets the test not even set up the refusal")
    assert ended.returncode == 0, ended.stderr
    return values.parse(ended.stdout.encode())


@pytest.mark.parametrize("way", REFUSALS)
def test_a_kernel_that_refuses_leaves_the_audit_hook_and_the_report_says_so(way: str, tmp_path: Any) -> None:
    """The network is there, the report claims nothing else, and the audit hook still stops agents."""
    told = told_by(REFUSALS[way], str(tmp_path))
    hook = ["audit-hook"]
    assert told == [False, False, hook, "match", hook, "socket.getaddrinfo"]
