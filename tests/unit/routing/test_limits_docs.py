"""docs/limits.md is run: its timelines, settings and examples are what the steps say."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intentusnet import limits as config
from intentusnet.errors import ConfigurationError
from intentusnet.response import ErrorCode
from intentusnet.routing.limits import breaker, concurrency, retry
from intentusnet.routing.limits.bucket import Rates

TEXT = (Path(__file__).parents[3] / "docs" / "limits.md").read_text(encoding="utf-8")
SECOND = 10**9
EXECUTION = "0190f3a0-0000-7000-8000-000000000000"


def ns(text: str) -> int:
    return config.nanoseconds(float(text.removesuffix(" s")))


def shown(nanoseconds: int) -> str:
    """Seconds as the page writes them, to the nanosecond."""
    whole, part = divmod(nanoseconds, SECOND)
    return f"{whole}.{part:09}".rstrip("0").rstrip(".") + " s"


def rows(table: list[str]) -> Iterator[list[str]]:
    for line in table[2:]:
        yield [cell.strip() for cell in line.strip().strip("|").split("|")]


def table_after(start: str) -> Iterator[list[str]]:
    """The rows of the first table after that text."""
    lines = TEXT[TEXT.index(start) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    last = next((n for n, line in enumerate(lines[first:], first) if not line.startswith("|")), len(lines))
    return rows(lines[first:last])


def timeline(kind: str) -> tuple[Any, list[list[str]]]:
    """The settings that a timeline is for, and its rows."""
    found = re.search(rf"^With `({kind}\(.*?\))`", TEXT, re.MULTILINE)
    assert found
    settings = eval(found[1], vars(config))  # noqa: S307 - the page is ours
    return settings, list(table_after(found[0]))


def test_the_timeline_of_a_retry() -> None:
    """Each delay is what is drawn for that execution."""
    settings, table = timeline("Retry")
    state = retry.RetryState(began=0)
    for at, failed, longest, told in table:
        code, _, after = failed.partition(", `retry_after` ")
        failure = retry.Failure(
            ErrorCode(code.strip("`")), repeatable=True, clean=False, retry_after=ns(after or "0")
        )
        calls = state.calls
        state, verdict = retry.step(
            state, ns(at), failure, settings=settings, execution_id=EXECUTION, scope="attempt:0"
        )
        assert told == (f"again after {shown(verdict.delay)}" if verdict.again else verdict.reason)
        if verdict.again:
            drawn = retry.jitter(EXECUTION, "attempt:0", calls, ns(longest))
            assert verdict.delay == drawn + failure.retry_after
    assert len(table) == 4


def test_the_timeline_of_a_breaker() -> None:
    """Who goes through, who is the probe, and when it opens and closes."""
    settings, table = timeline("Breaker")
    state, generations = breaker.BreakerState(), {}
    for at, what, told, phase in table:
        name, event = what.split(" ", 1)
        if event == "calls":
            state, verdict = breaker.admit(state, ns(at), settings=settings)
            generations[name] = state.generation
            admitted = "admitted as probe" if verdict.probe else "admitted"
            assert told == (
                admitted if verdict.admitted else f"refused, retry after {shown(verdict.retry_after)}"
            ), what
        else:
            result: Any = event.removeprefix("ends: ")
            state = breaker.settle(state, ns(at), generations[name], result, settings=settings)
        assert state.phase == phase, what
    assert len(table) == 16


def test_the_timeline_of_a_rate() -> None:
    """Who goes through, and when the others may come back."""
    settings, table = timeline("Rate")
    limiter = Rates([settings])
    for at, tenant, told in table:
        verdict = limiter.step(ns(at), agent="a", caller="c", tenant=tenant)
        waits = f"refused, retry after {shown(verdict.retry_after)}"
        assert told == ("admitted" if verdict.admitted else waits)
    assert len(table) == 12


def test_the_timeline_of_a_queue() -> None:
    """Places, estimates, and who runs next."""
    settings, table = timeline("Concurrency")
    state, names = concurrency.idle(settings), {}
    for at, what, told in table:
        name = what[0]
        if coming := re.fullmatch(r"\w comes with priority (\d+)(?: and deadline (\d+) s)?", what):
            state, verdict, _ = concurrency.enter(
                state,
                ns(at),
                settings=settings,
                priority=int(coming[1]),
                deadline=ns(coming[2]) if coming[2] else None,
            )
            said = {
                "admitted": "admitted",
                "queued": f"queued, place {verdict.place}, estimate {shown(verdict.estimate)}",
                "refused": f"refused, retry after {shown(verdict.retry_after)}",
            }[verdict.decision]
            if verdict.decision != "refused":
                names[state.issued] = name
        else:
            ticket = next(ticket for ticket, held in names.items() if held == name)
            state, changed = concurrency.leave(state, ns(at), ticket, settings=settings)
            expired = [f"{names[ticket]} expired" for ticket in changed.expired]
            said = ", ".join([*expired, *(f"{names[ticket]} runs" for ticket in changed.granted)])
        assert told == said, what
    assert len(table) == 9


DEFAULTS = {"none": None, "10,000": 10_000, "`count`": None, "`window`": None}


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("## Retries", config.Retry),
        ("## Circuit breaker", config.Breaker),
        ("## Rates", config.Rate),
        ("## Concurrency", config.Concurrency),
    ],
)
def test_each_setting_is_on_the_page_with_its_default(heading: str, kind: type[config.Retry]) -> None:
    """No more settings than there are, no fewer, and no other defaults."""
    table = list(table_after(heading))
    assert [row[0].strip("`") for row in table] == list(kind.model_fields)
    for name, told, _ in table:
        info = kind.model_fields[name.strip("`")]
        if told == "required":
            assert info.is_required()
        elif name in ("`on`", "`counts`"):
            assert set(told.replace("`", "").split()) == set(info.default)
        else:
            assert info.default == (DEFAULTS[told] if told in DEFAULTS else float(told))


def test_the_codes_that_are_never_retried_or_counted_are_on_the_page() -> None:
    """Each of them, and no other."""
    retried = next(row[1] for row in table_after("**Whether.**") if row[0] == "`code`")
    assert set(re.findall(r"`([A-Z_]+)`", retried)) == config.NEVER_RETRIED
    counted = TEXT[TEXT.index("do not end a row.") : TEXT.index("are always neutral")]
    assert set(re.findall(r"`([A-Z_]+)`", counted)) == config.NEVER_COUNTED


def test_the_reasons_on_the_page_are_those_of_the_steps() -> None:
    """Each of them, and no other; their order is held by the tests of the steps."""
    told = [row[0].strip("`") for row in table_after("**Whether.**")]
    given = re.findall(r'(?:return |reason=)"(\w+)"', inspect.getsource(retry))
    assert sorted(told) == sorted(given)


def test_the_examples_run_and_the_error_is_what_it_says() -> None:
    """Its settings can be made, and the one that cannot says why."""
    code = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(code) == 2
    for example in code:
        exec(example, {"__name__": "page"})  # noqa: S102 - the page is ours
    with pytest.raises(ConfigurationError) as fault:
        config.Retry(base=30)
    assert f"```\n{fault.value}\n```" in TEXT
