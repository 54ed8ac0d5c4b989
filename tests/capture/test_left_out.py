"""What agents raise, and the variables that they read, are on record without the secrets in them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from intentusnet import AgentFailure, AsyncContext, Context, FileExecutionStore, IntentusRuntime, Redaction
from intentusnet.capture import capture

SECRET = "sk-live-51H8xkQ2eZvKYlo2C"


def written(store: Path) -> bytes:
    return b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_an_agent_raises_tells_no_secret(tmp_path: Path, asynchronous: bool) -> None:
    """The URL of a failed request, an option, details: the record and the response are without the secret."""
    faults: list[Exception] = [
        RuntimeError(f"401 Unauthorized for https://api.example/v1?api_key={SECRET}&page=2"),
        ValueError(f"no such option: --password {SECRET}"),
        AgentFailure("refused", code="UNAUTHORIZED", details={"authorization": f"Bearer {SECRET}"}),
    ]
    with IntentusRuntime(store=FileExecutionStore(tmp_path / "store", "os")) as runtime:

        def fails(number: int) -> None:
            raise faults[number]

        async def fails_later(number: int) -> None:
            raise faults[number]

        runtime.agent("a", handles="x", side_effect="read_only")(fails_later if asynchronous else fails)
        for number in range(len(faults)):
            if asynchronous:
                response = asyncio.run(runtime.route_async("x", number))
                report = asyncio.run(runtime.replay_async(response.execution_id))
            else:
                response = runtime.route("x", number)
                report = runtime.replay(response.execution_id)
            assert response.error is not None
            assert SECRET not in str(response.error.tree())
            assert report.verdict == "match"
    assert SECRET.encode() not in written(tmp_path / "store")


def test_a_message_without_secrets_stays_as_it_is() -> None:
    """Counts of tokens, names of fields and plain words are no secrets."""
    runtime = IntentusRuntime()
    message = "max_tokens=512 exceeded by prompt_tokens: 700; the password field is missing"

    @runtime.agent("a", handles="x")
    def agent() -> None:
        raise RuntimeError(message)

    error = runtime.route("x").error
    assert error is not None
    assert error.message == message


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "DB_PASSWORD", "GITHUB_TOKEN"])
def test_a_secret_variable_is_read_and_not_written(tmp_path: Path, name: str) -> None:
    """The agent gets its value, the record a placeholder; with another value the record still matches."""
    used: list[str | None] = []

    def call(key: str, path: str) -> int:
        used.append(key)
        return len(path)

    def agent(ctx: Context) -> int:
        key = ctx.env(name, "none")
        return ctx.effect("call", call, key, path="/v1")

    store = FileExecutionStore(tmp_path / "store", "os")
    with IntentusRuntime(store=store, environ={name: SECRET}) as runtime:
        runtime.agent("a", handles="x", side_effect="read_only")(agent)
        response = runtime.route("x")
        assert used == [SECRET]
        record = store.get(response.execution_id)
        for environ in ({}, {name: "another"}):
            other = IntentusRuntime(environ=environ)
            other.agent("a", handles="x", side_effect="read_only")(agent)
            report = other.replay(record)
            assert report.verdict == "match", report.divergences
    assert used == [SECRET]
    assert SECRET.encode() not in written(tmp_path / "store")


def test_other_variables_are_on_record() -> None:
    """What is no secret by its name is written, and given back by a replay."""
    runtime = IntentusRuntime(environ={"REGION": "north", "MAX_TOKENS": "512"})

    @runtime.agent("a", handles="x")
    def agent(ctx: Context) -> Any:
        return [ctx.env("REGION"), ctx.env("MAX_TOKENS"), ctx.env("API_KEY"), ctx.env("API_KEY", "none")]

    assert runtime.route("x").payload == ["north", "512", None, "none"]


def test_the_users_patterns_hold_for_what_is_raised(tmp_path: Path) -> None:
    """A pattern of the runtime's redaction is looked for in exceptions, of asynchronous agents too."""
    redaction = Redaction(patterns=[r"customer-\d+"])
    store = FileExecutionStore(tmp_path / "store", "os")
    with IntentusRuntime(store=store, capture=capture("process", redaction=redaction)) as runtime:

        @runtime.agent("a", handles="x", side_effect="read_only")
        async def agent(ctx: AsyncContext) -> None:
            raise LookupError("there is no customer-4711")

        response = asyncio.run(runtime.route_async("x"))
    assert response.error is not None
    assert "4711" not in response.error.message
    assert b"4711" not in written(tmp_path / "store")
