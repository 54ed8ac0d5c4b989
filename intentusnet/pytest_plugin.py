"""The pytest plugin: portable records are tests, and a fixture replays what a test has recorded.

``pytest records/ --intentus-app module:attr`` collects each record below ``records/``, one test an execution.
The app may also be named by the ini option ``intentus_app``, by INTENTUSNET_APP, or in ``[tool.intentusnet]``
of ``pyproject.toml``. Without an app nothing is collected; without records nothing else is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from intentusnet.cli.settings import Settings
    from intentusnet.runtime import IntentusRuntime

_SUFFIX: Final = ".jsonl"
#: How each line of a log begins; no other JSON lines are taken for records.
_BEGINNING: Final = b'{"seq":'
#: Marks the directory of a store, whose log consists of such lines too.
_STORE_FILE: Final = "store.json"

_SETTINGS: Final = pytest.StashKey["Settings | None"]()
_OPTIONS: Final = pytest.StashKey[dict[str, Any]]()
_RUNTIME: Final = pytest.StashKey["IntentusRuntime"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options and the ini option."""
    group = parser.getgroup("intentusnet", "records of executions")
    group.addoption(
        "--intentus-app", metavar="MODULE:ATTR", help="Replay portable records (*.jsonl) with this app."
    )
    group.addoption(
        "--intentus-record",
        action="store_true",
        help="Let the fixture intentus_recorded record in CI too, where tests that use it are skipped.",
    )
    group.addoption(
        "--intentus-strictness",
        choices=("effects", "args", "result", "strict"),
        help="How closely a replay compares (default: result).",
    )
    parser.addini("intentus_strictness", "How closely a replay compares.", default="result")
    parser.addini(
        "intentus_ignore", "Places that a replay does not compare: [INTENT=]PLACE.", type="linelist"
    )
    parser.addini("intentus_app", "The app that portable records are replayed with: module:attr.")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collects a portable record, if there is an app to replay it with."""
    if file_path.suffix != _SUFFIX or not _is_record(file_path) or _settings(parent.config) is None:
        return None
    return RecordFile.from_parent(parent, path=file_path)


class RecordFile(pytest.File):
    """A portable record; it holds one execution."""

    def collect(self) -> Iterator[pytest.Item]:
        """One test: named by the intent and the execution's id."""
        from intentusnet.errors import IntentusError
        from intentusnet.stores.portable import load_record

        name = self.path.stem
        with suppress(IntentusError):  # running the test says what is wrong with it
            record = load_record(self.path)
            name = f"{record.intent}[{record.execution_id}]"
        yield RecordItem.from_parent(self, name=name)


class RecordItem(pytest.Item):
    """The replay of one record."""

    def runtest(self) -> None:
        """Replays it.

        Raises:
            ReplayFailed: it does not match, or cannot be replayed, or its bytes are not what was written.
        """
        from intentusnet.replay.corpus import replay_one
        from intentusnet.replay.loads import RecordFile as Load
        from intentusnet.replay.reports import text_of, verdict_of

        item = replay_one(Load(_relative(self.path)), _runtime(self.config), _options(self.config))
        verdict = verdict_of(item)
        if item.report is not None:
            self.user_properties += [
                ("intent", item.intent),
                ("execution_id", item.report.execution_id),
                ("guards", ", ".join(item.report.guards)),
            ]
        self.user_properties.append(("verdict", verdict))
        if verdict != "match":
            raise ReplayFailed(text_of(item))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What diverged; where this package raised it helps nobody."""
        from intentusnet.errors import IntentusError

        if isinstance(excinfo.value, ReplayFailed | IntentusError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The file, and what was replayed."""
        return self.path, None, f"replay of {self.name}"


class ReplayFailed(Exception):
    """A record does not replay; the message is the report."""


@pytest.fixture
def intentus_recorded(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[IntentusRuntime], IntentusRuntime]]:
    """Records what a test does, and at its end replays all of it: everything must match.

    It is called with a runtime and returns one with the same agents that records in memory::

        def test_refund(intentus_recorded):
            response = intentus_recorded(runtime).route("refund.issue", {"amount": 5})

    To record is to meet the world, so where the variable CI is set, the test is skipped, unless pytest is
    started with ``--intentus-record``.
    """
    if os.environ.get("CI") and not request.config.getoption("--intentus-record"):
        pytest.skip("nothing is recorded in CI, unless --intentus-record is given")
    from intentusnet.stores.memory import MemoryExecutionStore

    made: list[IntentusRuntime] = []

    def recorded(runtime: IntentusRuntime) -> IntentusRuntime:
        made.append(runtime.configure(store=MemoryExecutionStore(clock=runtime.clock)))
        return made[-1]

    yield recorded
    told = [text for runtime in made for text in _mismatches(runtime)]
    if told:
        pytest.fail("what was recorded does not replay\n" + "\n".join(told), pytrace=False)


def _mismatches(runtime: IntentusRuntime) -> Iterator[str]:
    from intentusnet.replay.corpus import replay_all
    from intentusnet.replay.loads import StoredRecord, every
    from intentusnet.replay.reports import text_of, verdict_of
    from intentusnet.stores.base import EVERYTHING

    assert runtime.store is not None
    loads = [StoredRecord(row.execution_id) for row in every(runtime.store, EVERYTHING)]
    for item in replay_all(loads, lambda: runtime):
        if verdict_of(item) != "match":
            yield text_of(item)


def _is_record(path: Path) -> bool:
    """Whether it begins as a record does, and is no part of a store."""
    try:
        with path.open("rb") as file:
            begins = file.read(len(_BEGINNING)) == _BEGINNING
    except OSError:
        return False
    return begins and not any((folder / _STORE_FILE).exists() for folder in path.parents)


def _settings(config: pytest.Config) -> Settings | None:
    """The settings; None without an app.

    Raises:
        CollectError: the project file is malformed.
    """
    if _SETTINGS not in config.stash:
        from intentusnet.cli.settings import resolve_settings
        from intentusnet.errors import ConfigurationError

        app = config.getoption("--intentus-app") or config.getini("intentus_app") or None
        try:
            settings = resolve_settings(app=app, directory=config.rootpath)
        except ConfigurationError as fault:
            raise pytest.Collector.CollectError(str(fault)) from fault
        config.stash[_SETTINGS] = settings if settings.app.is_set else None
    return config.stash[_SETTINGS]


def _runtime(config: pytest.Config) -> IntentusRuntime:
    """The app's runtime, loaded when the first record is replayed."""
    if _RUNTIME not in config.stash:
        from intentusnet.cli.settings import configured_runtime

        settings = _settings(config)
        assert settings is not None
        config.stash[_RUNTIME] = configured_runtime(settings)
    return config.stash[_RUNTIME]


def _options(config: pytest.Config) -> dict[str, Any]:
    """What a replay compares."""
    if _OPTIONS not in config.stash:
        from intentusnet.cli.settings import ignore_of
        from intentusnet.replay.strictness import strictness_of

        chosen = config.getoption("--intentus-strictness") or config.getini("intentus_strictness")
        config.stash[_OPTIONS] = {
            "strictness": strictness_of(chosen),
            "ignore": ignore_of(config.getini("intentus_ignore"), "intentus_ignore"),
        }
    return config.stash[_OPTIONS]


def _relative(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
