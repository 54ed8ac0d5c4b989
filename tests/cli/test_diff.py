"""`diff`: what differs between two executions."""


def test_equal_executions(routed, portable, run):
    """Executions that differ only in ids and times are equal: 0, whether by id or by file."""
    a, b = routed("echo.say"), routed("echo.say")
    expected = {"a": a, "b": b, "equal": True, "differences": []}
    for right in (b, str(portable(b, "b.jsonl"))):
        ran = run("diff", a, right)
        assert (ran.code, ran.json) == (0, expected)
    assert run("diff", a, b, "--format", "table").stdout.startswith("equal\n")


def test_differences_are_named_by_section_question_and_pointer(routed, run):
    """Each difference has its section, scope, question, pointer and both sides: 1."""
    ran = run("diff", routed(), routed("ticket.classify", {"text": "how?"}))
    assert ran.code == 1
    assert list(ran.json) == ["a", "b", "equal", "differences"]
    assert ran.json["differences"][0] == {
        "section": "envelope",
        "scope": "",
        "question": "",
        "pointer": "/payload/text",
        "a": "it crashes",
        "b": "how?",
    }
    assert {one["section"] for one in ran.json["differences"]} == {
        "envelope",
        "questions",
        "answers",
        "outcome",
    }


def test_the_table_groups_and_cuts(routed, run):
    """A terminal shows groups with both sides below each other, at most 20 places unless -v is given."""
    a = routed("echo.say", {f"k{number}": number for number in range(30)})
    b = routed()
    told = run("diff", a, b, "--format", "table").stdout
    assert "  /payload/k0\n    - 0\n    + (nothing)\n" in told
    assert "more: -v tells them all" in told
    whole = run("diff", a, b, "--format", "table", "-v").stdout
    assert "effect llm [0] in attempt:0" in whole and "more:" not in whole


def test_unknown_and_missing(routed, run):
    """An unknown side is 10; one side alone is a usage error."""
    assert run("diff", routed(), "ffffffff").code == 10
    assert run("diff", "@last").code == 2
