"""`seal`: segments end when they are told to, and get smaller."""

import sys
from pathlib import Path

from intentusnet.log.segment import segment_name

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KEYS = ["sealed", "compressed", "bytes_before", "bytes_after"]


def log(app: Path) -> list[Path]:
    return sorted((app / ".intentusnet/log").iterdir())


def test_sealing(routed, run, app):
    """The last segment is sealed, the next begun; a second time there is nothing to seal, and both are 0."""
    routed()
    ran = run("seal")
    assert (ran.code, list(ran.json)) == (0, KEYS)
    assert (ran.json["sealed"], ran.json["compressed"]) == (segment_name(0), [])
    assert ran.json["bytes_before"] == ran.json["bytes_after"] == log(app)[0].stat().st_size
    again = run("seal")
    assert (again.code, again.json["sealed"]) == (0, None)
    assert [file.suffix for file in log(app)] == [".jsonl", ".jsonl"]


def test_compressing(routed, run, app):
    """What is sealed is compressed; the records are the same, and any zstd reads the segment."""
    execution_id = routed()
    shown, lines = run("show", execution_id).json, log(app)[0].read_bytes()
    ran = run("seal", "--compress")
    assert (ran.code, ran.json["compressed"]) == (0, [segment_name(0)])
    assert ran.json["bytes_after"] < ran.json["bytes_before"] == len(lines)
    assert log(app)[0].name == segment_name(0) + ".zst"
    assert run("show", execution_id).json == shown
    assert run("verify").code == 0
    with zstd.open(log(app)[0]) as file:
        assert file.read() == lines
    assert run("config", "show").json["store"]["bytes"] == ran.json["bytes_after"]
    assert run("seal", "--compress").json["compressed"] == []


def test_a_table_for_people(routed, run):
    """On a terminal the same in words."""
    routed()
    told = run("seal", "--compress", "--format", "table")
    assert told.code == 0
    assert "sealed" in told.stdout and segment_name(0) in told.stdout
    told = run("seal", "--compress", "--format", "table")
    assert "nothing: there is no line in the last segment" in told.stdout
    assert "nothing that was not already" in told.stdout
    assert "compressed" not in run("seal", "--format", "table").stdout


def test_damage_is_13(routed, run, app):
    """A segment with a damaged line is not compressed: 13, with the place."""
    routed()
    run("seal")
    segment = log(app)[0]
    segment.write_bytes(segment.read_bytes().replace(b"it crashes", b"it crushes", 1))
    ran = run("seal", "--compress")
    assert (ran.code, ran.stdout) == (13, "")
    assert f"{segment.name}, line 1 (seq 0, offset 0)" in " ".join(ran.stderr.split())
    assert segment.exists()


def test_where_there_is_nothing_to_seal(app, run):
    """Without a store, and with one that is not in files, it is 12 and nothing is made."""
    assert run("seal").code == 12
    assert not (app / ".intentusnet").exists()
    (app / "memory.py").write_text(
        "from intentusnet import IntentusRuntime, MemoryExecutionStore\n"
        "runtime = IntentusRuntime(store=MemoryExecutionStore())\n"
    )
    ran = run("seal", "--app", "memory:runtime")
    assert (ran.code, ran.stdout) == (12, "")
    assert "MemoryExecutionStore" in ran.stderr
