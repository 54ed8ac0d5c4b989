"""`replay` when things go wrong: odd files, damaged logs, closed streams, apps and workers that misbehave."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).parent / "intentusnet"


@pytest.fixture
def kept(routed, portable):
    """A record in a file."""
    return portable(routed("echo.say", {"n": 1}), "kept/good.jsonl")


def test_odd_files_are_told_and_the_others_are_replayed(kept, run):
    """A link that leads nowhere, binary, cut and empty files are broken: each is named, and it is 13."""
    (kept.parent / "gone.jsonl").symlink_to("nowhere.jsonl")
    (kept.parent / "binary.jsonl").write_bytes(bytes(range(256)) * 9)
    (kept.parent / "cut.jsonl").write_bytes(kept.read_bytes()[:300])
    (kept.parent / "empty.jsonl").touch()
    (kept.parent / "caf\udce9.jsonl").write_text('{"n": 1}\n')
    for form in ("json", "table", "github"):
        ran = run("replay", "kept", "--format", form)
        assert ran.code == 13
        assert "6 replayed: 1 match, 5 broken\n" in ran.stderr
        for name in ("gone", "binary", "cut", "empty", "caf"):
            assert f"kept/{name}" in ran.stderr
    ran = run("replay", "kept", "--format", "junit")
    assert ran.code == 13 and ran.stdout.count("<error ") == 5


def test_what_is_no_file_is_passed_over(kept, run):
    """Directories and pipes with a record's name, and links that lead in a circle, hold nobody up."""
    (kept.parent / "folder.jsonl").mkdir()
    os.mkfifo(kept.parent / "pipe.jsonl")
    (kept.parent / "self").symlink_to(".")
    (kept.parent / "loop.d").symlink_to("loop.d")
    ran = run("replay", "kept")
    assert (ran.code, len(ran.lines)) == (0, 1)


def test_a_record_that_is_named_twice_is_replayed_once(kept, routed, run):
    """The same file by its directory, and the same execution by another reference, are one."""
    execution_id = routed("echo.say", {"n": 2})
    ran = run("replay", "kept", "kept/good.jsonl", execution_id, "@last")
    assert (ran.code, len(ran.lines)) == (0, 2)


@pytest.mark.parametrize("options", [["-j", "2"], ["--format", "junit"], []])
def test_of_a_damaged_log_the_rest_is_replayed(routed, run_process, app, options):
    """What ended before the damage is replayed, the damage is told once, and it is 13."""
    for number in range(3):
        routed("echo.say", {"n": number})
    segment = next((app / ".intentusnet/log").iterdir())
    data = bytearray(segment.read_bytes())
    data[data.index(b'{"n":2}')] ^= 1
    segment.write_bytes(data)
    ran = run_process("replay", "--all", "--app", "shop:runtime", *options)
    assert ran.code == 13
    assert "3 replayed: 2 match, 1 broken\n" in ran.stderr and ran.stderr.count("Error: ") == 1
    if options == ["--format", "junit"]:
        assert ran.stdout.count("<testcase ") == 3 and ran.stdout.endswith("</testsuites>\n")
    else:
        assert [line["verdict"] for line in ran.lines] == ["match", "match"]


def test_filters_that_nothing_fits_say_so(routed, run):
    """It is 10, as of an empty store, with another sentence."""
    assert "there is nothing to replay" in run("replay", "--all").stderr
    routed()
    ran = run("replay", "--all", "--intent", "gone.*")
    assert (ran.code, ran.stdout) == (10, "") and "no execution fits the filters" in ran.stderr


@pytest.mark.parametrize("more", [["--routing"], ["--nested"]])
def test_what_cannot_be_recorded_anew_is_refused(kept, run, more):
    """To record anew runs agents, and each file by itself: with what contradicts that it is 2."""
    before = kept.read_bytes()
    ran = run("replay", "kept", "--policy", "policy.toml", "--update", "--yes", *more)
    assert (ran.code, ran.stdout, kept.read_bytes()) == (2, "", before)


def test_a_good_record_does_not_give_way_to_a_failure(kept, run, change_to):
    """What fails when it is recorded anew, as without a network, leaves the old file where it is: 1."""
    before = kept.read_bytes()
    app = change_to("    return payload\n", '    raise AgentFailure("no network")\n')
    ran = run("replay", "kept", "--app", app, "--update", "--yes")
    assert ran.code == 1
    assert "kept/good.jsonl stays as it is: recorded anew, it ended with AGENT_ERROR" in ran.stderr
    assert kept.read_bytes() == before


def test_what_the_policy_denies_now_is_recorded_anew(routed, portable, run):
    """A denial is no accident: it is denied everywhere."""
    path = portable(routed("money.transfer", {"amount": 5000}), "kept/a.jsonl")
    decided = ("--policy", "policy.toml")
    assert run("replay", str(path), *decided, "--update", "--yes").code == 0
    assert run("replay", str(path), *decided).code == 0


NOISY = '    os.write(1, b"loud\\n")\n    return payload\n'


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_stdout_is_data_whoever_writes_to_it(kept, run_process, change_to, jobs):
    """What an agent, or C code, writes to the descriptor itself goes to stderr: stdout is JSON only."""
    ran = run_process("replay", "kept", "--app", change_to("    return payload\n", NOISY), "-j", jobs)
    assert ran.code == 0
    assert ran.json["verdict"] == "match" and "loud\n" in ran.stderr


@pytest.mark.parametrize(("closed", "jobs"), [(">&-", 1), ("2>&-", 2), (">&- 2>&- <&-", 2)])
def test_streams_that_are_closed(kept, app, change_to, closed, jobs):
    """Without stdin, stdout or stderr the exit code still tells, and no file takes their place."""
    log = next((app / ".intentusnet/log").iterdir())
    before, noisy = log.read_bytes(), change_to("    return payload\n", NOISY)
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" replay --all --app {noisy} -j {jobs} {closed}', SCRIPT],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert bool(done.stdout) == (not closed.startswith(">"))
    assert log.read_bytes() == before


STAYING = """    import threading
    threading.Thread(target=threading.Event().wait).start()
    return payload
"""


def test_a_worker_that_would_not_end_is_ended(kept, routed, run_process, change_to):
    """A worker with a thread that never ends does not keep the command: all is printed, and it ends."""
    routed("echo.say", {"n": 1})
    ran = run_process("replay", "--all", "--app", change_to("    return payload\n", STAYING), "-j", "2")
    assert (ran.code, len(ran.lines)) == (0, 2)


HANGING = """    os.write(2, b"hanging\\n")
    os.read(os.pipe()[0], 1)
    return payload
"""


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)]
)
def test_workers_end_with_the_command(kept, routed, change_to, sent, code):
    """Whatever ends the command, be it Ctrl-C or a kill, its workers end too, in the middle of an agent."""
    routed("echo.say", {"n": 2})
    command = subprocess.Popen(
        [SCRIPT, "replay", "--all", "--app", change_to("    return payload\n", HANGING), "-j", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while (line := command.stderr.readline()) != b"hanging\n":
        assert line
    command.send_signal(sent)
    # Their stderr is that of the command: it is read to the end only when the last of them has ended.
    _, told = command.communicate(timeout=60)
    assert command.returncode == code and b"Traceback" not in told


def test_a_reader_that_has_seen_enough(kept, routed, app):
    """`| head -1` gets its line; the command ends as SIGPIPE ends one, without a word."""
    for number in range(40):
        routed("echo.say", {"n": number, "long": "x" * 4000})
    command = subprocess.Popen(
        [SCRIPT, "replay", "--all", "--app", "shop:runtime"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout.readline().startswith(b"{")
    command.stdout.close()
    assert (command.wait(timeout=60), command.stderr.read()) == (141, b"")
    command.stderr.close()
