"""`retrieve`: the recorded response, checked, without running anything."""

import pytest


@pytest.mark.parametrize("intent", ["ticket.classify", "ticket.lost", "nobody.there"])
def test_what_was_answered_is_answered_again(app, run, monkeypatch, intent):
    """It prints what route printed, with 0 also for an error, and needs no app."""
    routed = run("route", intent, '{"text": "x"}').json
    monkeypatch.delenv("INTENTUSNET_APP")
    ran = run("retrieve", routed["execution_id"])
    assert (ran.code, ran.json) == (0, routed)


def test_an_interrupted_execution_has_no_response(app, run):
    """Without an end on record there is nothing to retrieve: 11."""
    run("route", "cut.short")
    ran = run("retrieve", "@last")
    assert (ran.code, ran.stdout) == (11, "")


def test_changed_bytes_are_not_retrieved(routed, run, app):
    """A record whose bytes are not what was written is refused with 13, not printed."""
    execution_id = routed()
    for segment in (app / ".intentusnet/log").iterdir():
        segment.write_bytes(segment.read_bytes().replace(b'{"label":"bug"}', b'{"label":"fun"}'))
    ran = run("retrieve", execution_id)
    assert (ran.code, ran.stdout) == (13, "")


def test_unknown(app, run):
    """What is not on record is 10."""
    assert run("retrieve", "@last").code == 10
