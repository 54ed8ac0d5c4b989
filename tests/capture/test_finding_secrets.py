"""What is found to be a secret: by the names of headers and keys, and in each spelling of what is known."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from intentusnet import Redaction
from intentusnet.capture.redaction import PLACEHOLDER


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        *(
            (name, True)
            for name in ("Authorization", "xi-api-key", "X-RapidAPI-Key", "X-Corp-Token", "x-auth")
        ),
        *(
            (name, True)
            for name in ("X-Amz-Security-Token", "Set-Cookie", "X-Shopify-Access-Token", "apikey")
        ),
        *((name, False) for name in ("Idempotency-Key", "Mcp-Session-Id", "X-Ms-Continuation-Token")),
        *(
            (name, False)
            for name in ("X-Next-Page-Token", "X-RateLimit-Remaining-Tokens", "Sec-WebSocket-Key")
        ),
        *((name, False) for name in ("ETag", "Surrogate-Key", "WWW-Authenticate", "OpenAI-Organization")),
    ],
)
def test_headers_are_secrets_by_their_names(name, is_secret):
    """Keys and tokens are, whoever made up the name; what a protocol repeats or goes on from is not."""
    assert Redaction().is_secret_header(name) is is_secret
    line = f"{name}: 0123456789"
    assert (Redaction().text(line) != line) is is_secret


def test_a_key_of_ones_own_in_another_alphabet_is_that_key_alone():
    """Letters count in any alphabet; what has none is no name."""
    redaction = Redaction(keys=["密码", "-"])
    assert redaction.value({"密码": "s", "名前": "n", "-": "x"}) == {
        "密码": PLACEHOLDER,
        "名前": "n",
        "-": "x",
    }
    assert redaction.data('é {"密码": "s"} é'.encode()) == f'é {{"密码": "{PLACEHOLDER}"}} é'.encode()


@pytest.mark.parametrize(
    "secret", ["пароль-0123456789", 'quo"te\\0123456789', "a&b<c>0123456789", "päß/+ 01234567"]
)
@pytest.mark.parametrize("rest", [b"", b"\xff"])
def test_a_known_secret_is_found_however_it_is_echoed(secret, rest):
    """As it is, in JSON, in a URL, in HTML and in base64, in text and beside bytes that are none."""
    data = secret.encode()
    for form in (
        *(data, json.dumps(secret).encode()[1:-1], json.dumps(secret, ensure_ascii=False).encode()[1:-1]),
        *(quote(secret).encode(), quote_plus(secret).encode(), html.escape(secret).encode()),
        *(base64.b64encode(data), base64.urlsafe_b64encode(data).rstrip(b"=")),
    ):
        found = Redaction().data(b"\xc3\xa9 " + form + b" end" + rest, [secret])
        assert found.startswith(b"\xc3\xa9 [redacted]") and form not in found


@pytest.mark.parametrize(
    "unit", ['"password": "', 'name="password"x\r\na\r\n', '\\"a\\": \\"', "-----BEGIN PRIVATE KEY-----"]
)
def test_hostile_text_takes_no_more_than_its_share(unit):
    """A text that begins many matches and ends none is read in one go: this would take hours otherwise."""
    assert len(Redaction().text(unit * (1_000_000 // len(unit)))) <= 1_000_000
