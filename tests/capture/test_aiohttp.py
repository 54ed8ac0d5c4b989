"""aiohttp's client: recorded against a real server, replayed without one."""

import asyncio
import base64
import gzip
import json
from hashlib import sha1

import aiohttp
import pytest
from helpers.sites import PIECES, Site, recorded, recorded_with, runtime_of, told


def in_session(ask, **options):
    """A body that runs `ask` with a session of its own."""

    def body(url):
        async def main():
            async with aiohttp.ClientSession(**options) as session:
                return await ask(session, url)

        return asyncio.run(main())

    return body


async def ask_result(response):
    return {
        "body": await response.read(),
        "headers": [[str(name), value] for name, value in response.headers.items() if name != "Set-Cookie"],
        "history": [hop.status for hop in response.history],
        "method": response.method,
        "reason": response.reason,
        "status": response.status,
        "url": str(response.url),
        "version": list(response.version),
    }


def test_requests_of_all_sorts_are_replayed_without_the_server():
    """Status, reason, version, headers in order, bodies and redirects come back as they were."""

    async def ask(session, url):
        async def parts():
            yield b"one,"
            yield b"two"

        form = aiohttp.FormData()
        form.add_field("upload", b"\x00\xffcontent", filename="name.txt")
        sent = [
            ("GET", "/plain", {"params": [("a", "1"), ("a", "2")]}),
            ("POST", "/json", {"json": {"b": [1, 2.5, None]}}),
            ("PUT", "/form", {"data": {"name": "value"}}),
            ("POST", "/files", {"data": form}),
            ("POST", "/parts", {"data": parts()}),
            ("DELETE", "/gone", {}),
            ("HEAD", "/head", {}),
            ("GET", "/redirect", {}),
            ("GET", "/gzip", {}),
            ("GET", "/many", {}),
            ("GET", "/stream", {}),
        ]
        answers = []
        for method, path, options in sent:
            async with session.request(method, url + path, **options) as response:
                answers.append(await ask_result(response))
        return [*answers, sorted(cookie.key for cookie in session.cookie_jar)]

    *answers, _ = recorded(in_session(ask), ("aiohttp",))
    assert [answer["status"] for answer in answers] == [*[200] * 9, 418, 200]
    assert json.loads(answers[4]["body"])["body"] == "one,two"
    assert answers[7]["history"] == [302] and answers[7]["url"].endswith("/there?from=redirect")
    assert json.loads(answers[8]["body"]) == {"packed": True}
    assert [pair for pair in answers[9]["headers"] if pair[0] == "X-Many"] == [
        ["X-Many", "one"],
        ["X-Many", "two"],
    ]
    assert answers[10]["body"] == b"".join(PIECES)


def _any(content):
    return content.iter_any()


def _chunked(content):
    return content.iter_chunked(4)


def _lines(content):
    return content


@pytest.mark.parametrize("read", [_any, _chunked, _lines])
def test_streamed_bodies_come_back_in_the_same_pieces(read):
    """Whatever way a body is read, a replay hands out what the live run was handed."""

    async def ask(session, url):
        async with session.get(f"{url}/stream") as response:
            return [piece async for piece in read(response.content)]

    assert b"".join(recorded(in_session(ask))) == b"".join(PIECES)


def test_a_body_that_is_left_early_is_recorded_as_far_as_it_was_read():
    """What was not read is not on record, and a replay that reads it diverges."""
    stop = [True]

    async def ask(session, url):
        async with session.get(f"{url}/stalling") as response:
            first = await response.content.readline()
            return first if stop[0] else await response.read()

    def stalling(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"one\n")
        handler.wfile.flush()
        handler.server.site.leaving.wait()

    runtime = runtime_of(in_session(ask))
    with Site({"/stalling": stalling}) as site:
        response = runtime.route("go", site.url)
    assert runtime.replay(response.execution_id).divergences == ()
    stop[0] = False
    report = runtime.replay(response.execution_id)
    assert "more of the body than is on record" in report.divergences[0].question


@pytest.mark.parametrize(
    ("path", "timeout", "expected"),
    [
        ("/drop", {}, "aiohttp.client_exceptions.ServerDisconnectedError"),
        ("/broken", {}, "aiohttp.client_exceptions.ClientPayloadError"),
        ("/slow", {"sock_read": 0.1}, "aiohttp.client_exceptions.SocketTimeoutError"),
        ("/slow", {"total": 0.1}, "builtins.TimeoutError"),
        ("/stall", {"total": 0.3}, "builtins.TimeoutError"),
    ],
)
def test_errors_and_timeouts_are_raised_again_as_they_were(path, timeout, expected):
    """Class and message are the same on replay."""

    async def ask(session, url):
        try:
            async with session.get(url + path) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError) as fault:
            return told(fault)

    fault = recorded(in_session(ask, timeout=aiohttp.ClientTimeout(**timeout)))
    assert fault[0] == expected


class _NoAnswer(aiohttp.abc.AbstractResolver):
    """Finds no host, ever."""

    async def resolve(self, host, port=0, family=0):
        await asyncio.get_running_loop().create_future()

    async def close(self):
        pass


def test_a_timeout_of_the_whole_is_on_record_as_one():
    """The timer cancels a request while it connects, and a replay does not wait for it to do so again."""

    def body(url):
        async def main():
            connector = aiohttp.TCPConnector(resolver=_NoAnswer())
            timeout = aiohttp.ClientTimeout(total=0.1)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                try:
                    await session.get("http://host.invalid/")
                except TimeoutError:
                    return "late"

        return asyncio.run(main())

    payload, (question,) = recorded_with(body)
    assert payload == "late"
    assert json.loads(question.answer.data)["type"] == "builtins.TimeoutError"


def test_a_server_that_is_not_there_is_on_record_too():
    """A refused connection is raised again, and knows whom it was about."""
    with Site() as gone:
        pass

    async def ask(session, url):
        try:
            await session.get(gone.url)
        except aiohttp.ClientConnectorError as fault:
            return [*told(fault), fault.host, fault.port, fault.os_error.errno, fault.ssl]

    assert recorded(in_session(ask))[2] == "127.0.0.1"


def test_an_error_for_a_status_is_raised_again():
    """`raise_for_status` works on what was recorded."""

    async def ask(session, url):
        try:
            await session.get(f"{url}/many")
        except aiohttp.ClientResponseError as fault:
            return [fault.status, fault.message, str(fault.request_info.url)]

    assert recorded(in_session(ask, raise_for_status=True))[0] == 418


def test_a_request_that_was_cancelled_is_cancelled_again():
    """A request that the agent gave up on never answers on replay, so it is given up on again."""

    async def ask(session, url):
        try:
            async with asyncio.timeout(0.1):
                await session.get(f"{url}/slow")
        except TimeoutError:
            return "gave up"

    assert recorded(in_session(ask)) == "gave up"


def test_middlewares_of_the_session_stay_in_force():
    """What a session's own middleware does is in the question, and happens on replay too."""

    async def with_query(request, handler):
        request.url = request.url.with_query(by="middleware")
        return await handler(request)

    async def ask(session, url):
        return (await (await session.get(f"{url}/x")).json())["path"]

    payload, (question,) = recorded_with(in_session(ask, middlewares=[with_query]))
    assert payload == "/x?by=middleware"
    assert json.loads(question.arguments)["kwargs"]["query"] == [["by", "middleware"]]


def test_requests_at_once_are_matched():
    """Identical requests of tasks each get an answer, thirty times over."""

    async def ask(session, url):
        async def twice(number):
            first = await (await session.get(f"{url}/same?{number % 2}")).json()
            second = await (await session.post(f"{url}/other", json=number)).json()
            return [first["path"], second["body"]]

        return await asyncio.gather(*(twice(number) for number in range(6)))

    runtime = runtime_of(in_session(ask))
    with Site() as site:
        ids = [runtime.route("go", site.url).execution_id for _ in range(10)]
    for execution_id in ids * 3:
        assert runtime.replay(execution_id).divergences == ()


def test_what_a_session_leaves_compressed_is_looked_into():
    """A secret inside is found where the session does not decompress; what has none is kept as it came."""
    secret = b"Zq7-compressed-xW"

    async def ask(session, url):
        async with session.get(f"{url}/secret") as response, session.get(f"{url}/gzip") as other:
            await response.read()
            return gzip.decompress(await other.read())

    packed = gzip.compress(b'{"api_key": "%b"}' % secret)
    site = Site({"/secret": lambda handler: handler.answer(packed, ("Content-Encoding", "gzip"))})
    payload, (question, _) = recorded_with(in_session(ask, auto_decompress=False), site=site)
    assert payload == b'{"packed": true}'
    assert json.loads(question.answer.data)["body"] == ['{"api_key": "[redacted]"}']


def test_a_session_s_traces_are_told_of_pieces_too():
    """Whoever traces a session is told the same on replay."""

    def body(url):
        async def main():
            seen = []

            async def note(session, context, told):
                seen.append(type(told).__name__)

            trace = aiohttp.TraceConfig()
            for signal in (trace.on_request_start, trace.on_response_chunk_received):
                signal.append(note)
            async with (
                aiohttp.ClientSession(trace_configs=[trace]) as session,
                session.get(f"{url}/x") as response,
            ):
                await response.read()
            return seen

        return asyncio.run(main())

    assert "TraceResponseChunkReceivedParams" in recorded(body)


def _accepted(key):
    return sha1(key.encode(), usedforsecurity=False).digest()


def _greet(handler):
    """A WebSocket server that says one thing and leaves (RFC 6455)."""
    key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", base64.b64encode(_accepted(key)).decode())
    handler.end_headers()
    handler.wfile.write(b"\x81\x02hi\x88\x00")
    handler.close_connection = True


def test_a_websocket_is_left_alone():
    """It works as ever, is not on record, which says so, and is stopped on replay."""

    async def ask(session, url):
        async with session.ws_connect(f"{url}/ws") as socket:
            return await socket.receive_str()

    runtime = runtime_of(in_session(ask), ("aiohttp",))
    with Site({"/ws": _greet}) as site:
        response = runtime.route("go", site.url)
        assert (response.payload, response.error) == ("hi", None)
        report = runtime.replay(response.execution_id)
        assert len(site.requests) == 1
    assert report.verdict.value == "diverged"
    _, note = runtime.store.get(response.execution_id).questions
    assert note.kind == "log" and b"is a WebSocket, which is not recorded" in note.arguments
