"""`replay`: how closely it compares and how deep it goes, as its options say."""

import pytest

PROMPT = ('"SHOP_PROMPT", "classify"', '"SHOP_PROMPT", "sort"')
MODEL = ('    return "bug" if', '    return "fault" if')


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--strictness", "effects"], 0),
        (["--strictness", "args"], 1),
        (["--strictness", "strict"], 1),
        (["--ignore", "arguments:/args/0"], 0),
        (["--ignore", "/args/0"], 0),
        (["--ignore", "/args/1", "--ignore", "ticket.*=/args/0"], 0),
        (["--ignore", "echo.*=/args/0"], 1),
        (["--ignore", "response:/args/0"], 1),
        ([], 1),
    ],
)
def test_what_is_compared_is_chosen(routed, run, change_to, options, code):
    """Changed arguments count, unless the strictness leaves them out or their place is ignored."""
    routed()
    app = change_to(*PROMPT)
    ran = run("replay", "@last", "--app", app, *options)
    assert ran.code == code
    assert (ran.json["ignored"] > 0) == (code == 0 and "--ignore" in options)
    assert ran.json["strictness"] == (options[1] if "--strictness" in options else "result")


@pytest.mark.parametrize("options", [["--strictness", "effects"], ["--ignore", "*=/args/0"]])
def test_workers_and_updates_compare_as_they_are_told(routed, portable, run_process, change_to, options):
    """What does not count is no divergence for workers, and nothing to be recorded anew."""
    path = portable(routed(), "kept/a.jsonl")
    before = path.read_bytes()
    args = ("replay", "kept", "--app", change_to(*PROMPT), *options, "-j", "2", "--update", "--yes")
    assert run_process(*args).code == 0
    assert path.read_bytes() == before


def test_routing_needs_no_app(routed, run, monkeypatch):
    """Plan and policy alone are decided anew without the code of the agents: who is denied now is found."""
    routed("money.transfer", {"amount": 5000})
    routed("money.transfer", {"amount": 5})
    monkeypatch.delenv("INTENTUSNET_APP")
    assert run("replay", "--all").code == 12
    ran = run("replay", "--all", "--routing")
    assert (ran.code, {line["depth"] for line in ran.lines}) == (0, {"routing"})
    decided = ("--policy", "policy.toml", "--ignore", "policy:/candidates/*/cause")
    ran = run("replay", "--all", "--routing", *decided)
    assert ran.code == 1
    assert [line["verdict"] for line in ran.lines] == ["diverged", "match"]
    assert ran.lines[0]["divergences"][0]["kind"] == "policy"


def test_routing_of_workers_needs_no_app(routed, run_process):
    """Workers decide anew without an app too."""
    routed("money.transfer", {"amount": 5000})
    ran = run_process("replay", "--all", "--routing", "--policy", "policy.toml", "-j", "2")
    assert (ran.code, ran.json["divergences"][0]["kind"]) == (1, "policy")


@pytest.mark.parametrize(("options", "code", "asked"), [([], 0, 0), (["--allow-acting"], 1, 1)])
def test_live_asks_the_world_again(routed, run, change_to, options, code, asked):
    """Drift of the world is found; what may act on it is asked only if that is allowed."""
    routed()
    ran = run("replay", "@last", "--app", change_to(*MODEL), "--live", *options)
    assert (ran.code, ran.json["depth"], ran.json["asked"]) == (code, "live", asked)


@pytest.mark.parametrize(
    "options",
    [
        ["--routing", "--live"],
        ["--allow-acting"],
        ["--yes"],
        ["--strictness", "lax"],
        ["--ignore", "no pointer"],
        ["--ignore", "=/x"],
    ],
)
def test_options_that_make_no_sense(routed, run, options):
    """Contradictions, and words that nobody knows, are 2, and nothing is replayed."""
    routed()
    ran = run("replay", "@last", *options)
    assert (ran.code, ran.stdout) == (2, "")
