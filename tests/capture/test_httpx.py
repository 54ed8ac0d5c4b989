"""httpx, and httpx2, which has the same classes: recorded against a real server, replayed without one."""

import asyncio
import importlib
import json
import threading

import pytest
from helpers.sites import PIECES, Site, recorded, recorded_with, runtime_of, told

NAMES = ("httpx", "httpx2")


@pytest.fixture(params=NAMES)
def httpx(request):
    return importlib.import_module(request.param)


def both(httpx, ask):
    """The same with a sync and an async client: `ask` is handed a function that sends, and returns data."""

    def run_sync(url):
        with httpx.Client(base_url=url, follow_redirects=True, timeout=30) as client:
            return [ask_result(client.request(*args, **options)) for args, options in ask]

    def run_async(url):
        async def main():
            async with httpx.AsyncClient(base_url=url, follow_redirects=True, timeout=30) as client:
                return [ask_result(await client.request(*args, **options)) for args, options in ask]

        return asyncio.run(main())

    return run_sync, run_async


def ask_result(response):
    return {
        "body": response.content,
        "headers": [list(pair) for pair in response.headers.multi_items() if pair[0] != "set-cookie"],
        "history": [hop.status_code for hop in response.history],
        "reason": response.reason_phrase,
        "status": response.status_code,
        "url": str(response.url),
        "version": response.http_version,
    }


REQUESTS = [
    (("GET", "/plain?a=1&a=2"), {}),
    (("POST", "/json"), {"json": {"b": [1, 2.5, None]}}),
    (("PUT", "/form"), {"data": {"name": "value"}}),
    (("POST", "/files"), {"files": {"upload": ("name.txt", b"\x00\xffcontent")}}),
    (("DELETE", "/gone"), {}),
    (("HEAD", "/head"), {}),
    (("GET", "/redirect"), {}),
    (("GET", "/gzip"), {}),
    (("GET", "/many"), {}),
    (("GET", "/stream"), {}),
]


@pytest.mark.parametrize("way", [0, 1], ids=["sync", "async"])
def test_requests_of_all_sorts_are_replayed_without_the_server(httpx, way):
    """Status, reason, version, headers in order, bodies and redirects come back as they were."""
    answers, questions = recorded_with(both(httpx, REQUESTS)[way], (httpx.__name__,))
    assert [answer["status"] for answer in answers] == [200, 200, 200, 200, 200, 200, 200, 200, 418, 200]
    assert answers[6]["history"] == [302] and answers[6]["url"].endswith("/there?from=redirect")
    assert json.loads(answers[7]["body"]) == {"packed": True}
    assert [pair for pair in answers[8]["headers"] if pair[0] == "x-many"] == [
        ["x-many", "one"],
        ["x-many", "two"],
    ]
    assert [question.name.split()[0] for question in questions] == [
        *("GET", "POST", "PUT", "POST", "DELETE", "HEAD"),
        *("GET", "GET", "GET", "GET", "GET"),
    ]


def test_a_question_says_what_tells_requests_apart():
    """Name, query, body and chosen headers are in the question, and its side effect follows the method."""

    def body(url):
        import httpx

        with httpx.Client() as client:
            client.get(f"{url}/a?q=x", headers={"X-Tenant": "t", "X-Noise": "n"})
            client.post(f"{url}/b", json={"n": 1})
            client.put(f"{url}/c", content=b"\x00\xff")
            client.request("DELETE", f"{url}/d", data={"f": "v"})

    import intentusnet

    site = Site()
    _, questions = recorded_with(body, intentusnet.capture("httpx", headers=["X-Tenant"]), site)
    arguments = [json.loads(question.arguments)["kwargs"] for question in questions]
    assert [question.name for question in questions] == [
        *(f"GET {site.url}/a", f"POST {site.url}/b", f"PUT {site.url}/c", f"DELETE {site.url}/d")
    ]
    assert [(question.side_effect, question.idempotent) for question in questions] == [
        ("read_only", True),
        ("reversible", False),
        ("reversible", True),
        ("reversible", True),
    ]
    assert arguments[0] == {
        "body": None,
        "headers": [["accept", "*/*"], ["x-tenant", "t"]],
        "query": [["q", "x"]],
    }
    assert [argument["body"] for argument in arguments[1:]] == [{"n": 1}, {"$bytes": "AP8="}, [["f", "v"]]]


def _sync_stream(httpx, url, stop):
    with httpx.Client() as client, client.stream("GET", f"{url}/stream") as response:
        pieces = []
        for piece in response.iter_raw():
            pieces.append(piece)
            if stop:
                break
    return pieces


def _async_stream(httpx, url, stop):
    async def main():
        async with httpx.AsyncClient() as client, client.stream("GET", f"{url}/stream") as response:
            pieces = []
            async for piece in response.aiter_raw():
                pieces.append(piece)
                if stop:
                    break
        return pieces

    return asyncio.run(main())


@pytest.mark.parametrize("read", [_sync_stream, _async_stream])
def test_a_streamed_body_comes_back_in_the_same_pieces(httpx, read):
    """The pieces that a replay hands out are those that the live run was handed."""
    pieces, (question,) = recorded_with(lambda url: read(httpx, url, False))
    assert b"".join(pieces) == b"".join(PIECES)
    assert json.loads(question.answer.data)["body"] == [piece.decode() for piece in pieces]


@pytest.mark.parametrize("read", [_sync_stream, _async_stream])
def test_a_body_that_is_left_early_is_recorded_as_far_as_it_was_read(httpx, read):
    """A stream that the agent leaves is on record as what was read of it, and replays the same."""
    _, (question,) = recorded_with(lambda url: read(httpx, url, True))
    answer = json.loads(question.answer.data)
    assert answer["end"] == "closed" and len(answer["body"]) == 1


def test_reading_on_where_the_record_ends_is_a_divergence(httpx):
    """A replay never makes up the rest of a body that the recorded run did not read."""
    reading = {"stop": True}
    runtime = runtime_of(lambda url: _sync_stream(httpx, url, reading["stop"]))
    with Site() as site:
        response = runtime.route("go", site.url)
    reading["stop"] = False
    report = runtime.replay(response.execution_id)
    assert report.verdict.value == "diverged"
    assert "more of the body than is on record" in report.divergences[0].question


def test_a_stream_that_nobody_closes_is_answered_when_the_agent_ends(httpx):
    """What an agent leaves open when it returns is on record as far as it was read."""
    kept = []

    def body(url):
        client = httpx.Client()
        response = client.send(client.build_request("GET", f"{url}/stream"), stream=True)
        kept.append((client, response))
        return next(response.iter_raw())

    _, (question,) = recorded_with(body)
    assert json.loads(question.answer.data)["end"] == "closed"
    for client, response in kept:
        response.close()
        client.close()


@pytest.mark.parametrize("path", ["/drop", "/broken", "/slow", "/stall"])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_errors_and_timeouts_are_raised_again_as_they_were(httpx, path, way):
    """Class and message are the same on replay, and the error knows its request."""
    timeout = httpx.Timeout(30, read=0.05) if path in ("/slow", "/stall") else httpx.Timeout(30)

    def run_sync(url):
        try:
            httpx.get(url + path, timeout=timeout)
        except httpx.HTTPError as fault:
            return [*told(fault), str(fault.request.url)]

    def run_async(url):
        async def main():
            async with httpx.AsyncClient(timeout=timeout) as client:
                try:
                    await client.get(url + path)
                except httpx.HTTPError as fault:
                    return [*told(fault), str(fault.request.url)]

        return asyncio.run(main())

    fault = recorded(run_sync if way == "sync" else run_async)
    expected = {"/drop": "RemoteProtocolError", "/broken": "RemoteProtocolError"}.get(path, "ReadTimeout")
    assert fault[0] == f"{httpx.__name__}.{expected}" and fault[2].endswith(path)


def test_a_server_that_is_not_there_is_on_record_too(httpx):
    """A refused connection is raised again, also when somebody listens there by then."""
    with Site() as gone:
        pass

    def body(url):
        try:
            httpx.get(gone.url)
        except httpx.ConnectError as fault:
            return told(fault)

    assert "refused" in recorded(body)[1]


def test_a_request_that_was_cancelled_is_cancelled_again(httpx):
    """A request that the agent gave up on never answers on replay, so it is given up on again."""

    def body(url):
        async def main():
            async with httpx.AsyncClient(timeout=30) as client:
                try:
                    async with asyncio.timeout(0.1):
                        await client.get(f"{url}/slow")
                except TimeoutError:
                    return "gave up"

        return asyncio.run(main())

    assert recorded(body) == "gave up"


def test_clients_made_before_anything_was_captured_are_caught(httpx):
    """The classes are patched, so it does not matter when a client was made."""
    with httpx.Client() as client:
        assert recorded(lambda url: client.get(f"{url}/early").json())["path"] == "/early"


def test_requests_at_once_are_matched(httpx):
    """Identical and different requests of threads and tasks each get their own answers, thirty times over."""

    def body(url):
        async def main():
            async with httpx.AsyncClient(base_url=url, timeout=30, verify=False) as client:

                async def twice(number):
                    first = (await client.get(f"/same?{number % 2}")).json()["path"]
                    return [first, (await client.post("/other", json=number)).json()["body"]]

                return await asyncio.gather(*(twice(number) for number in range(6)))

        found = asyncio.run(main())
        results = {}

        def fetch(number):
            results[str(number)] = client.get(f"{url}/thread?{number % 2}").json()["path"]

        with httpx.Client(timeout=30, verify=False) as client:
            threads = [threading.Thread(target=fetch, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return [found, results]

    runtime = runtime_of(body)
    with Site() as site:
        ids = [runtime.route("go", site.url).execution_id for _ in range(10)]
    for execution_id in ids * 3:
        assert runtime.replay(execution_id).divergences == ()


def test_bodies_that_are_generated_are_recorded_and_sent(httpx):
    """A body that comes from a generator reaches the server, and the record."""

    def body(url):
        async def parts():
            yield b"first,"
            yield b"second"

        async def main():
            async with httpx.AsyncClient() as client:
                return (await client.post(f"{url}/sent", content=parts())).json()["body"]

        sent = httpx.post(f"{url}/sent", content=iter([b"one,", b"two"])).json()["body"]
        return [sent, asyncio.run(main())]

    payload, questions = recorded_with(body)
    assert payload == ["one,two", "first,second"]
    assert json.loads(questions[0].arguments)["kwargs"]["body"] == "one,two"


@pytest.mark.parametrize("change", ["path", "body", "method"])
def test_another_request_is_a_divergence(httpx, change):
    """A replay that asks for something else says so, and sends nothing."""
    sent = {"path": "/a", "body": {"n": 1}, "method": "POST"}
    runtime = runtime_of(
        lambda url: httpx.request(sent["method"], url + sent["path"], json=sent["body"]).json()
    )
    with Site() as site:
        response = runtime.route("go", site.url)
        sent[change] = {"path": "/b", "body": {"n": 2}, "method": "PUT"}[change]
        report = runtime.replay(response.execution_id)
        assert len(site.requests) == 1
    assert report.verdict.value == "diverged"
