"""The frame: what is captured is what was asked for, whenever libraries are loaded, and nothing else."""

import asyncio
import gzip
import importlib
import json
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import httpx
import pytest
import requests
from helpers.sites import Site, recorded, recorded_with, runtime_of

import intentusnet
from intentusnet import Context, FileExecutionStore, IntentusRuntime, MemoryExecutionStore
from intentusnet.capture import capture_of
from intentusnet.errors import ConfigurationError

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


def questions_of(runtime, execution_id):
    return [question.kind for question in runtime.store.get(execution_id).questions]


def fetch(url):
    return httpx.get(f"{url}/fetched").json()["path"]


def test_without_the_setting_nothing_is_recorded_and_a_replay_is_stopped():
    """Capture is asked for: without it a request is no question, and a replay that sends one diverges."""
    runtime = runtime_of(fetch, capture=False)
    with Site() as site:
        response = runtime.route("go", site.url)
        assert questions_of(runtime, response.execution_id) == ["agent"]
        assert runtime.replay(response.execution_id).verdict.value == "diverged"
        assert len(site.requests) == 1


def test_only_what_was_named_is_recorded():
    """One library's hook leaves the others alone."""

    def body(url):
        return [requests.get(f"{url}/named").json()["path"], fetch(url)]

    runtime = runtime_of(body, capture=["requests"])
    with Site() as site:
        response = runtime.route("go", site.url)
    names = [question.name for question in runtime.store.get(response.execution_id).questions]
    assert [name.rpartition("/")[2] for name in names] == ["body", "named"]


def test_nothing_is_recorded_inside_an_effect():
    """What a recorded effect does is part of its answer."""
    runtime = IntentusRuntime(store=MemoryExecutionStore(), capture=True)

    @runtime.agent("agent", handles="go")
    def agent(url: str, ctx: Context) -> str:
        return ctx.effect("fetch", fetch, url)

    with Site() as site:
        response = runtime.route("go", site.url)
    assert questions_of(runtime, response.execution_id) == ["agent", "effect"]
    assert runtime.replay(response.execution_id).divergences == ()


def test_outside_of_agents_nothing_changes():
    """A patched library works as ever where no agent runs, and without a store."""
    runtime = runtime_of(fetch)
    with Site() as site:
        assert fetch(site.url) == "/fetched"
        assert IntentusRuntime(capture=True).store is None
        response = runtime.route("go", site.url)
        assert fetch(site.url) == "/fetched"
    assert questions_of(runtime, response.execution_id) == ["agent", "http"]


def test_a_with_block_adds_to_what_the_runtime_captures():
    """Within the block the agents that are called, and replayed, are captured; outside they are not."""
    runtime = runtime_of(
        lambda url: [fetch(url), requests.get(f"{url}/r").json()["path"]], capture=["requests"]
    )
    with Site() as site:
        with intentusnet.capture("httpx"):
            both = runtime.route("go", site.url).execution_id
        one = runtime.route("go", site.url).execution_id
    assert questions_of(runtime, both) == ["agent", "http", "http"]
    assert questions_of(runtime, one) == ["agent", "http"]
    assert runtime.replay(both).verdict.value == "diverged"
    with intentusnet.capture("httpx"):
        assert runtime.replay(both).divergences == ()


def test_settings_of_blocks_and_runtime_add_up():
    """Names, headers and redactions of an inner block stand beside those of the outer one."""
    one = intentusnet.capture("httpx", headers=["X-A"], redaction=intentusnet.Redaction(keys=["alpha"]))
    two = intentusnet.capture("requests", headers=["X-B"], redaction=intentusnet.Redaction(keys=["beta"]))
    both = one | two
    assert both.names == {"httpx", "requests"} and both.headers == {"x-a", "x-b"}
    assert both.redaction.is_secret_key("Alpha") and both.redaction.is_secret_key("beta")


def test_a_configured_copy_of_a_runtime_captures_the_same():
    """`configure` keeps the setting."""
    runtime = runtime_of(fetch, capture=["httpx"]).configure(store=MemoryExecutionStore())
    with Site() as site:
        response = runtime.route("go", site.url)
    assert questions_of(runtime, response.execution_id) == ["agent", "http"]


def test_what_cannot_be_captured_is_refused_by_name():
    """An unknown name is an error that lists the known ones."""
    with pytest.raises(ConfigurationError, match="httpx or httpx2"):
        IntentusRuntime(capture=["httpy"])


@pytest.mark.parametrize(
    ("setting", "names"),
    [(False, None), ((), None), ("httpx", {"httpx"}), (("httpx", "requests"), {"httpx", "requests"})],
)
def test_a_setting_is_nothing_everything_or_names(setting, names):
    """A runtime takes a name, several, True, False, or what `capture` returned."""
    found = capture_of(setting)
    assert (None if found is None else found.names) == names
    everything = capture_of(True)
    assert (
        everything is not None and {"httpx", "httpx2", "requests", "urllib3", "aiohttp"} <= everything.names
    )
    assert capture_of(everything) is everything


def test_libraries_are_patched_once():
    """Asking again patches nothing again."""
    intentusnet.capture("httpx")
    before = httpx.HTTPTransport.handle_request
    intentusnet.capture("httpx", "requests")
    IntentusRuntime(capture=True)
    assert httpx.HTTPTransport.handle_request is before


def test_the_package_can_be_called_and_imported():
    """`intentusnet.capture` is the package and the function at once, however it was imported."""
    package = importlib.import_module("intentusnet.capture")
    assert intentusnet.capture is package
    assert package("httpx") == package.capture("httpx") == intentusnet.capture("httpx")


@pytest.mark.parametrize("ask", [httpx.post, requests.post])
def test_a_request_that_may_act_is_in_the_log_before_it_is_sent(ask, tmp_path):
    """When the server sees the request, the log has it."""
    seen = []

    def look(handler):
        log = b"".join(path.read_bytes() for path in tmp_path.rglob("*.jsonl"))
        seen.append(b'"kind":"http","name":"POST http://' in log)
        handler.answer(b"{}")

    store = FileExecutionStore(tmp_path)
    runtime = runtime_of(lambda url: ask(f"{url}/look").status_code, store=store, side_effect="read_only")
    with Site({"/look": look}) as site:
        runtime.route("go", site.url)
    assert seen == [True]
    store.close()


def _redirected(url):
    async def main():
        async with aiohttp.ClientSession() as session, session.get(f"{url}/redirect") as response:
            return response.status

    return asyncio.run(main())


@pytest.mark.parametrize(
    "ask",
    [
        lambda url: httpx.get(f"{url}/redirect", follow_redirects=True).status_code,
        lambda url: requests.get(f"{url}/redirect").status_code,
        _redirected,
    ],
    ids=["httpx", "requests", "aiohttp"],
)
def test_an_answer_is_in_the_log_when_the_next_request_is_sent(ask, tmp_path):
    """A hop of a redirect is answered before the next one is asked, whether its body was read or left."""
    seen = []

    def look(handler):
        log = b"".join(path.read_bytes() for path in tmp_path.rglob("*.jsonl"))
        seen.append(log.count(b'"kind":"answered"'))
        handler.answer(b"{}")

    store = FileExecutionStore(tmp_path)
    runtime = runtime_of(ask, store=store, side_effect="read_only")
    with Site({"/there": look}) as site:
        assert runtime.route("go", site.url).payload == 200
    assert seen == [1]
    store.close()


def test_a_child_execution_has_its_own_requests():
    """What an agent that another one has routed to asks is on its own record."""
    runtime = runtime_of(fetch)

    @runtime.agent("parent", handles="parent")
    def parent(url: str, ctx: Context) -> str:
        return ctx.route("go", url).payload

    with Site() as site:
        response = runtime.route("parent", site.url)
    assert questions_of(runtime, response.execution_id) == ["agent", "route"]
    assert runtime.replay(response.execution_id).divergences == ()


def test_requests_of_branches_are_in_their_scopes():
    """What branches of `gather` send is matched within each branch."""
    runtime = IntentusRuntime(store=MemoryExecutionStore(), capture=True)

    @runtime.agent("agent", handles="go")
    def agent(url: str, ctx: Context) -> list[str]:
        return ctx.gather(lambda: fetch(url), lambda: requests.get(f"{url}/other").json()["path"])

    with Site() as site:
        response = runtime.route("go", site.url)
    scopes = {question.scope for question in runtime.store.get(response.execution_id).questions}
    assert len(scopes) == 3
    assert runtime.replay(response.execution_id).divergences == ()
    assert response.payload == ["/fetched", "/other"]


def test_large_bodies_are_kept_whole():
    """A body of megabytes is recorded and replayed to the byte."""
    content = bytes(range(256)) * 8192
    site = Site({"/large": lambda handler: handler.answer(content)})
    assert recorded(lambda url: httpx.get(f"{url}/large").content, site=site) == content


def test_json_that_no_record_can_hold_as_a_tree_is_kept_as_text():
    """A body nested too deep is a text like any other."""
    deep = "[" * 300 + "]" * 300
    header = {"Content-Type": "application/json"}
    _, (question,) = recorded_with(lambda url: httpx.post(url, content=deep, headers=header).status_code)
    assert deep in question.arguments.decode()


def test_a_url_that_makes_no_sense_is_the_client_s_to_complain_of():
    """The error is the one that there is without us."""

    def body(_):
        try:
            httpx.get("http://127.0.0.1:99999/")
        except httpx.HTTPError as fault:
            return [type(fault).__name__, str(fault)]

    assert recorded(body) == body("")


def test_a_compressed_request_is_compared_by_what_it_says():
    """The bytes of an encoding differ with the moment and the library; the question has the body itself."""
    level = [1]

    def body(url):
        packed = gzip.compress(b'{"n": 1}', level[0], mtime=level[0])
        header = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return httpx.post(f"{url}/x", content=packed, headers=header).status_code

    runtime = runtime_of(body)
    with Site() as site:
        response = runtime.route("go", site.url)
    asked = json.loads(runtime.store.get(response.execution_id).questions[1].arguments)["kwargs"]
    assert asked["body"] == {"n": 1} and ["content-encoding", "gzip"] in asked["headers"]
    level[0] = 9
    assert runtime.replay(response.execution_id).divergences == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"content": "a=%ff", "headers": FORM}, {"content": "a=%fe", "headers": FORM}),
        ({"content": '{"a":1,"a":2}', "headers": JSON}, {"content": '{"a":2}', "headers": JSON}),
        ({"json": 1}, {"json": 1.0}),
        ({"content": b"\xff"}, {"content": b"\xfe"}),
        ({"path": "?a=%ff"}, {"path": "?a=%fe"}),
        ({"path": "?a=1&b=2"}, {"path": "?b=2&a=1"}),
    ],
)
def test_requests_that_differ_are_told_apart(one, other):
    """Bytes, doubled keys, types and order are not lost on the way into a question."""
    sent = [one]

    def body(url):
        options = dict(sent[0])
        return httpx.post(f"{url}/{options.pop('path', '')}", **options).status_code

    runtime = runtime_of(body)
    with Site() as site:
        response = runtime.route("go", site.url)
    sent[0] = other
    assert runtime.replay(response.execution_id).divergences[0].kind.value == "arguments"


def _gathered(client, path):
    async def with_httpx(url):
        async with httpx.AsyncClient(base_url=url) as session:
            return await asyncio.gather(*(session.get(part) for part in ("/one", path, "/two")))

    async def with_aiohttp(url):
        async def read(session, part):
            async with session.get(part) as response:
                await response.read()
            return response

        async with aiohttp.ClientSession(url) as session:
            return await asyncio.gather(*(read(session, part) for part in ("/one", path, "/two")))

    return with_httpx if client == "httpx" else with_aiohttp


@pytest.mark.parametrize("client", ["httpx", "aiohttp"])
def test_a_task_that_asks_for_something_else_unwinds_its_agent(client):
    """A divergence in one of several tasks ends the replay, and sends nothing."""
    path = ["/three"]

    def body(url):
        try:
            return [str(response.url) for response in asyncio.run(_gathered(client, path[0])(url))]
        except Exception as swallowed:  # noqa: BLE001 - no agent's except clause is to stop what unwinds it
            return repr(swallowed)

    runtime = runtime_of(body)
    with Site() as site:
        response = runtime.route("go", site.url)
        path[0] = "/changed"
        report = runtime.replay(response.execution_id)
        assert len(site.requests) == 3
    assert any("/changed" in divergence.question for divergence in report.divergences)
    path[0] = "/three"
    assert runtime.replay(response.execution_id).divergences == ()


def test_executions_at_once_do_not_mix():
    """Thirty executions at once, and thirty replays at once: each has its own questions and answers."""

    def body(url):
        number = len(requests.get(f"{url}/who").content)
        with httpx.Client(verify=False) as client, client.stream("GET", f"{url}/stream") as response:
            return [
                number,
                list(response.iter_lines()),
                asyncio.run(_gathered("aiohttp", "/three")(url)) != [],
            ]

    runtime = runtime_of(body)
    with Site() as site, ThreadPoolExecutor(30) as pool:
        responses = list(pool.map(lambda _: runtime.route("go", site.url), range(30)))
    assert [response.error for response in responses] == [None] * 30
    with ThreadPoolExecutor(30) as pool:
        reports = list(pool.map(lambda response: runtime.replay(response.execution_id), responses))
    assert [report.divergences for report in reports] == [()] * 30


def test_a_runtime_without_a_store_captures_into_nothing():
    """Agents run as ever, streams included, where nothing is recorded."""
    runtime = IntentusRuntime(capture=True)

    @runtime.agent("agent", handles="go")
    def agent(url: str) -> list[str]:
        with httpx.stream("GET", f"{url}/stream") as response:
            return list(response.iter_lines())

    with Site() as site:
        assert runtime.route("go", site.url).payload[0] == "data: one"
