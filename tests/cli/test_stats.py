"""`stats`: what is counted, what the filters choose, and what is told when there is nothing."""

import pytest

from intentusnet import Context, FileExecutionStore, IntentusRuntime

KEYS = ["executions", "success", "error", "interrupted", "usage"]
BYS = ["intent", "agent", "caller", "tenant", "status"]


@pytest.fixture
def spent(shop):
    """A store in which ada and bob have asked a model, and bob was refused once."""
    with IntentusRuntime(store=shop / ".intentusnet") as runtime:

        @runtime.agent("model", handles="ask", side_effect="read_only")
        def model(tokens: int, ctx: Context) -> None:
            ctx.usage(tokens=tokens, cost=tokens / 4)

        for caller, tokens in (("ada", 10), ("ada", 20), ("bob", 5)):
            runtime.route("ask", tokens, caller=caller, tenant="acme")
        runtime.route("nothing", caller="bob")
    return shop


def test_everything_is_added_up_by_all_names(spent, run):
    """The keys are fixed; groups have the same ones, and the name that they have in common."""
    ran = run("stats", "--usage")
    tree = ran.json
    assert ran.code == 0
    assert list(tree) == [*KEYS, *BYS]
    assert [tree[key] for key in KEYS] == [4, 3, 1, 0, {"cost": 8.75, "tokens": 35}]
    for by in BYS:
        assert all(list(group) == ["name", *KEYS] for group in tree[by])
    assert [(group["name"], group["usage"]) for group in tree["caller"]] == [
        ("ada", {"cost": 7.5, "tokens": 30}),
        ("bob", {"cost": 1.25, "tokens": 5}),
    ]
    assert [(group["name"], group["executions"]) for group in tree["agent"]] == [("model", 3), (None, 1)]
    assert [group["name"] for group in tree["tenant"]] == ["acme", None]
    assert [group["name"] for group in tree["status"]] == ["success", "error"]
    assert run("stats", "--usage", "--format", "jsonl").json == tree


def test_usage_is_null_if_nobody_asks(spent, run):
    """Counts alone do not need it."""
    tree = run("stats").json
    assert tree["usage"] is None
    assert tree["intent"][0]["usage"] is None
    assert tree["executions"] == 4


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--caller", "bob"], 2),
        (["--status", "error"], 1),
        (["--intent", "a*"], 3),
        (["--agent", "model"], 3),
        (["--error-code", "CAPABILITY_NOT_FOUND"], 1),
        (["--since", "1h"], 4),
        (["--until", "2020-01-01"], 0),
        (["--text", "bob"], 2),
    ],
)
def test_filters_choose_what_is_counted(spent, run, options, count):
    """They are those of `list`."""
    assert run("stats", *options).json["executions"] == count == len(run("list", *options).json)


def test_the_table_has_a_line_for_each_name(spent, run):
    """Counts, and a column for each usage."""
    ran = run("stats", "--usage", "--format", "table")
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ["all", "4", "3", "1", "0", "8.75", "35"] in lines
    assert ["caller", "ada", "2", "2", "0", "0", "7.5", "30"] in lines


def test_the_table_of_many_names_is_cut(shop, run):
    """What is left out is told; json has all."""
    with IntentusRuntime(store=shop / ".intentusnet") as runtime:
        for number in range(23):
            runtime.route("nothing", caller=f"c{number}")
    ran = run("stats", "--format", "table")
    assert "3 more" in ran.stdout
    assert len(run("stats").json["caller"]) == 23


@pytest.mark.parametrize("form", ["json", "table"])
def test_no_store_has_no_executions(shop, run, form):
    """That is said on stderr, and no store is made."""
    ran = run("stats", "--format", form)
    assert ran.code == 0
    assert "No execution fits" in ran.stderr
    assert ran.stdout == "" if form == "table" else ran.json["executions"] == 0
    assert not (shop / ".intentusnet").exists()


def test_of_a_damaged_log_nothing_is_told(spent, run):
    """Sums that lack something would mislead."""
    [segment] = (spent / ".intentusnet" / "log").glob("*.jsonl")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    ran = run("stats", "--usage")
    assert (ran.code, ran.stdout) == (13, "")
    with FileExecutionStore(spent / ".intentusnet", create=False) as store:
        assert not store.verify().ok
