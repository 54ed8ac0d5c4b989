"""Secrets in every place where one can be: not a byte of them is in the directory of the store.

The whole directory is searched, for each way to write a secret: as it is, encoded for URLs, in base64 at each
of its three places, escaped in JSON; and in what bytes in a record decode and decompress to.
"""

# ruff: noqa: PLW1510 - whether a process fails is not what is tested

import asyncio
import base64
import contextlib
import gzip
import json
import re
import subprocess
import sys
import zlib
from urllib.parse import quote

import aiohttp
import brotli
import httpx
import pytest
import requests
from backports import zstd
from helpers.sites import Site, runtime_of

from intentusnet import FileExecutionStore, Redaction
from intentusnet.capture import capture
from intentusnet.capture.coding import decoded

BLOB = 200_000


def secret(place):
    """A secret that is found nowhere by accident, with letters that can be written in several ways."""
    return f"Zq7/{place}+xW=9kQ"


def spellings(text):
    data = text.encode()
    shifted = [base64.b64encode(b"\0" * shift + data) for shift in range(3)]
    # Without the characters at both ends, which depend on what is beside it.
    inside = [one[4:-4] for one in shifted]
    urlsafe = [one.translate(bytes.maketrans(b"+/", b"-_")) for one in inside]
    escaped = [json.dumps(text)[1:-1].encode(), text.replace("/", "\\/").encode()]
    return {
        data,
        text.encode("latin-1", "replace"),
        quote(text, safe="").encode(),
        *escaped,
        *inside,
        *urlsafe,
    }


def written(folder):
    """All bytes of a store, and what bytes in its records decode and decompress to."""
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            yield data
            for found in re.finditer(rb'"\$bytes":"([A-Za-z0-9+/=]*)"', data):
                piece = base64.b64decode(found[1])
                yield piece
                yield packed("unknown", piece)
                for coding in ("gzip", "deflate", "br", "zstd", "br, gzip"):
                    yield decoded(piece, coding) or b""


def leaked(folder, secrets):
    everything = list(written(folder))
    return [
        place
        for place, text in secrets.items()
        if any(spelling in data for spelling in spellings(text) for data in everything)
    ]


class Places(dict):
    """The secrets by place: made when they are named first, some in a file of the folder."""

    def __init__(self, folder=None):
        super().__init__()
        self.folder = folder

    def file(self, place, text):
        """The path of a file with a secret in it."""
        path = self.folder / "file"
        if not path.exists():
            path.write_text(text.format(self[place]))
        return path

    def __missing__(self, place):
        self[place] = secret(place)
        return self[place]


def packed(coding, data):
    for name in coding.split(", "):
        data = {
            "gzip": gzip.compress,
            "deflate": zlib.compress,
            "bare": lambda data: zlib.compress(data, wbits=-15),
            "br": brotli.compress,
            "zstd": zstd.compress,
            "unknown": lambda data: data.translate(bytes(range(255, -1, -1))),
        }[name](data)
    return data


CODINGS = ("gzip", "deflate", "bare", "br", "zstd", "br, gzip")
LATIN = "text/plain; charset=latin-1"


def handlers(places):
    """What the site answers: each path has its secrets in another place."""

    def encoded(coding, sent):
        body = json.dumps({"n": [{"access_token": places[f"answer-{coding}"]}]}).encode()
        return lambda handler: handler.answer(packed(coding, body), ("Content-Encoding", sent))

    def echo(handler):
        told = handler.headers["X-Corp-Token"]
        body = {
            "as it is": told,
            "encoded": quote(told, safe=""),
            "base64": base64.b64encode(told.encode()).decode(),
        }
        text = json.dumps(body).replace("/", "\\/")
        handler.answer(text.encode(), ("Content-Type", "application/json"))

    def headers(handler):
        user, token = quote(places["user of a link"], safe=""), quote(places["link"])
        handler.answer(
            b"",
            ("Set-Cookie", f"{places['cookie without a name']}; Path=/"),
            ("SET-COOKIE", f"sid={places['cookie']}; HttpOnly"),
            ("x-refresh-TOKEN", places["header of an answer"]),
            ("Link", f"<https://u:{user}@h/?token={token}>; rel=next"),
        )

    def stream(handler):
        whole = f'data: {{"delta": {{"client_secret": "{places["stream"]}"}}}}\n\n'.encode() * 3
        handler.stream(tuple(whole[at : at + 7] for at in range(0, len(whole), 7)))

    def away(handler):
        told = quote(places["location"], safe="")
        inner = quote(f"/back?access_token={quote(places['location within'], safe='')}", safe="")
        handler.answer(b"", ("Location", f"/there?next={inner}#access_token={told}"), status=302)

    def broken(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "10000")
        handler.end_headers()
        handler.wfile.write(json.dumps({"password": places["broken body"]}).encode())
        handler.close_connection = True

    def reason(handler):
        handler.wfile.write(
            f"HTTP/1.1 200 no {handler.headers['X-Api-Key']}\r\nContent-Length: 0\r\n\r\n".encode()
        )

    def nonsense(handler):
        handler.wfile.write(f"NONSENSE {handler.headers['Authorization']}\r\n\r\n".encode())
        handler.close_connection = True

    large = {"text": "x" * BLOB, "refresh_token": places["large answer"], "more": "y" * BLOB}
    form = f"access_token={quote(places['form of an answer'], safe='')}&scope=x".encode()
    latin = b"\xe9 {'password': '" + places["answer that is no UTF-8"].encode() + b"'}"
    known = {"bare": "deflate"}
    return {
        **{f"/{coding}": encoded(coding, known.get(coding, coding)) for coding in (*CODINGS, "unknown")},
        "/away": away,
        "/broken": broken,
        "/echo": echo,
        "/form": lambda handler: handler.answer(form),
        "/headers": headers,
        "/large": lambda handler: handler.answer(json.dumps(large).encode()),
        "/latin": lambda handler: handler.answer(latin, ("Content-Type", LATIN)),
        "/nonsense": nonsense,
        "/reason": reason,
        "/stream": stream,
    }


def visit(send, url, places):
    """Sends secrets in all places of a request, and asks for all of what the site answers."""
    user = url.replace("http://", f"http://user:{quote(places['user of the URL'], safe='')}@")
    send("GET", f"{user}/x")
    send("GET", f"{url}/x", params={"page": "1", "openai_api_key": places["query"], "sig": places["signed"]})
    send("GET", f"{url}/echo", headers={"X-Corp-Token": places["echo"]})
    send("GET", f"{url}/reason", headers={"x-API-key": places["reason"]})
    send("GET", f"{url}/nonsense", headers={"AUTHORIZATION": f"Bearer {places['error']}"})
    inner = json.dumps({"arguments": json.dumps({"password": places["JSON in JSON in JSON"]})})
    tree = {
        "l": [{"db_password": places["JSON"]}],
        "s": json.dumps({"apiKey": places["JSON in JSON"]}),
        "d": inner,
    }
    send("POST", f"{url}/x", json=tree)
    send("POST", f"{url}/x", json={"text": "x" * BLOB, "secret": places["large JSON"]})
    send("POST", f"{url}/x", data={"client_assertion": places["form"], "name": "n"})
    lines = f"{'A' * 60}\r\n{places['key of several lines']}\r\n"
    pem = f"-----BEGIN RSA PRIVATE KEY-----\r\n{lines}-----END RSA PRIVATE KEY-----"
    field = 'Content-Disposition: form-data; name="password"'
    for body in (
        f"--b\r\n{field}\r\n\r\n1\r\n{places['field']}\r\n--b--\r\n".encode(),
        pem.encode(),
        f"curl -H 'Authorization: Bearer {places['header in a text']}'".encode(),
        b"\xff\xfe {'secret': '" + places["bytes"].encode() + b"'}",
    ):
        send("POST", f"{url}/x", data=body)
    for coding in (*CODINGS, "unknown"):
        body = packed(coding, json.dumps({"secret": places[f"sent-{coding}"]}).encode())
        header = {
            "Content-Encoding": "deflate" if coding == "bare" else coding,
            "Content-Type": "application/json",
        }
        send("POST", f"{url}/x", data=body, headers=header)
    for path in (*CODINGS, "unknown", "away", "broken", "form", "headers", "large", "latin", "stream"):
        send("GET", f"{url}/{path}")


def with_httpx(url, places):
    def send(method, url, *, data=None, **options):
        body = {"content": data} if isinstance(data, bytes) else {"data": data}
        with contextlib.suppress(httpx.HTTPError):
            client.request(method, url, **body, **options)

    with httpx.Client(verify=False) as client:
        visit(send, url, places)


def with_requests(url, places):
    def send(method, url, **options):
        with contextlib.suppress(requests.RequestException):
            requests.request(method, url, allow_redirects=False, **options)

    visit(send, url, places)


def with_aiohttp(url, places):
    def send(method, url, **options):
        async def main():
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, url, allow_redirects=False, **options) as response,
            ):
                await response.read()

        with contextlib.suppress(aiohttp.ClientError, ValueError):
            asyncio.run(main())

    visit(send, url, places)


CLIENTS = {"aiohttp": with_aiohttp, "httpx": with_httpx, "requests": with_requests}


@pytest.mark.parametrize("client", CLIENTS)
def test_no_secret_of_http_is_written_wherever_it_is(client, tmp_path):
    """Requests, answers and errors: none of the secrets is in the store in any spelling."""
    places = Places()
    store = FileExecutionStore(tmp_path)
    runtime = runtime_of(lambda url: CLIENTS[client](url, places), client, store)
    with Site(handlers(places)) as site:
        response = runtime.route("go", site.url)
        asked = len(site.requests)
        assert response.error is None, response.error
        report = runtime.replay(response.execution_id)
        assert report.divergences == (), "\n".join(map(str, report.divergences))
        assert asked == len(site.requests) >= 30
    store.close()
    assert len(places) >= 30 and leaked(tmp_path, places) == []


class Rotated(Places):
    """Other secrets, of another length."""

    def __missing__(self, place):
        self[place] = f"Another/{place}/key+{len(place)}"
        return self[place]


def test_with_another_key_in_every_place_a_record_matches():
    """After all keys were rotated, what is sent with them is still what is on record."""
    now = [Places()]
    runtime = runtime_of(lambda url: with_httpx(url, now[0]), "httpx")
    with Site(handlers(now[0])) as site:
        response = runtime.route("go", site.url)
    now[:] = [Rotated()]
    report = runtime.replay(response.execution_id)
    assert report.divergences == (), "\n".join(map(str, report.divergences))


def test_a_secret_that_was_met_is_one_wherever_it_turns_up_later(tmp_path):
    """A token of an answer is left out of the path, the body and the command in which it is used."""
    token = "Zq7-met-in-an-answer-xW9"

    def login(handler):
        handler.answer(json.dumps({"access_token": token}).encode())

    def body(url):
        found = requests.get(f"{url}/login").json()["access_token"]
        requests.post(f"{url}/of/{found}/x", json={"note": f"as {found}"})
        subprocess.run(["echo", f"as {found}"], capture_output=True, check=True)
        return "done"

    store = FileExecutionStore(tmp_path)
    runtime = runtime_of(body, ("requests", "process"), store)
    with Site({"/login": login}) as site:
        response = runtime.route("go", site.url)
        assert response.error is None, response.error
        assert site.requests[1][1] == f"/of/{token}/x"
    assert runtime.replay(response.execution_id).divergences == ()
    store.close()
    assert leaked(tmp_path, {"met": token}) == []


SHOWN = (
    "import os, sys; print(os.environ.get('DB_PASSWORD'), sys.argv[1:]); sys.stderr.write(sys.stdin.read())"
)


def processes(places):
    """Hands secrets to processes in all ways, which show all of them."""
    python = [sys.executable, "-c", SHOWN]
    env = {"DB_PASSWORD": places["variable"], "PATH": "/usr/bin:/bin"}
    options = ["--password", places["option"], f"--api-key={places['option with =']}"]
    header = ["-H", f"Authorization: Bearer {places['header']}"]
    subprocess.run(
        [*python, *options, *header],
        env=env,
        input=json.dumps({"secret": places["input"]}),
        capture_output=True,
        text=True,
    )
    shell = f"PGPASSWORD='{places['in front']}' true --token '{places['token']}'"
    subprocess.run(shell, shell=True, capture_output=True)  # noqa: S602 - that is what is tested
    subprocess.run(["cat", places.file("listed", "A=1\nexport AWS_SECRET_KEY={}\n")], capture_output=True)
    subprocess.run(["curl", "-u", f"me:{places['curl']}", "--version"], capture_output=True)
    told = json.dumps({"access_token": places["output"]})
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(told.encode() + b"\xff\n")
        process.stdin.flush()
        process.stdout.readline()
    with contextlib.suppress(subprocess.TimeoutExpired):
        command = f"echo '{json.dumps({'password': places['what was said in time']})}'; sleep 60"
        subprocess.run(
            ["sh", "-c", command, "sh", "--secret", places["late"]], capture_output=True, timeout=0.3
        )
    with contextlib.suppress(subprocess.CalledProcessError):
        subprocess.check_output(["false", f"https://u:{quote(places['command that fails'], safe='')}@h/"])

    async def main():
        process = await asyncio.create_subprocess_exec(
            "cat", "--", f"https://h/?access_token={places['asyncio']}", stderr=asyncio.subprocess.PIPE
        )
        await process.communicate()

    asyncio.run(main())
    return "done"


def test_what_a_process_says_reaches_the_agent_whole():
    """Live it gets the secrets that are not on record, in pieces of any size; on replay, the placeholder."""
    heard = []

    def body(_):
        whole = subprocess.run(["echo", "ACME-1"], capture_output=True, check=True).stdout
        with subprocess.Popen(["echo", "ACME-1 and more"], stdout=subprocess.PIPE, bufsize=0) as process:
            pieces = list(iter(lambda: process.stdout.read(6), b""))
        heard.append([whole, b"".join(pieces)])
        assert max(map(len, pieces)) == 6

    settings = capture("process", redaction=Redaction(patterns=["ACME-[0-9]"]))
    runtime = runtime_of(body, settings)
    response = runtime.route("go", "")
    assert response.error is None, response.error
    assert runtime.replay(response.execution_id).divergences == ()
    assert heard == [[b"ACME-1\n", b"ACME-1 and more\n"], [b"[redacted]\n", b"[redacted] and more\n"]]


def test_no_secret_of_a_process_is_written_wherever_it_is(tmp_path):
    """Arguments, variables, input, output and errors; the replay matches, with other secrets too."""
    places = Places(tmp_path)
    now = [places]
    store = FileExecutionStore(tmp_path / "store")
    runtime = runtime_of(lambda _: processes(now[0]), "process", store)
    response = runtime.route("go", "")
    assert response.error is None, response.error
    report = runtime.replay(response.execution_id)
    assert report.divergences == (), "\n".join(map(str, report.divergences))
    now[:] = [Rotated(tmp_path)]
    assert runtime.replay(response.execution_id).divergences == ()
    store.close()
    assert len(places) >= 14 and leaked(tmp_path / "store", places) == []
