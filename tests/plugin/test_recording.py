"""The fixture `intentus_recorded`: what a test records must replay."""

import pytest

TEST = """
import itertools
from desk import runtime

numbers = itertools.count()

@runtime.agent("unsteady", handles="number.draw", side_effect="read_only")
def unsteady():
    return next(numbers)

def test_steady(intentus_recorded):
    recording = intentus_recorded(runtime)
    assert recording.route("ticket.classify", {"text": "it crashes"}).payload == "bug"
    assert recording.route("echo.say", 1).payload == 1

def test_unsteady(intentus_recorded):
    recording = intentus_recorded(runtime)
    assert recording.route("echo.say", 1).ok
    assert recording.route("number.draw").ok

def test_nothing(intentus_recorded):
    pass
"""


@pytest.fixture
def tests(pytester, project):
    pytester.makepyfile(test_own=TEST)


def test_what_was_recorded_is_replayed(tests, run_pytest):
    """At its end, all that a test routed is replayed; what does not match fails it, with the divergence."""
    ran = run_pytest("test_own.py")
    ran.assert_outcomes(passed=3, errors=1)
    ran.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_unsteady*", "what was recorded does not replay", "diverged*number.draw"]
    )
    assert "echo.say" not in ran.stdout.str().partition("does not replay")[2].partition("=====")[0]


def test_the_own_runtime_is_not_recorded(pytester, project, run_pytest):
    """Another runtime with the same agents records, in memory: the app's own store stays empty."""
    pytester.makepyfile(
        test_own="""
        from desk import runtime

        def test_it(intentus_recorded):
            recording = intentus_recorded(runtime)
            recording.route("echo.say", 1)
            assert recording is not runtime and runtime.store is None
            assert len(recording.store.list().rows) == 1
        """
    )
    run_pytest("test_own.py").assert_outcomes(passed=1)
    assert not (project / ".intentusnet").exists()


def test_asynchronous_agents_are_awaited(pytester, project, run_pytest):
    """What a test routed with a loop of its own is replayed after it, in another one."""
    pytester.makepyfile(
        test_own="""
        import asyncio, itertools
        from desk import runtime
        from intentusnet import AsyncContext

        numbers = itertools.count()

        @runtime.agent("steady", handles="steady.draw", side_effect="read_only")
        async def steady(ctx: AsyncContext):
            return await ctx.effect("draw", numbers.__next__)

        @runtime.agent("unsteady", handles="unsteady.draw", side_effect="read_only")
        async def unsteady(ctx: AsyncContext):
            return next(numbers)

        def test_steady(intentus_recorded):
            recording = intentus_recorded(runtime)
            assert asyncio.run(recording.route_async("steady.draw")).ok
            assert recording.route("echo.say", 1).ok

        def test_unsteady(intentus_recorded):
            assert asyncio.run(intentus_recorded(runtime).route_async("unsteady.draw")).ok
        """
    )
    ran = run_pytest("test_own.py")
    ran.assert_outcomes(passed=2, errors=1)
    ran.stdout.fnmatch_lines(["*ERROR at teardown of test_unsteady*", "diverged*unsteady.draw"])


def test_nothing_is_recorded_in_ci(tests, run_pytest, monkeypatch):
    """Where CI is set, tests that record are skipped with the reason, and run if that is asked for."""
    monkeypatch.setenv("CI", "true")
    ran = run_pytest("test_own.py", "-rs")
    ran.assert_outcomes(skipped=3)
    ran.stdout.fnmatch_lines(["*nothing is recorded in CI, unless --intentus-record is given*"])
    run_pytest("test_own.py", "--intentus-record").assert_outcomes(passed=3, errors=1)
