"""Redaction: secrets are nowhere in the store, the live agent has them, and records match without them."""

import asyncio
import base64
import gzip
import json

import aiohttp
import httpx
import httpx2
import pytest
import requests
from helpers.sites import Site, runtime_of
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

import intentusnet
from intentusnet import Context, FileExecutionStore, IntentusRuntime, MemoryExecutionStore, Redaction
from intentusnet.capture.redaction import PLACEHOLDER, told_by_header
from intentusnet.errors import ConfigurationError

#: Each secret is spelt so that it cannot be found by accident.
SECRETS = {
    "bearer": "bearer-Zq7xW1",
    "api_header": "header-Zq7xW2",
    "cookie": "cookie-Zq7xW3",
    "basic": "basic-Zq7xW4",
    "query": "query-Zq7xW5",
    "json": "json-Zq7xW6",
    "form": "form-Zq7xW7",
    "pattern": "ACME-Zq7xW8",
    "set_cookie": "set-Zq7xW9",
    "answer": "answer-Zq7xWa",
    "packed": "packed-Zq7xWb",
    "streamed": "streamed-Zq7xWc",
    "location": "location-Zq7xWd",
    "well_known": "sk-Zq7xWe0123456789abcdef",
}


def _login(handler):
    body = {
        "access_token": SECRETS["answer"],
        "token_type": "bearer",
        "next_page_token": "p2",
        "total_tokens": 7,
    }
    echoed = {
        "seen": dict(handler.headers.items()),
        "body": handler.body.decode("latin-1"),
        "path": handler.path,
    }
    handler.answer(
        json.dumps(
            {**body, "echoed": echoed, "note": f"{SECRETS['pattern']} {SECRETS['well_known']}"}
        ).encode(),
        ("Set-Cookie", f"session={SECRETS['set_cookie']}; Path=/; HttpOnly"),
        ("X-Api-Key", SECRETS["api_header"]),
    )


def _packed(handler):
    body = gzip.compress(json.dumps({"refresh_token": SECRETS["packed"], "n": 1}).encode())
    handler.answer(body, ("Content-Encoding", "gzip"), ("Content-Type", "application/json"))


def _streamed(handler):
    whole = b'data: {"client_secret": "%b"}\n\n' % SECRETS["streamed"].encode()
    handler.stream((whole[:30], whole[30:36], whole[36:], b"data: end\n\n"))


def _away(handler):
    handler.answer(b"", ("Location", f"/there?access_token={SECRETS['location']}&n=1"), status=302)


def secret_site():
    return Site({"/login": _login, "/packed": _packed, "/streamed": _streamed, "/away": _away})


#: What every client sends: headers, query and two kinds of body hold secrets.
HEADERS = {
    "Authorization": f"Bearer {SECRETS['bearer']}",
    "X-Api-Key": SECRETS["api_header"],
    "Cookie": f"sid={SECRETS['cookie']}",
}
QUERY = {"api_key": SECRETS["query"], "page": "1"}
JSON = {"password": SECRETS["json"], "max_tokens": 5, "text": f"mine is {SECRETS['pattern']}"}
FORM = {"client_secret": SECRETS["form"], "name": "n"}


def _ask(send, url, heard):
    """Sends through any client: `send` takes method, URL and options, and returns headers and content."""
    user = url.replace("http://", f"http://user:{SECRETS['basic']}@")
    heard += [send("POST", f"{url}/login", headers=HEADERS, params=QUERY, json=JSON)]
    heard += [send("POST", f"{user}/login", data=FORM)]
    heard += [send("GET", f"{url}/packed"), send("GET", f"{url}/streamed"), send("GET", f"{url}/away")]
    return len(heard)


def _with_httpx(library):
    def body(url, heard):
        with library.Client(follow_redirects=True) as client:

            def send(method, url, **options):
                response = client.request(method, url, **options)
                return response.headers.get("set-cookie"), response.content

            return _ask(send, url, heard)

    return body


def _with_requests(url, heard):
    def send(method, url, **options):
        response = requests.request(method, url, **options)
        return response.headers.get("set-cookie"), response.content

    return _ask(send, url, heard)


def _with_aiohttp(url, heard):
    def send(method, url, **options):
        async def main():
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, url, **options) as response,
            ):
                return response.headers.get("set-cookie"), await response.read()

        return asyncio.run(main())

    return _ask(send, url, heard)


CLIENTS = {
    "httpx": _with_httpx(httpx),
    "httpx2": _with_httpx(httpx2),
    "requests": _with_requests,
    "aiohttp": _with_aiohttp,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_no_secret_is_in_the_store_and_the_live_agent_has_them(client, tmp_path):
    """Not one byte of a secret is written, wherever it came from; the replay matches all the same."""
    heard = []
    settings = intentusnet.capture(client, redaction=Redaction(patterns=[r"ACME-\w+"]))
    store = FileExecutionStore(tmp_path)
    runtime = runtime_of(lambda url: CLIENTS[client](url, heard), settings, store)
    with secret_site() as site:
        response = runtime.route("go", site.url)
    assert response.error is None, response.error
    live, heard[:] = list(heard), []
    report = runtime.replay(response.execution_id)
    assert report.divergences == (), "\n".join(map(str, report.divergences))
    store.close()

    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert [name for name, secret in SECRETS.items() if secret.encode() in written] == []
    credentials = base64.b64encode(f"user:{SECRETS['basic']}".encode())
    assert credentials not in written
    assert f"session={SECRETS['set_cookie']}" in live[0][0]
    told = b"".join(content for _, content in live)
    assert all(
        SECRETS[name].encode() in told for name in ("answer", "packed", "streamed", "location", "bearer")
    )

    replayed = json.loads(heard[0][1])
    assert f"session={PLACEHOLDER}; Path=/; HttpOnly" == heard[0][0]
    assert replayed["access_token"] == PLACEHOLDER
    assert (replayed["token_type"], replayed["next_page_token"], replayed["total_tokens"]) == (
        "bearer",
        "p2",
        7,
    )
    assert json.loads(heard[2][1]) == {"refresh_token": PLACEHOLDER, "n": 1}
    assert heard[3][1] == b'data: {"client_secret": "%b"}\n\ndata: end\n\n' % PLACEHOLDER.encode()


@pytest.mark.parametrize("ask", [httpx.get, requests.get])
def test_an_error_that_tells_a_secret_is_redacted(ask, tmp_path):
    """What an exception says goes through the same sieve."""
    heard = []

    def nonsense(handler):
        handler.wfile.write(b"NONSENSE %b\r\n\r\n" % handler.headers["Authorization"].encode())
        handler.close_connection = True

    def body(url):
        try:
            ask(f"{url}/nonsense", headers={"Authorization": f"Bearer {SECRETS['bearer']}"})
        except (httpx.HTTPError, requests.RequestException) as fault:
            heard.append(str(fault))
            return type(fault).__name__

    store = FileExecutionStore(tmp_path)
    runtime = runtime_of(body, True, store)
    with Site({"/nonsense": nonsense}) as site:
        response = runtime.route("go", site.url)
    assert SECRETS["bearer"] in heard[0]
    assert runtime.replay(response.execution_id).divergences == ()
    store.close()
    assert SECRETS["bearer"].encode() not in b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("later", [{"key": "another-key-altogether"}, {"key": None}])
def test_a_record_matches_with_another_key_and_without_one(later):
    """The placeholder depends on nothing, and headers that hold keys tell no requests apart."""
    now = {"key": "the-key-that-recorded"}

    def body(url):
        headers = {} if now["key"] is None else {"Authorization": f"Bearer {now['key']}"}
        return httpx.post(
            f"{url}/x", headers=headers, json={"api_key": now["key"] or "none", "n": 1}
        ).status_code

    runtime = runtime_of(body)
    with Site() as site:
        response = runtime.route("go", site.url)
    now.update(later)
    assert runtime.replay(response.execution_id).divergences == ()


def test_a_header_and_a_key_of_ones_own_are_secrets():
    """What the user names is left out, whatever it is called."""
    redaction = Redaction(headers=["X-Mine"], keys=["pass-word"])
    settings = intentusnet.capture("httpx", headers=["X-Mine", "X-Other"], redaction=redaction)

    def body(url):
        headers = {"X-Mine": "mine", "X-Other": "other"}
        return httpx.post(f"{url}/x", headers=headers, json={"passWord": "p"}).status_code

    runtime = runtime_of(body, settings)
    with Site() as site:
        response = runtime.route("go", site.url)
    asked = json.loads(runtime.store.get(response.execution_id).questions[1].arguments)["kwargs"]
    assert asked["body"] == {"passWord": PLACEHOLDER}
    assert ["x-mine", PLACEHOLDER] in asked["headers"] and ["x-other", "other"] in asked["headers"]


@pytest.mark.parametrize(
    "key",
    ["api_key", "apiKey", "API-KEY", "access_token", "password", "client_secret", "X-Amz-Security-Token"],
)
def test_keys_of_secrets_are_known_in_any_spelling(key):
    """In JSON, in a query, and in text that holds either."""
    redaction = Redaction()
    assert redaction.value({key: "s3cret", "n": [{key: "s3cret"}]}) == {
        key: PLACEHOLDER,
        "n": [{key: PLACEHOLDER}],
    }
    assert redaction.pairs([(key, "s3cret")]) == [[key, PLACEHOLDER]]
    for text in (
        f'{{"{key}": "s3cret"}}',
        f"https://h/p?a=1&{key}=s3cret&b=2",
        f'"{{\\"{key}\\":\\"s3cret\\"}}"',
    ):
        assert "s3cret" not in redaction.text(text)


@pytest.mark.parametrize(
    "form",
    [
        *("sk-{0}", "sk-proj-{0}", "ghp_{0}", "github_pat_{0}", "xoxb-{0}", "AKIA0123456789ABCDEF"),
        *("AIza0123456789012345678901234567890123x", "eyJ{0}.eyJ{0}.{0}"),
    ],
)
def test_well_known_forms_of_keys_are_known_anywhere(form):
    """Where a word begins, in any text, and whole."""
    key = form.format("0123456789abcdefghijABCDEFGHIJ0123456789")
    for text in (key, f"key: {key}.", f"a\n{key}", f'{{"note": "{key}"}}'):
        assert Redaction().text(text) == text.replace(key, PLACEHOLDER)


@pytest.mark.parametrize(
    "text",
    [
        '{"password": "a\\"s3cret", "n": 1}',
        '{"password": "s3cret',
        json.dumps({"arguments": json.dumps({"password": 'a"s3cret', "n": 1})}),
        '--b\r\nContent-Disposition: form-data; name="password"\r\nX: y\r\n\r\ns3cret\r\n--b--',
    ],
)
def test_a_secret_is_found_whole_however_it_is_written(text):
    """With a quote in it, cut off, in JSON within JSON, in a multipart form."""
    assert "s3cret" not in Redaction().text(text) and PLACEHOLDER in Redaction().text(text)


@pytest.mark.parametrize(
    "value",
    [
        {"max_tokens": 5, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 0}},
        {"next_page_token": "abc", "continuation_token": "abc", "pageToken": "abc"},
        {"token": "Hello", "logprob": -0.5},
        {"token_type": "bearer", "tokenizer": "bpe", "token_count": "12"},
        {"password": {"type": "string"}, "required": ["password", "api_key"]},
        {"api_key": None, "secret": 1, "password": ""},
        {"signature": "EqQBCgIYAhIk", "type": "thinking"},
        {"job": "task-that-has-a-rather-long-name", "next": "https://h/?page_token=p&cursor=c"},
        {"secretary": "Ann", "keyword": "k", "authority": "x", "key": "value"},
        {"next_token": "abc", "nextToken": "abc", "sync_token": "abc", "grid_token": "abc"},
        {"text": "sorted(xs, key=len); f(token=token, password=password)"},
        {"text": "Bearer tokens and Basic authentication-schemes"},
        {"clone": "ssh://git@github.com/a/b.git", "page": "https://h/@user", "pkg": "https://h/npm/@a/b@1"},
        {"text": "Idempotency-Key: 0123456789\nMcp-Session-Id: 0123456789\nX-Request-Id: 0123456789"},
        {"url": "https://h/?max_tokens=5&next_token=abc&page_token=x&keyword=k"},
    ],
)
def test_what_only_looks_like_a_secret_is_left_alone(value):
    """Counters, pages, tokens of text, schemas and signed reasoning are no secrets."""
    assert Redaction().value(value) == value
    assert Redaction().text(json.dumps(value)) == json.dumps(value)


def test_a_token_is_a_secret_in_a_query_and_not_in_json():
    """The one word that is both goes by where it stands."""
    redaction = Redaction()
    assert redaction.pairs([("token", "t"), ("page_token", "p")]) == [
        ["token", PLACEHOLDER],
        ["page_token", "p"],
    ]
    assert redaction.value({"token": "t"}) == {"token": "t"}
    expected = f"http://{PLACEHOLDER}@host/?token={PLACEHOLDER}&n=1"
    assert redaction.text("http://user:pw@host/?token=t&n=1") == expected


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("Bearer 0123456789", ["Bearer 0123456789", "0123456789"]),
        ("Basic " + base64.b64encode(b"user:password1").decode(), ["user:password1", "password1"]),
        ("a=12345678; b=87654321", ["12345678", "87654321"]),
        ("short", []),
    ],
)
def test_what_a_server_may_echo_of_a_secret_header_is_known(value, secrets):
    """The credentials without their scheme, a password by itself, each cookie; never a short word."""
    assert set(secrets) <= set(told_by_header(value))
    assert all(len(secret) >= 8 for secret in told_by_header(value))


@given(st.lists(st.sampled_from([b"x", b"SECRET-1", b"SEC", b"RET-1", b"", b"\xc3\xa9 "]), max_size=12))
def test_pieces_are_redacted_as_their_whole_is(pieces):
    """Wherever a secret is cut, no part of it is left, and there are as many pieces as before."""
    redaction = Redaction(patterns=["SECRET-1"])
    redacted = redaction.pieces(pieces)
    whole = b"".join(pieces).decode("latin-1")
    assert len(redacted) == len(pieces)
    assert b"".join(redacted).decode("latin-1") == redaction.text(whole)
    assert "SECRET-1" not in redaction.text(whole)
    assert redaction.pieces(redacted) == redacted


@given(st.text())
def test_redacting_again_changes_nothing(text):
    """What has been redacted is matched by what is redacted later."""
    redaction = Redaction(patterns=["[0-9]{3}"])
    once = redaction.text(f'http://u:p@h/?api_key={text}&password=1 "secret": "{text}"')
    assert redaction.text(once) == once


@pytest.mark.parametrize("pattern", ["(", "a*"])
def test_a_pattern_that_makes_no_sense_is_refused(pattern):
    """No regular expression, or one that matches nothing at all."""
    with pytest.raises(ConfigurationError):
        Redaction(patterns=[pattern])


def test_a_pydantic_secret_among_an_effect_s_arguments_is_not_written(tmp_path):
    """It is recorded as one, without what it holds, so that another one matches."""
    secret = [SecretStr("pydantic-Zq7xWf")]
    store = FileExecutionStore(tmp_path)
    runtime = IntentusRuntime(store=store)

    @runtime.agent("agent", handles="go")
    def agent(ctx: Context) -> int:
        return ctx.effect("call", lambda key: len(key.get_secret_value()), secret[0])

    response = runtime.route("go")
    assert response.payload == 15
    secret[0] = SecretStr("other")
    assert runtime.replay(response.execution_id).divergences == ()
    store.close()
    assert b"Zq7xWf" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_secrets_of_a_memory_store_are_left_out_too():
    """Redaction is a matter of what is captured, whatever the store is."""
    store = MemoryExecutionStore()
    runtime = runtime_of(lambda url: httpx.get(f"{url}/?api_key={SECRETS['query']}").status_code, True, store)
    with Site() as site:
        response = runtime.route("go", site.url)
    assert SECRETS["query"] not in str(store.get(response.execution_id).questions)
