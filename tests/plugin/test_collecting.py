"""The pytest plugin: records as tests."""

import json
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from intentusnet import load_record

APP = "--intentus-app=desk:runtime"


def ids_of(project):
    return {path.stem: load_record(path).execution_id for path in (project / "kept").glob("*.jsonl")}


def test_each_record_is_a_test(project, run_pytest):
    """A directory of records is collected, one test an execution, named by intent and id, and all match."""
    ran = run_pytest("kept", APP, "-v")
    ran.assert_outcomes(passed=2)
    ids = ids_of(project)
    ran.stdout.fnmatch_lines(
        [
            f"kept/crash.jsonl::ticket.classify[[]{ids['crash']}[]] PASSED*",
            f"kept/hello.jsonl::echo.say[[]{ids['hello']}[]] PASSED*",
        ]
    )


def test_the_failure_is_the_divergence(run_pytest, change):
    """What is different, where, and what to do is told; where the plugin raised it is not."""
    change()
    ran = run_pytest("kept", APP)
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(
        [
            "  1. arguments: asked with other arguments",
            "     question  effect model [[]0[]]",
            "     pointer   /args/0",
            '     expected  "bug or question? it crashes"',
            '     actual    "question or bug? it crashes"',
            "*intentusnet replay kept/crash.jsonl --update*",
        ]
    )
    assert "Traceback" not in ran.stdout.str() and "pytest_plugin.py" not in ran.stdout.str()


@pytest.mark.parametrize("word", ["echo", "hello", "id"])
def test_tests_are_chosen_by_intent_file_or_id(project, run_pytest, word):
    """-k finds a record by a part of its intent's name, of its file's name, or of its id."""
    ran = run_pytest("kept", APP, "-k", ids_of(project)["hello"] if word == "id" else word)
    ran.assert_outcomes(passed=1, deselected=1)


@pytest.mark.parametrize("where", ["ini", "environment", "project"])
def test_the_app_may_come_from_settings(project, run_pytest, pytester, monkeypatch, where):
    """An ini option, the environment, or [tool.intentusnet] name the app as well."""
    if where == "ini":
        pytester.makeini("[pytest]\nintentus_app = desk:runtime\n")
    elif where == "environment":
        monkeypatch.setenv("INTENTUSNET_APP", "desk:runtime")
    else:
        pytester.makepyprojecttoml('[tool.intentusnet]\napp = "desk:runtime"\n')
    run_pytest("kept").assert_outcomes(passed=2)


def test_without_an_app_nothing_is_collected(run_pytest):
    """Records are files like any other until somebody says which app they belong to."""
    ran = run_pytest("kept")
    assert ran.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_an_unused_plugin_imports_nothing(run_pytest, pytester, project):
    """In a project without records, nothing of the package is imported beyond the plugin's own module."""
    pytester.makepyfile(
        test_own="""
        import sys

        def test_own():
            ours = sorted(name for name in sys.modules if name.partition(".")[0] == "intentusnet")
            assert ours == ["intentusnet", "intentusnet.pytest_plugin"]
            assert "pydantic" not in sys.modules and "click" not in sys.modules
        """
    )
    run_pytest("test_own.py").assert_outcomes(passed=1)


def test_other_lines_of_json_are_left_alone(project, run_pytest):
    """JSON lines that are no record, and the segments of a store, are not collected."""
    record = (project / "kept/hello.jsonl").read_bytes()
    (project / "kept/data.jsonl").write_text(json.dumps({"n": 1}) + "\n")
    (project / "kept/empty.jsonl").write_text("")
    (project / "kept/store/log").mkdir(parents=True)
    (project / "kept/store/store.json").write_text("{}")
    (project / "kept/store/log/00000000000000000000.jsonl").write_bytes(record)
    run_pytest("kept", APP).assert_outcomes(passed=2)


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_records_of_asynchronous_agents_are_awaited(project, run_pytest, pytester, workers):
    """Beside those of plain ones, in a loop that nobody has to make; what diverges fails."""
    pytester.makepyfile(
        pages="""
        from desk import runtime
        from intentusnet import AsyncContext

        @runtime.agent("reader", handles="pages.read", side_effect="read_only")
        async def reader(pages: int, ctx: AsyncContext) -> list:
            return await ctx.map(lambda page: ctx.effect("fetch", fetch, page), range(pages))

        async def fetch(page: int) -> str:
            return f"page {page}"
        """,
        keep_pages="""
        import asyncio
        from pathlib import Path
        from intentusnet import MemoryExecutionStore
        from pages import runtime

        recording = runtime.configure(store=MemoryExecutionStore())
        response = asyncio.run(recording.route_async("pages.read", 2))
        assert response.payload == ["page 0", "page 1"]
        Path("kept/pages.jsonl").write_bytes(recording.store.get(response.execution_id).to_jsonl())
        """,
    )
    subprocess.run([sys.executable, "keep_pages.py"], cwd=project, check=True)
    args = ("kept", "--intentus-app=pages:runtime", *workers)
    plugins = ("xdist.plugin",) if workers else ()
    run_pytest(*args, plugins=plugins).assert_outcomes(passed=3)
    changed = (project / "pages.py").read_text().replace("fetch, page)", "fetch, page + 1)")
    (project / "pages.py").write_text(changed)
    os.utime(project / "pages.py", ns=(0, 0))  # another time than that of the bytecode
    ran = run_pytest(*args, plugins=plugins)
    ran.assert_outcomes(passed=2, failed=1)
    ran.stdout.fnmatch_lines(["*scope     attempt:0/gather:0.0", "*pointer   /args/0"])


def test_a_damaged_record_fails(project, run_pytest):
    """A record whose bytes are not what was written is a failure that says so, under its file's name."""
    path = project / "kept/hello.jsonl"
    path.write_bytes(path.read_bytes().replace(b"hello", b"hallo", 1))
    ran = run_pytest("kept", APP, "-v")
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(
        ["kept/hello.jsonl::hello FAILED*", "broken  kept/hello.jsonl", "*committed to*"]
    )


def test_an_app_that_cannot_be_loaded_is_told(run_pytest):
    """Every record fails with what is wrong with the app, without a traceback of this package."""
    ran = run_pytest("kept", "--intentus-app=desk:runtim")
    ran.assert_outcomes(failed=2)
    ran.stdout.fnmatch_lines(["*has no 'runtim'*Did you mean 'runtime'*"])
    assert "pytest_plugin.py" not in ran.stdout.str()


def test_settings_that_make_no_sense_are_told(run_pytest, pytester):
    """A misspelt setting of the project ends the collection with a sentence, not with a traceback."""
    pytester.makepyprojecttoml('[tool.intentusnet]\napps = "desk:runtime"\n')
    ran = run_pytest("kept")
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["there is no setting 'apps'*Did you mean 'app'?*"])
    assert "Traceback" not in ran.stdout.str() and "settings.py" not in ran.stdout.str()


def test_workers_of_xdist_share_the_records(project, run_pytest, change):
    """With xdist each record is replayed once, by one of the workers, and failures arrive."""
    change()
    ran = run_pytest("kept", APP, "-n", "2", plugins=("xdist.plugin",))
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["*asked with other arguments*"])


def test_junit_has_properties(project, run_pytest, change):
    """A JUnit report says of each record its intent, id, verdict, and what guarded the replay."""
    change()
    run_pytest("kept", APP, "--junitxml=report.xml")
    ids, found = ids_of(project), {}
    for case in ElementTree.parse(project / "report.xml").iter("testcase"):
        properties = {item.get("name"): item.get("value") for item in case.iter("property")}
        assert "audit-hook" in properties.pop("guards")
        found[case.get("classname")] = properties
    assert found == {
        "kept.crash.jsonl": {
            "intent": "ticket.classify", "execution_id": ids["crash"], "verdict": "diverged",
        },
        "kept.hello.jsonl": {"intent": "echo.say", "execution_id": ids["hello"], "verdict": "match"},
    }  # fmt: skip


def test_a_record_beside_tests_is_one_of_them(project, run_pytest, pytester):
    """Records are collected wherever tests are, beside those in Python."""
    pytester.makepyfile(test_own="def test_own(): pass")
    run_pytest(APP).assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("args", "ini"),
    [
        (["--intentus-strictness=effects"], ""),
        ([], "intentus_strictness = effects"),
        ([], "intentus_ignore = ticket.*=arguments:/args/0"),
    ],
)
def test_what_is_compared_may_be_set(run_pytest, pytester, change, args, ini):
    """Strictness and ignored places, by option or ini option, decide what is a failure."""
    change()
    pytester.makeini(f"[pytest]\n{ini}\n")
    run_pytest("kept", APP, *args).assert_outcomes(passed=2)
