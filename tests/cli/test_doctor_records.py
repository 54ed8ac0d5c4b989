"""`doctor` on what is on record: which executions are chosen, and what is said of other code."""

import shutil


def test_the_last_so_many_are_chosen(app, run, routed):
    """--last replays the newest; a clean app is clean."""
    for _ in range(4):
        routed()
    ran = run("doctor", "--last", "3")
    assert ran.code == 0, ran.stderr
    assert ran.json["replayed"] == 3
    assert ran.json["findings"] == []


def test_executions_and_files_can_be_named(app, run, routed, portable):
    """Ids of the store and portable records, alone or together; a file needs no store."""
    execution_id = routed()
    path = portable(execution_id, "kept/one.jsonl")
    assert run("doctor", execution_id, str(path)).json["replayed"] == 1
    shutil.rmtree(app / ".intentusnet")
    assert run("doctor", str(path)).json["replayed"] == 1
    assert run("doctor", "kept/").json["replayed"] == 1
    assert not (app / ".intentusnet").exists()


def test_records_of_other_code_are_told_as_that(app, run, routed, change_to):
    """What differs alike in both processes is a change, at the line that makes it, not chance."""
    routed("echo.say", {"a": 1})
    changed = change_to("    return payload\n", "    return [payload]\n")
    ran = run("doctor", "--app", changed)
    assert [finding["cause"] for finding in ran.json["findings"]] == ["changed"]
    assert ran.json["findings"][0]["source"].startswith("shop_changed_0.py:")
    assert ran.code == 1


def test_without_records_it_is_said_what_to_do(app, run):
    """Exit code 10, and the ways to get some."""
    ran = run("doctor", "--app", "shop:runtime")
    assert ran.code == 10
    assert "doctor -- COMMAND" in ran.stderr


def test_an_app_that_cannot_be_loaded_ends_it(app, run, routed):
    """Exit code 12, as everywhere."""
    routed()
    assert run("doctor", "--last", "1", "--app", "shop:broken").code == 12
