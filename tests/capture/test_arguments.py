"""Secrets among the arguments of effects and notes: not written down, and no obstacle to a match."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, Secret, SecretBytes, SecretStr

import intentusnet
from intentusnet import Context, IntentusRuntime, MemoryExecutionStore, Redaction, Verdict, values
from intentusnet.capture.arguments import _SIGN
from intentusnet.capture.redaction import SIGNS
from intentusnet.capture.secret_names import ENDS, SECRET_HEADERS, SECRET_KEYS
from tests.helpers.runtimes import runtime_of

SECRET = "hunter2-Zq7xWf-correct-horse"
OTHER = "another-one-entirely"


class Credentials(BaseModel):
    user: str
    password: SecretStr


def calling(*args: Any, redaction: Redaction | None = None, **kwargs: Any) -> IntentusRuntime:
    """A runtime whose agent calls an effect, and writes a note, with these arguments."""
    capture = False if redaction is None else intentusnet.capture("process", redaction=redaction)
    runtime = runtime_of(capture=capture)

    @runtime.agent("agent", handles="go")
    def agent(ctx: Context) -> Any:
        if all(values.is_text(str(name)) for name in kwargs):
            ctx.log("note", data=[repr(kind) for kind in map(type, args)], **kwargs)
        return ctx.effect("call", lambda *told, **named: len(told) + len(named), *args, **kwargs)

    return runtime


WAYS: dict[str, Callable[[str], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "a header": lambda secret: (({"headers": {"Authorization": f"Bearer {secret}", "Cookie": secret}},), {}),
    "headers as pairs": lambda secret: (([("X-Api-Key", secret), ("accept", "*/*")],), {}),
    "headers as bytes": lambda secret: (({"authorization": secret.encode()},), {}),
    "a keyword": lambda secret: ((), {"password": secret}),
    "a key, deep down": lambda secret: (([{"a": ({"api_key": secret},)}],), {}),
    "keys that are no names": lambda secret: (({1: 2, "client_secret": secret},), {}),
    "a URL": lambda secret: ((f"https://user:{secret}@host/path?access_token={secret}&page=2",), {}),
    "a URL in bytes": lambda secret: ((f"GET https://host/?api_key={secret}".encode(),), {}),
    "JSON in a text": lambda secret: ((f'{{"password": "{secret}", "n": 1}}',), {}),
    "a text that is none": lambda secret: (({"password": f"{secret}\udc80"},), {}),
    "pydantic's secrets": lambda secret: (
        (SecretStr(secret), [SecretBytes(secret.encode())], Secret(secret)),
        {"login": Credentials(user="ada", password=SecretStr(secret))},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_not_written_and_another_one_matches(way: str) -> None:
    """Neither as it is nor encoded; whoever runs it with another key, or with none, gets a match."""
    args, kwargs = WAYS[way](SECRET)
    runtime = calling(*args, **kwargs)
    response = runtime.route("go")
    assert response.payload == len(args) + len(kwargs)
    assert runtime.store is not None
    record = runtime.store.get(response.execution_id)
    written = record.to_jsonl()
    for form in (SECRET.encode(), *(base64.b64encode(b"_" * n + SECRET.encode())[4:-4] for n in range(3))):
        assert form not in written
    args, kwargs = WAYS[way](OTHER)
    assert calling(*args, **kwargs).replay(record).divergences == ()


@pytest.mark.parametrize(
    "told",
    [
        {"max_tokens": 7, "token": "abc", "next_page_token": "p2", "signature": "s", "key": "k"},
        ["password", "not a secret: a pair of texts"],
        {"password": {"type": "string"}, "authorization": None, "secret": ""},
        "the key to the problem is authentication",
        b"\x00\xff\xfe",
    ],
)
def test_what_is_no_secret_is_compared_as_it_is(told: Any) -> None:
    """Counters, words, schemas and bytes stand in the record unchanged."""
    runtime = calling(told)
    record = runtime.store.get(runtime.route("go").execution_id)  # type: ignore[union-attr] - it has one
    (asked,) = [question for question in record.questions if question.kind == "effect"]
    assert asked.arguments == values.encode_arguments((told,), {})


def test_the_patterns_and_keys_of_the_user_hold_for_effects() -> None:
    """What a setting calls a secret is none of the record's, wherever it is passed."""
    redaction = Redaction(keys=["pin"], patterns=[r"ACME-\w+"])
    runtime = calling("order ACME-47110815 now", {"pin": "1234"}, b"ACME-47110815", redaction=redaction)
    record = runtime.store.get(runtime.route("go").execution_id)  # type: ignore[union-attr] - it has one
    written = record.to_jsonl()
    assert b"47110815" not in written and b'"1234"' not in written and b"order [redacted] now" in written
    other = calling("order ACME-1 now", {"pin": "9"}, b"ACME-2", redaction=redaction)
    assert other.replay(record).verdict is Verdict.MATCH
    moved = calling("order ACME-1 later", {"pin": "9"}, b"ACME-2", redaction=redaction)
    assert [d.pointer for d in moved.replay(record).divergences] == ["/args/0"]


def secret_alone() -> SecretStr:
    return SecretStr(SECRET)


def secret_inside() -> Credentials:
    return Credentials(user="ada", password=SecretStr(SECRET))


def test_a_record_from_before_the_setting_still_matches() -> None:
    """What stands there in plain is compared as it would be written now, and reported so."""
    then = IntentusRuntime(store=MemoryExecutionStore())
    redaction = Redaction(patterns=["ACME-[0-9]+"])

    def asking(runtime: IntentusRuntime, *told: Any) -> IntentusRuntime:
        @runtime.agent("agent", handles="go")
        def agent(ctx: Context) -> Any:
            return [ctx.effect("call", lambda value: 1, value) for value in told]

        return runtime

    told = {"password": SECRET}, "order ACME-47110815", 7
    asking(then, *told)
    record = then.store.get(then.route("go").execution_id)  # type: ignore[union-attr] - it has one
    now = runtime_of(capture=intentusnet.capture("process", redaction=redaction))
    assert asking(now, *told).replay(record).divergences == ()
    changed = runtime_of(capture=intentusnet.capture("process", redaction=redaction))
    report = asking(changed, {"password": OTHER}, "orders ACME-1", 7).replay(record)
    (found,) = report.divergences
    assert (found.question, found.expected) == ("effect call [1]", "order [redacted]")


@pytest.mark.parametrize(
    ("redaction", "told"),
    [
        (Redaction(patterns=["ACME-[0-9]+"]), "order ACME-47110815"),
        (Redaction(keys=["pin"]), {"pin": "47110815"}),
        (Redaction(headers=["x-own"]), {"X-Own": "47110815"}),
    ],
    ids=["patterns", "keys", "headers"],
)
def test_each_part_of_a_setting_is_enough(redaction: Redaction, told: Any) -> None:
    """There need not be anything else in the arguments that looks like a secret."""
    runtime = calling(told, redaction=redaction)
    assert b"47110815" not in runtime.store.get(runtime.route("go").execution_id).to_jsonl()  # type: ignore[union-attr] - it has one


@pytest.mark.parametrize(
    "fetch", [secret_alone, secret_inside, lambda: SecretStr(SECRET), lambda: {"key": SecretBytes(b"x")}]
)
def test_an_effect_that_answers_with_a_secret_is_refused(fetch: Callable[[], Any]) -> None:
    """A replay could not come back with it; neither is it written, nor does the agent get another one."""
    runtime = runtime_of()
    runtime.agent("agent", handles="go")(lambda ctx: ctx.effect("fetch", fetch))
    response = runtime.route("go")
    assert response.error is not None
    assert response.error.type == "UnrecordableValue"
    assert "A secret is not written down" in response.error.message
    assert SECRET.encode() not in runtime.store.get(response.execution_id).to_jsonl()  # type: ignore[union-attr] - it has one
    assert runtime.replay(response.execution_id).verdict is Verdict.MATCH


@pytest.mark.parametrize("name", sorted({*SECRET_HEADERS, *SECRET_KEYS, *ENDS}))
def test_whatever_is_a_secret_by_its_name_is_looked_for(name: str) -> None:
    """The quick look at the bytes passes over nothing."""
    assert any(sign in name.encode() for sign in SIGNS)


@pytest.mark.parametrize("sign", SIGNS)
def test_each_sign_is_seen_and_nothing_that_only_resembles_one(sign: bytes) -> None:
    """The first look at arguments finds a sign wherever it stands, and no text that has none."""
    changed = [sign[:at] + other + sign[at + 1 :] for at in range(len(sign)) for other in (b"", b"~", b"e")]
    for text in (sign, b"k" + sign, sign * 2, *changed):
        has_one = any(one in text for one in SIGNS)
        assert (_SIGN.search(b"{" + text + b"}") is not None) is has_one, text
