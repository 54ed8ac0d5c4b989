"""The SDKs of OpenAI and Anthropic, as they are, against a local server that speaks their protocols."""

import asyncio
import json

import anthropic
import openai
import pytest
from helpers.sites import Site, recorded_with, runtime_of

QUESTION = [{"role": "user", "content": "Say hello"}]
WORDS = ("Hel", "lo", "!")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TOOL = {
    "type": "function",
    "function": {
        "name": "login",
        "parameters": {"type": "object", "properties": {"password": {"type": "string"}}},
    },
}


def _sse(handler, events):
    handler.stream(
        tuple(
            (f"event: {event['type']}\n" if "type" in event else "").encode()
            + b"data: "
            + json.dumps(event).encode()
            + b"\n\n"
            for event in events
        )
        + ((b"data: [DONE]\n\n",) if "type" not in events[0] else ())
    )


def _openai(handler):
    asked = json.loads(handler.body)
    base = {"id": "c-1", "created": 1, "model": asked["model"]}
    if asked.get("stream"):
        deltas = [{"index": 0, "delta": {"content": word}, "finish_reason": None} for word in WORDS]
        _sse(handler, [{**base, "object": "chat.completion.chunk", "choices": [delta]} for delta in deltas])
        return
    message = {"role": "assistant", "content": "".join(WORDS)}
    logprobs = {
        "content": [{"token": "Hello", "logprob": -0.1, "bytes": None, "top_logprobs": []}],
        "refusal": None,
    }
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
    body = {**base, "object": "chat.completion", "choices": [choice], "usage": USAGE}
    handler.answer(json.dumps(body).encode(), ("Content-Type", "application/json"), ("x-request-id", "r-1"))


def _anthropic(handler):
    asked = json.loads(handler.body)
    message = {
        "id": "m-1",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    if asked.get("stream"):
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        deltas = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
            for word in WORDS
        ]
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
        stop = [{"type": "content_block_stop", "index": 0}, end, {"type": "message_stop"}]
        _sse(handler, [{"type": "message_start", "message": message}, block, *deltas, *stop])
        return
    thinking = {"type": "thinking", "thinking": "hm", "signature": "EqQBCgIYAhIkMmFhc2lnbmF0dXJl"}
    content = [thinking, {"type": "text", "text": "".join(WORDS)}]
    body = {**message, "content": content, "stop_reason": "end_turn"}
    handler.answer(json.dumps(body).encode(), ("Content-Type", "application/json"))


def serve():
    return Site({"/v1/chat/completions": _openai, "/v1/messages": _anthropic})


def _openai_options(url, key):
    return {"api_key": key, "base_url": f"{url}/v1", "max_retries": 0}


def _ask_openai(url, key):
    with openai.OpenAI(**_openai_options(url, key)) as client:
        answer = client.chat.completions.create(
            model="m", messages=QUESTION, max_tokens=5, logprobs=True, tools=[TOOL]
        )
        return json.loads(answer.to_json())


def _stream_openai(url, key):
    with openai.OpenAI(**_openai_options(url, key)) as client:
        chunks = client.chat.completions.create(model="m", messages=QUESTION, stream=True)
        return [chunk.choices[0].delta.content for chunk in chunks]


def _ask_openai_async(url, key):
    async def main():
        async with openai.AsyncOpenAI(**_openai_options(url, key)) as client:
            answers = await asyncio.gather(
                *(client.chat.completions.create(model=f"m{n % 2}", messages=QUESTION) for n in range(4))
            )
            return [json.loads(answer.to_json()) for answer in answers]

    return asyncio.run(main())


def _stream_openai_async(url, key):
    async def main():
        async with openai.AsyncOpenAI(**_openai_options(url, key)) as client:
            chunks = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
            return [chunk.choices[0].delta.content async for chunk in chunks]

    return asyncio.run(main())


def _anthropic_options(url, key):
    return {"api_key": key, "base_url": url, "max_retries": 0}


ASKED = {"model": "m", "max_tokens": 5, "messages": QUESTION}


def _ask_anthropic(url, key):
    with anthropic.Anthropic(**_anthropic_options(url, key)) as client:
        return json.loads(client.messages.create(**ASKED).to_json())


def _stream_anthropic(url, key):
    with (
        anthropic.Anthropic(**_anthropic_options(url, key)) as client,
        client.messages.stream(**ASKED) as stream,
    ):
        return [*stream.text_stream, stream.get_final_message().usage.output_tokens]


def _ask_anthropic_async(url, key):
    async def main():
        async with anthropic.AsyncAnthropic(**_anthropic_options(url, key)) as client:
            return json.loads((await client.messages.create(**ASKED)).to_json())

    return asyncio.run(main())


def _stream_anthropic_async(url, key):
    async def main():
        client = anthropic.AsyncAnthropic(**_anthropic_options(url, key))
        async with client, client.messages.stream(**ASKED) as stream:
            return [text async for text in stream.text_stream]

    return asyncio.run(main())


WAYS = [
    *(_ask_openai, _stream_openai, _ask_openai_async, _stream_openai_async),
    *(_ask_anthropic, _stream_anthropic, _ask_anthropic_async, _stream_anthropic_async),
]


@pytest.mark.parametrize("ask", WAYS)
def test_an_sdk_is_recorded_and_replayed_as_it_is(ask):
    """Each call of an SDK is on record, without its key, and replays without the server."""
    payload, questions = recorded_with(lambda url: ask(url, "a-key-of-the-recorder"), site=serve())
    assert "".join(WORDS) in json.dumps(payload) or payload[: len(WORDS)] == list(WORDS)
    assert questions
    assert b"a-key-of-the-recorder" not in b"".join(
        part for question in questions for part in (question.arguments, question.answer.data)
    )


@pytest.mark.parametrize("ask", WAYS)
def test_another_key_replays_the_same_record(ask):
    """A record made with one key is a match for whoever has another one."""
    key = ["the-first-key-there-was"]
    runtime = runtime_of(lambda url: ask(url, key[0]))
    with serve() as site:
        response = runtime.route("go", site.url)
    assert response.error is None, response.error
    key[0] = "none"
    assert runtime.replay(response.execution_id).divergences == ()


def test_what_models_say_of_tokens_and_signatures_is_no_secret():
    """Counters, token texts, schemas and signed reasoning are recorded as they came."""
    answer, (question,) = recorded_with(lambda url: _ask_openai(url, "key-key-key"), site=serve())
    assert answer["usage"] == USAGE
    assert answer["choices"][0]["logprobs"]["content"][0]["token"] == "Hello"
    asked = json.loads(question.arguments)["kwargs"]["body"]
    assert asked["max_tokens"] == 5 and asked["tools"] == [TOOL]
    answer, _ = recorded_with(lambda url: _ask_anthropic(url, "key-key-key"), site=serve())
    assert answer["content"][0]["signature"] == "EqQBCgIYAhIkMmFhc2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, "AuthenticationError"), (429, "RateLimitError"), (500, "InternalServerError")],
)
def test_errors_of_a_service_are_raised_again(status, expected):
    """What an SDK makes of an error's status and body is the same on replay."""
    site = Site(
        {
            "/v1/chat/completions": lambda handler: handler.answer(
                b'{"error": {"message": "no"}}', status=status
            )
        }
    )

    def body(url):
        try:
            _ask_openai(url, "key-key-key")
        except openai.APIStatusError as fault:
            return [type(fault).__name__, str(fault), fault.status_code]

    payload, _ = recorded_with(body, site=site)
    assert payload[0] == expected


def test_retries_of_an_sdk_are_on_record_each():
    """An SDK that tries again does so on replay, and each try gets its own answer."""
    tries = iter([503, 200])

    def flaky(handler):
        if next(tries) == 503:
            handler.answer(b"{}", ("retry-after-ms", "1"), status=503)
        else:
            _openai(handler)

    def body(url):
        with openai.OpenAI(api_key="key-key-key", base_url=f"{url}/v1", max_retries=2) as client:
            return client.chat.completions.create(model="m", messages=QUESTION).choices[0].message.content

    payload, questions = recorded_with(body, ("httpx2",), site=Site({"/v1/chat/completions": flaky}))
    assert payload == "Hello!" and len(questions) == 2
