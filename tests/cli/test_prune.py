"""`prune`: what nothing needs goes, and only that."""

from helpers import blobs as made

from intentusnet.log.blobs import blob_path, pack


def orphan(store):
    blob = made.blob_of(made.large("orphan "))
    path = blob_path(store, blob.ref.digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(pack(blob.data)))
    return path


def test_what_no_entry_names_is_removed(routed, run, app):
    """A dry run says what would go, then it goes; a large payload that is on record stays."""
    execution = routed("echo.say", {"text": made.large("kept ")})
    path = orphan(app / ".intentusnet")
    size = path.stat().st_size
    told = {"blobs": 1, "unfinished": 0, "bytes": size}
    assert run("prune", "--dry-run").json == {"dry_run": True, **told}
    assert path.exists()
    assert run("prune").json == {"dry_run": False, **told}
    assert not path.exists()
    assert run("retrieve", execution).json["payload"] == {"text": made.large("kept ")}
    table = run("prune", "--format", "table")
    assert table.code == 0 and "0 that no entry names" in table.stdout


def test_on_a_damaged_log_nothing_is_removed(routed, run, app):
    """It ends with 13, and says why."""
    routed()
    path = orphan(app / ".intentusnet")
    segment = next((app / ".intentusnet/log").iterdir())
    segment.write_bytes(segment.read_bytes().replace(b"it crashes", b"it crushes", 1))
    ran = run("prune")
    assert (ran.code, ran.stdout) == (13, "")
    assert "nothing was removed" in ran.stderr and path.exists()


def test_a_large_payload_does_not_flood_the_terminal(routed, run):
    """`show` cuts it on a terminal, and has all of it with -v and as JSON."""
    text = made.large("word ", 300_000)
    execution = routed("echo.say", {"text": text})
    shown = run("show", execution, "--format", "table").stdout
    assert len(shown) < 30_000 and "(300,009 bytes; -v prints it whole)" in " ".join(shown.split())
    assert len(run("show", execution, "--format", "table", "-v").stdout) > 600_000
    assert run("show", execution).json["envelope"]["payload"] == {"text": text}
