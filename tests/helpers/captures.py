"""An agent whose calls of the world are captured: recorded once, replayed as it is or changed."""

from collections.abc import Callable
from typing import Any

from intentusnet import IntentusRuntime, MemoryExecutionStore, ReplayReport, Verdict
from intentusnet.capture import capture

Call = Callable[..., Any]


class Captured:
    """One agent, called once.

    Args:
        call: what the agent does: without arguments, or with its context.
        names: of the hooks.
        options: of the runtime.
    """

    def __init__(self, call: Call, *names: str, **options: Any) -> None:
        self._call = call
        self._capture = capture(*names)
        self._runtime = IntentusRuntime(**{"store": MemoryExecutionStore(), **options})

        def agent(ctx: Any) -> Any:
            return self._call(ctx) if self._call.__code__.co_argcount else self._call()

        self._runtime.agent("agent", handles="x")(agent)
        with self._capture:
            self.response = self._runtime.route("x")
        self.record = self._runtime.store.get(self.response.execution_id)

    @property
    def value(self) -> Any:
        assert self.response.ok, self.response.error
        return self.response.payload

    @property
    def asked(self) -> list[str]:
        """Kind and name of each question."""
        return [f"{asked.kind} {asked.name}" for asked in self.record.questions if asked.kind != "agent"]

    def replay(self, call: Call | None = None) -> ReplayReport:
        """Replays it, with another agent if one is given."""
        if call is not None:
            self._call = call
        with self._capture:
            return self._runtime.replay(self.record)

    def matches(self) -> None:
        report = self.replay()
        assert report.verdict is Verdict.MATCH, report

    def first(self, call: Call) -> tuple[str, str, str]:
        """Kind, question and pointer of what differs first with another agent."""
        report = self.replay(call)
        assert report.verdict is Verdict.DIVERGED
        found = report.divergences[0]
        return found.kind.value, found.question, found.pointer
