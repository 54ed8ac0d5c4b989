"""`replay --format junit` and `--format github`, and what a person is told to do."""

import re
import tracemalloc
from xml.etree import ElementTree

import pytest

from intentusnet.replay.corpus import CorpusItem
from intentusnet.replay.divergence import Divergence, DivergenceKind, ReplayReport, Verdict
from intentusnet.replay.loads import RecordFile, StoredRecord
from intentusnet.replay.reports import JUnit, annotation, text_of

NASTY = 'a<b>&"\x1b[31m\x00\ud800\ufffe]]>::error::%0A,:\n\r2'

#: What the JUnit schema of Jenkins (junit-10.xsd) knows of what is printed: for each element the attributes
#: that must be there, those that may be, and the elements that may stand in it. Others may have no text.
SCHEMA = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"skipped", "time", "timestamp", "hostname", "id", "package", "group", "file", "log", "url"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": (
        {"name"},
        {"classname", "time", "group"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": (set(), {"type", "message"}, set()),
    "error": (set(), {"type", "message"}, set()),
}


def parsed(text):
    """The document, if it is valid."""
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "testsuites"
    for element in root.iter():
        required, allowed, children = SCHEMA[element.tag]
        assert required <= set(element.keys()) <= required | allowed
        assert {child.tag for child in element} <= children
        if element.tag not in ("failure", "error"):
            assert not (element.text or "").strip() + (element.tail or "").strip()
    suite = root[0]
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        assert int(suite.get(name)) == int(root.get(name)) == len(list(suite.iter(tag)))
    return root


def junit(items, properties):
    """The JUnit report of items."""
    report = JUnit()
    for item in items:
        report.take(item)
    return "".join(report.lines(properties))


def diverged(load, **at):
    divergence = {"scope": "attempt:0", "question": "effect llm [0]", "pointer": "/args/0", **at}
    found = Divergence(DivergenceKind.ARGUMENTS, expected="old", actual="new", **divergence)
    return CorpusItem(load, "ticket.classify", ReplayReport("0197", Verdict.DIVERGED, (found,)))


def command_of(line):
    """A workflow command as GitHub reads it."""
    assert "\n" not in line and "\r" not in line
    properties, message = re.fullmatch(r"::error ([^:]*)::(.*)", line).groups()

    def read(text):
        return re.sub("%(25|0D|0A|3A|2C)", lambda code: chr(int(code[1], 16)), text)

    pairs = dict(part.split("=", 1) for part in properties.split(","))
    return {name: read(value) for name, value in pairs.items()}, read(message)


def test_a_junit_report(routed, portable, run, app):
    """A test case a record, by intent and file; failures and errors as printed; all counted: 13 as always."""
    for name in ("a", "b", "c"):
        portable(routed("echo.say", {"n": name}), f"kept/{name}.jsonl")
    (app / "kept/c.jsonl").write_bytes((app / "kept/c.jsonl").read_bytes()[:-1])
    source = (app / "shop.py").read_text()
    changed = source.replace("    return payload\n", '    return {"n": "b"}\n')
    (app / "shop_changed.py").write_text(changed)
    ran = run("replay", "kept", "--format", "junit", "--app", "shop_changed:runtime")
    assert ran.code == 13
    root = parsed(ran.stdout)
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert list(cases) == ["kept/a.jsonl", "kept/b.jsonl", "kept/c.jsonl"]
    assert [len(case) for case in cases.values()] == [1, 0, 1]
    assert cases["kept/b.jsonl"].get("classname") == "echo.say"
    failure = cases["kept/a.jsonl"].find("failure")
    assert failure.get("type") == "diverged"
    assert failure.text.startswith("diverged  ") and '     expected  "a"' in failure.text
    assert "--update" in failure.text
    assert cases["kept/c.jsonl"].find("error").get("type") == "broken"
    assert root.find(".//property").get("name") == "guards"


@pytest.mark.parametrize("at", ["question", "pointer", "scope"])
def test_whatever_a_record_holds_is_fit_for_xml(at):
    """Markup, control characters, lone surrogates and non-characters of a record end as text."""
    item = diverged(StoredRecord(NASTY), **{at: NASTY})
    root = parsed(junit([item], {NASTY: NASTY}))
    shown = 'a<b>&"\\x1b[31m\\x00\\ud800\\ufffe]]>::error::%0A,:\\n\\r2'
    assert shown in root.find(".//failure").text
    assert root.find(".//testcase").get("name") == root.find(".//property").get("value") == shown


def test_nothing_to_report_is_valid_too():
    """A report of matches only has no failures in it, one of nothing no cases."""
    match = CorpusItem(StoredRecord("x"), "i", ReplayReport("x", Verdict.MATCH))
    assert [case.get("name") for case in parsed(junit([match], {})).iter("testcase")] == ["x"]
    assert list(parsed(junit([], {})).iter("testcase")) == []


def test_a_report_of_many_is_not_held_in_memory():
    """Cases wait for the end in a file; the document is the same as that of a few."""
    report, item = JUnit(), diverged(RecordFile("a.jsonl"))
    tracemalloc.start()
    try:
        for _ in range(5000):
            report.take(item)
        assert tracemalloc.get_traced_memory()[0] < 2 << 20
    finally:
        tracemalloc.stop()
    text = "".join(report.lines({}))
    assert len(text) > 2 << 20
    assert len(list(parsed(text).iter("failure"))) == 5000


def test_an_annotation_is_found_from_the_root_of_the_checkout(monkeypatch, tmp_path):
    """GitHub reads paths from the root of the repository, wherever in it the job works."""
    (tmp_path / "service").mkdir()
    monkeypatch.chdir(tmp_path / "service")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    at, _ = command_of(annotation(diverged(RecordFile("a.jsonl"), source="app/a.py:12")))
    assert at["file"] == "service/app/a.py"
    at, _ = command_of(annotation(diverged(RecordFile("a.jsonl"), source="/elsewhere/a.py:12")))
    assert at["file"] == "/elsewhere/a.py"


def test_an_annotation_stands_beside_the_code_that_asked(monkeypatch, tmp_path):
    """File and line are those of the divergence, as seen from here; title and text say what is different."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    at, message = command_of(annotation(diverged(RecordFile("a.jsonl"), source=f"{tmp_path}/app/a.py:12")))
    assert at == {"file": "app/a.py", "line": "12", "title": "diverged: ticket.classify"}
    assert message.splitlines()[1:3] == ["  in a.jsonl", "  1. arguments: asked with other arguments"]


@pytest.mark.parametrize(
    ("load", "file"), [(RecordFile("kept/a.jsonl"), {"file": "kept/a.jsonl"}), (StoredRecord("0197"), {})]
)
def test_an_annotation_without_a_source(load, file):
    """Where it is not known who asked, the annotation stands at the record's file, or nowhere."""
    at, _ = command_of(annotation(diverged(load)))
    assert at == {**file, "title": "diverged: ticket.classify"}


def test_an_annotation_is_one_command_whatever_a_record_holds():
    """Percent signs, colons, commas and line breaks of a record neither end a command nor begin one."""
    item = diverged(RecordFile("a,b:c%.jsonl"), question=NASTY, source="d,e:f%.py:3")
    at, message = command_of(annotation(item))
    assert at["file"] == "d,e:f%.py" and at["line"] == "3"
    assert "]]>::error::%0A,:\\n\\r2" in message


def test_annotations_are_of_what_does_not_match(routed, portable, run, change_to):
    """A line on stdout for each record that does not match, and nothing for the others."""
    portable(routed("echo.say", {"n": 1}), "kept/a.jsonl")
    assert run("replay", "kept", "--format", "github").stdout == ""
    ran = run(
        "replay", "kept", "--format", "github", "--app", change_to("    return payload\n", "    return 0\n")
    )
    assert ran.code == 1
    at, message = command_of(ran.stdout.rstrip("\n"))
    assert at["title"] == "diverged: echo.say" and "     actual    0" in message


def test_only_replay_has_these_formats(app, run):
    """Other commands know nothing of them: 2."""
    assert run("list", "--format", "junit").code == 2


def test_a_person_is_told_what_to_do(routed, portable, run, change_to):
    """Below the divergences stand the ways to go on: mend, keep the old way, record anew, ignore."""
    portable(routed(), "kept/a.jsonl")
    app = change_to('    ctx.now()\n    return {"label"', '    ctx.uuid()\n    return {"label"')
    told = run("replay", "kept", "--format", "table", "--app", app).stdout
    assert '     before    effect llm [0] → "bug"\n' in told
    for way in ("not meant", "meant from now on: ctx.patched", "meant: intentusnet replay kept/a.jsonl"):
        assert f"  {way}" in told
    app = change_to('SHOP_PROMPT", "classify"', 'SHOP_PROMPT", "sort"')
    told = run("replay", "kept", "--format", "table", "--app", app).stdout
    assert "  does not matter: --ignore /args/0\n" in told


def test_text_tells_what_is_missing_and_cuts_what_is_long():
    """Nothing on a side is said in words, values are cut, and many divergences are counted."""
    found = Divergence(DivergenceKind.MISSING, "", "effect a [0]", "", "x" * 1000, {"$absent": True})
    item = CorpusItem(StoredRecord("0197"), "i", ReplayReport("0197", Verdict.DIVERGED, (found,) * 7))
    text = text_of(item)
    assert "(nothing)" in text and "… and 2 more" in text and "the execution itself" in text
    assert max(map(len, text.splitlines())) < 230
