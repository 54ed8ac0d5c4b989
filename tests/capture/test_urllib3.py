"""requests and plain urllib3: recorded against a real server, replayed without one."""

import io
import json
import threading

import pytest
import requests
import urllib3
from helpers.sites import PIECES, Site, recorded, recorded_with, runtime_of, told


def ask_result(response):
    return {
        "body": response.content,
        "headers": [[name, value] for name, value in response.headers.items() if name != "Set-Cookie"],
        "history": [hop.status_code for hop in response.history],
        "reason": response.reason,
        "status": response.status_code,
        "url": response.url,
        "version": response.raw.version,
    }


def test_requests_of_all_sorts_are_replayed_without_the_server():
    """Status, reason, version, headers, bodies and redirects come back as they were."""

    def body(url):
        with requests.Session() as session:
            sent = [
                session.get(f"{url}/plain", params={"a": ["1", "2"]}),
                session.post(f"{url}/json", json={"b": [1, 2.5, None]}),
                session.put(f"{url}/form", data={"name": "value"}),
                session.post(f"{url}/files", files={"upload": ("name.txt", b"\x00\xffcontent")}),
                session.post(f"{url}/file", data=io.BytesIO(b"from a file")),
                session.post(f"{url}/parts", data=iter([b"one,", b"two"])),
                session.delete(f"{url}/gone"),
                session.head(f"{url}/head"),
                session.get(f"{url}/redirect"),
                session.get(f"{url}/gzip"),
                session.get(f"{url}/many"),
                session.get(f"{url}/stream"),
            ]
            return [ask_result(response) for response in sent] + [sorted(session.cookies.keys())]

    *answers, cookies = recorded(body, ("requests",))
    assert [answer["status"] for answer in answers] == [*[200] * 10, 418, 200]
    assert [json.loads(answers[number]["body"])["body"] for number in (4, 5)] == ["from a file", "one,two"]
    assert answers[8]["history"] == [302] and answers[8]["url"].endswith("/there?from=redirect")
    assert json.loads(answers[9]["body"]) == {"packed": True}
    assert answers[11]["body"] == b"".join(PIECES)
    assert cookies == ["a", "b", "seen"]


def test_plain_urllib3_is_caught_and_nothing_twice():
    """Each request that went out is one question, whether requests or urllib3 sent it."""

    def body(url):
        pool = urllib3.PoolManager()
        sent = [
            pool.request("GET", f"{url}/redirect", fields={"a": "1"}),
            pool.request("POST", f"{url}/json", json={"n": 1}),
            pool.request("GET", f"{url}/many"),
        ]
        requests.get(f"{url}/through-requests")
        return [
            [one.data, one.status, one.reason, one.headers.getlist("X-Many"), one.geturl()] for one in sent
        ]

    answers, questions = recorded_with(body)
    assert answers[2][3] == ["one", "two"]
    assert [question.name.rpartition("/")[2] for question in questions] == [
        *("redirect", "there", "json", "many", "through-requests")
    ]


@pytest.mark.parametrize("name", ["requests", "urllib3"])
def test_either_name_is_enough(name):
    """What requests sends goes through urllib3, so both names ask for the same hook."""
    assert recorded(lambda url: requests.get(f"{url}/x").json(), (name,))["path"] == "/x"


@pytest.mark.parametrize(
    "read",
    [
        lambda url: list(requests.get(f"{url}/stream", stream=True).iter_content(5)),
        lambda url: list(requests.get(f"{url}/stream", stream=True).iter_lines()),
        lambda url: list(requests.get(f"{url}/plain", stream=True).iter_content(7)),
        lambda url: list(requests.get(f"{url}/gzip", stream=True).iter_content(4)),
        lambda url: requests.get(f"{url}/stream", stream=True).raw.read(9),
        lambda url: list(urllib3.request("GET", f"{url}/stream", preload_content=False).stream(4)),
        lambda url: urllib3.request("GET", f"{url}/plain", preload_content=False).read1(6),
        lambda url: list(urllib3.request("GET", f"{url}/stream", preload_content=False)),
    ],
)
def test_streamed_bodies_come_back_in_the_same_pieces(read):
    """Whatever way a body is read, a replay hands out what the live run was handed."""
    assert recorded(read)


def test_nothing_is_read_where_nothing_is_asked_for():
    """Chunks of no bytes are none, as with urllib3 itself."""

    def body(url):
        response = urllib3.request("GET", f"{url}/stream", preload_content=False)
        return [list(response.read_chunked(0)), b"".join(response.read_chunked(4))]

    assert recorded(body) == [[], b"".join(PIECES)]


def test_a_chunk_is_handed_out_before_the_next_has_come():
    """A stream is not held back until a buffer is full."""
    gate = threading.Event()

    def hold(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"6\r\nfirst\n\r\n")
        handler.wfile.flush()
        gate.wait()
        handler.wfile.write(b"7\r\nsecond\n\r\n0\r\n\r\n")

    def body(url):
        lines = requests.get(f"{url}/hold", stream=True).iter_content(chunk_size=512)
        first = next(lines)
        gate.set()
        return [first, *lines]

    assert recorded(body, site=Site({"/hold": hold})) == [b"first\n", b"second\n"]


def test_a_body_that_is_left_early_is_recorded_as_far_as_it_was_read():
    """What was not read is not on record, and a replay that reads it diverges."""
    stop = [True]

    def body(url):
        with requests.get(f"{url}/stream", stream=True) as response:
            for piece in response.iter_content(4):
                if stop[0]:
                    return piece
        return None

    runtime = runtime_of(body)
    with Site() as site:
        response = runtime.route("go", site.url)
    assert runtime.replay(response.execution_id).divergences == ()
    stop[0] = False
    report = runtime.replay(response.execution_id)
    assert "more of the body than is on record" in report.divergences[0].question


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/drop", "requests.exceptions.ConnectionError"),
        ("/broken", "requests.exceptions.ChunkedEncodingError"),
        ("/slow", "requests.exceptions.ReadTimeout"),
        ("/stall", "requests.exceptions.ConnectionError"),
    ],
)
def test_errors_and_timeouts_are_raised_again_as_they_were(path, expected):
    """What requests makes of an error is the same on replay, because what is below it is."""

    def body(url):
        try:
            requests.get(url + path, timeout=(30, 0.05) if path in ("/slow", "/stall") else 30)
        except requests.RequestException as fault:
            return [*told(fault), getattr(fault.request, "url", None)]

    fault = recorded(body)
    assert fault[0] == expected


def test_a_server_that_is_not_there_is_on_record_too():
    """A refused connection is raised again by requests and by urllib3, as the same errors."""
    with Site() as gone:
        pass

    def body(url):
        faults = []
        for ask in (requests.get, lambda url: urllib3.request("GET", url, retries=1)):
            try:
                ask(gone.url)
            except (requests.ConnectionError, urllib3.exceptions.MaxRetryError) as fault:
                faults.append(type(fault).__name__)
        return faults

    payload, questions = recorded_with(body)
    assert payload == ["ConnectionError", "MaxRetryError"]
    assert len(questions) == 3


def test_each_retry_is_on_record():
    """urllib3 tries again on replay as it did live, and each try gets its own answer."""
    tries = iter([503, 503, 200])
    site = Site({"/flaky": lambda handler: handler.answer(b"done", status=next(tries))})

    def body(url):
        retry = urllib3.Retry(total=5, status_forcelist=[503], backoff_factor=0)
        response = urllib3.PoolManager(retries=retry).request("GET", f"{url}/flaky")
        return [response.data, len(response.retries.history)]

    payload, questions = recorded_with(body, site=site)
    assert payload == [b"done", 2] and len(questions) == 3


def test_sessions_made_before_anything_was_captured_are_caught():
    """The class is patched, so it does not matter when a session or a pool was made."""
    session, pool = requests.Session(), urllib3.PoolManager()

    def body(url):
        return [session.get(f"{url}/early").json(), pool.request("GET", f"{url}/early").json()]

    assert [answer["path"] for answer in recorded(body)] == ["/early", "/early"]
    session.close()
    pool.clear()


def test_requests_of_threads_are_matched():
    """Identical requests of an agent's own threads each get an answer, thirty times over."""

    def body(url):
        results = {}

        def fetch(number):
            results[str(number)] = requests.get(f"{url}/thread", params={"n": number % 2}).json()["path"]

        threads = [threading.Thread(target=fetch, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    runtime = runtime_of(body)
    with Site() as site:
        ids = [runtime.route("go", site.url).execution_id for _ in range(10)]
    for execution_id in ids * 3:
        assert runtime.replay(execution_id).divergences == ()


def _ends(*parts):
    """A server that breaks off after these parts of a chunked body."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(part)
        handler.close_connection = True

    return Site({"/ends": answer})


def _broken_off(url):
    try:
        requests.get(f"{url}/ends")
    except requests.exceptions.ChunkedEncodingError as fault:
        return told(fault)


def test_a_body_that_breaks_off_between_chunks_is_told_of_in_the_same_words():
    """The message is that of urllib3 without us, live and on replay."""
    part = b"5\r\nhello\r\n"
    with _ends(part) as site:
        plain = _broken_off(site.url)
    assert recorded(_broken_off, site=_ends(part)) == plain


def test_a_body_that_breaks_off_within_a_chunk_tells_how_much_is_missing():
    """Live and on replay."""
    assert "2 more expected" in recorded(_broken_off, site=_ends(b"5\r\nhel"))[1]


def test_a_body_is_a_file_for_whoever_wants_one():
    """What reads it to its end finds it open until then."""

    def body(url):
        with requests.get(f"{url}/stream", stream=True) as response:
            return list(io.TextIOWrapper(response.raw))

    assert "".join(recorded(body)).encode() == b"".join(PIECES)
