"""`records pick`: a small corpus from a large log."""

import random
import shutil
import sys

import pytest

from intentusnet import Context, FileExecutionStore, IntentusRuntime, load_record
from intentusnet.replay.picking import Picking

KEYS = [
    "file", "written", "execution_id", "intent", "agent", "strategy", "status", "error_code", "executions",
]  # fmt: skip


@pytest.fixture
def log(routed, run):
    """Twelve executions of five classes, an interrupted one, and two children."""
    for number in range(6):
        routed("echo.say", number)
    for text in ("it crashes", "how?"):
        routed("ticket.classify", {"text": text})
    routed("ticket.other", {"text": "x"})
    run("route", "nobody.knows")
    routed("desk.open", {"text": "a"})
    routed("desk.open", {"text": "b"})
    run("route", "cut.short")


def test_one_execution_stands_for_each_class(log, run, app):
    """Intent, agent, strategy, outcome and questions make a class; each has a file that replays."""
    ran = run("records", "pick", "--to", "kept")
    assert ran.code == 0
    assert all(list(row) == KEYS for row in ran.json)
    assert [(row["intent"], row["agent"], row["error_code"], row["executions"]) for row in ran.json] == [
        ("desk.open", "desk", None, 2),
        ("echo.say", "echo", None, 6),
        ("nobody.knows", None, "CAPABILITY_NOT_FOUND", 1),
        ("ticket.classify", "triage", None, 4),
        ("ticket.other", "backup", "AGENT_UNAVAILABLE", 1),
    ]
    assert ran.stderr.splitlines() == [
        "5 of 5 classes, which stand for 14 of 14 executions",
        "1 have no end on record, and belong to no class.",
    ]
    for row in ran.json:
        assert row["written"]
        assert load_record(row["file"]).execution_id == row["execution_id"]
    assert len(list((app / "kept").iterdir())) == 5
    assert run("replay", "kept").code == 0


def test_the_commonest_classes_come_first(log, run, app):
    """--max picks the classes with the most executions, and says what is left out."""
    ran = run("records", "pick", "--to", "kept", "--max", "2")
    assert [row["executions"] for row in ran.json] == [6, 4]
    assert "2 of 5 classes, which stand for 10 of 14 executions" in ran.stderr
    assert len(list((app / "kept").iterdir())) == 2


def test_a_class_that_has_a_file_keeps_it(log, run, app):
    """Picking again changes no file, and adds those of new classes; a table says which."""
    first = run("records", "pick", "--to", "kept", "--max", "4").json
    before = {path.name: path.read_bytes() for path in (app / "kept").iterdir()}
    again = run("records", "pick", "--to", "kept", "--format", "table").stdout
    assert again.count("was there") == 4 and again.count("new") == 1
    assert {name: (app / "kept" / name).read_bytes() for name in before} == before
    assert len(first) == 4 and len(list((app / "kept").iterdir())) == 5


def test_filters_narrow_the_log(log, run):
    """Only what the filters leave is picked from; nothing is 10."""
    rows = run("records", "pick", "--to", "kept", "--status", "error").json
    assert [row["intent"] for row in rows] == ["nobody.knows", "ticket.other"]
    assert run("records", "pick", "--to", "none", "--intent", "gone.*").code == 10


def test_a_directory_that_cannot_be_made(log, run, app):
    """What stands in the way is named: 12."""
    (app / "file").write_text("")
    ran = run("records", "pick", "--to", "file/kept")
    assert ran.code == 12 and "file/kept" in ran.stderr


def program(store=None):
    runtime = IntentusRuntime(store=store)

    @runtime.agent("worker", handles="work", side_effect="read_only")
    def worker(plan: dict, ctx: Context) -> int:
        for _ in range(plan.get("effects", 0)):
            ctx.effect("step", int)
        ctx.gather(*(lambda: ctx.effect("branch", int) for _ in range(plan.get("branches", 0))))
        if plan.get("clock"):
            ctx.now()
            ctx.log("noted")
        return 0

    return runtime


@pytest.fixture
def records(tmp_path):
    """Records of the same intent and agent, which ask differently."""
    plans = (
        [{"effects": n} for n in range(5)] + [{"branches": n, "x": n} for n in range(1, 4)] + [{"clock": 1}]
    )
    with program(FileExecutionStore(tmp_path / "store", durability="os")) as runtime:
        return [runtime.store.get(runtime.route("work", plan).execution_id) for plan in plans]


def picked_of(records, most=None):
    picking = Picking()
    for record in records:
        picking.take(record)
    return picking.picked(most)


def test_how_often_something_is_asked_makes_no_class(records):
    """Loops and branches of another length are the same shape; a question that others lack is another."""
    picked = picked_of(records)
    assert sorted(exemplar.executions for exemplar in picked.exemplars) == [1, 1, 3, 4]
    assert (picked.classes, picked.executions) == (4, 9)


def test_neither_order_nor_time_decides_what_is_picked(records):
    """In whatever order a log tells them, the same executions are picked, by a hash of what they say."""
    once = picked_of(records)
    for seed in range(10):
        shuffled = random.Random(seed).sample(records, len(records))
        assert picked_of(shuffled) == once
    by_id = {record.execution_id: record for record in records}
    firsts = {}
    for record in records:
        firsts.setdefault(len({q.name for q in record.questions}), record.execution_id)
    assert {exemplar.execution_id for exemplar in once.exemplars} <= set(by_id)
    assert {exemplar.execution_id for exemplar in once.exemplars} != set(firsts.values())


def test_another_machine_picks_what_says_the_same(tmp_path):
    """Two logs of the same runs give the same classes and exemplars with the same fingerprints."""
    picks = []
    for number in range(2):
        with program(FileExecutionStore(tmp_path / str(number), durability="os")) as runtime:
            ids = [runtime.route("work", {"effects": n % 7}).execution_id for n in range(14)]
            records = {execution_id: runtime.store.get(execution_id) for execution_id in ids}
        picked = picked_of(records.values())
        picks.append([(e.file_name, records[e.execution_id].fingerprint) for e in picked.exemplars])
        shutil.rmtree(tmp_path / str(number))
    assert picks[0] == picks[1]


def test_what_is_held_does_not_grow_with_the_log(records):
    """An execution of a class that is known already leaves nothing behind but its count."""
    picking = Picking()
    for record in records:
        picking.take(record)

    def held():
        return sum(sys.getsizeof(part) for part in vars(picking).values()), [
            len(part) for part in vars(picking).values() if isinstance(part, dict)
        ]

    before = held()
    for _ in range(50):
        for record in records:
            picking.take(record)
    assert held() == before
    assert picking.picked().executions == 51 * len(records)
