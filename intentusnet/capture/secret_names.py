"""How secrets are called: names of headers, of keys in queries, forms and JSON, and of variables.

A name counts in any spelling (``apiKey``, ``api-key`` and ``API_KEY`` are one), and with a word in front
(``db_password``, ``openai_api_key``, ``xi-api-key``). Names of what only looks like a secret end otherwise or
are told apart here: counters (``max_tokens``), pages (``next_page_token``, ``x-ms-continuation-token``),
kinds (``token_type``), and what a protocol repeats (``idempotency-key``, ``mcp-session-id``).
"""

from __future__ import annotations

import functools
import re
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Names of headers of one word, and those that end in none of `ENDS`.
SECRET_HEADERS: Final = _words(
    """
    apikey authentication-info authorization cookie proxy-authentication-info proxy-authorization
    set-cookie set-cookie2 x-functions-key
    """
)
#: What names of keys end in, as `normal` spells them.
ENDS: Final = (
    "accesskey", "accesstoken", "apikey", "apitoken", "authkey", "authtoken", "bearertoken", "bottoken",
    "clientassertion", "csrftoken", "encryptionkey", "licensekey", "masterkey", "oauthtoken", "passphrase",
    "passwd", "password", "privatekey", "refreshtoken", "secret", "secretkey", "securitytoken",
    "sessiontoken", "sharedkey", "signingkey", "subscriptionkey",
)  # fmt: skip
#: Whole names of keys.
SECRET_KEYS: Final = _words(
    """
    accountkey authenticitytoken authorization bearer connectionstring cookie csrfmiddlewaretoken idtoken
    jwt proxyauthorization pwd requestverificationtoken secretaccesskey setcookie sig signature xamzcredential
    xamzsignature xgoogcredential xgoogsignature
    """
)
#: Secrets in a query or a form alone. In JSON these words mean many things.
_QUERY_KEYS: Final = frozenset({"assertion", "key", "token"})
#: Words for a key are these only in a query or a form, too: in JSON ``signature`` is often part of a protocol
#: (models sign their reasoning), and has to go back as it came.
_NOT_IN_JSON: Final = frozenset({"sig", "signature"})
_IN_QUERIES: Final = SECRET_KEYS | _QUERY_KEYS
_IN_JSON: Final = SECRET_KEYS - _NOT_IN_JSON
#: In headers a token is a secret unless it says where to go on.
_TOKEN: Final = re.compile(r"(?<!continuation)(?<!cursor)(?<!next)(?<!page)(?<!resume)(?<!sync)token$")
_VARIABLE: Final = re.compile(
    r"(AUTH|CREDENTIALS?|DSN|KEY|PASS|PASSPHRASE|PASSWD|PASSWORD|SECRET|TOKEN|_PWD)$", re.IGNORECASE
)


@functools.lru_cache(maxsize=4096)
def normal(name: str) -> str:
    """A name in the one spelling that names are compared in; "" where it has neither letters nor digits."""
    return "".join(character for character in name.casefold() if character.isalnum())


@functools.lru_cache(maxsize=4096)
def is_secret_header(name: str) -> bool:
    """Whether a header's value is a secret."""
    lowered, spelt = name.lower(), normal(name)
    if "-" not in lowered or lowered in SECRET_HEADERS:
        return lowered in SECRET_HEADERS
    return spelt.endswith((*ENDS, "auth")) or _TOKEN.search(spelt) is not None


@functools.lru_cache(maxsize=4096)
def is_secret_key(key: str, *, query: bool = False) -> bool:
    """Whether a key's value is a secret.

    Args:
        key: in any spelling.
        query: it stands in a query or a form, and not in JSON.
    """
    spelt = normal(key)
    return spelt in (_IN_QUERIES if query else _IN_JSON) or spelt.endswith(ENDS)


def is_secret_variable(name: str) -> bool:
    """Whether the value of a variable of the environment is a secret."""
    return _VARIABLE.search(name) is not None
