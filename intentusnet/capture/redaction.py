"""Redaction: what is left out of a record before anything is written.

A secret gives way to `PLACEHOLDER`, which depends on nothing: so a record made with one key is matched by a
run with another. Redacting what is redacted changes nothing.

What is a secret is told by where it stands: a header (`SECRET_HEADERS`), a key of a query, form or JSON
object (`SECRET_KEYS`, in any spelling: ``apiKey``, ``api-key`` and ``API_KEY`` are one), the user part of a
URL; or by its looks: well-known forms of keys, and the patterns of the user. Only text is taken for a secret:
in ``{"password": {"type": "string"}}``, a schema, there is none. A bare ``token`` is one in a query or a
form and not in JSON, where models' answers list tokens; ``max_tokens``, ``total_tokens``,
``next_page_token``, ``token_type`` and the like are no secrets anywhere.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from intentusnet.errors import ConfigurationError

PLACEHOLDER: Final = "[redacted]"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SECRET_HEADERS: Final = _words(
    """
    api-key apikey authentication-info authorization cookie dd-api-key ocp-apim-subscription-key private-token
    proxy-authentication-info proxy-authorization set-cookie x-access-token x-amz-security-token x-api-key
    x-auth-token x-csrf-token x-functions-key x-github-token x-gitlab-token x-goog-api-key x-session-token
    x-subscription-token x-vault-token x-xsrf-token
    """
)
#: As `_normal` spells them.
SECRET_KEYS: Final = _words(
    """
    accesskey accesstoken apikey apisecret apitoken authtoken authorization clientsecret csrftoken idtoken
    oauthtoken passphrase passwd password privatekey pwd refreshtoken secret secretaccesskey secretkey
    sessiontoken sharedsecret sig signature subscriptionkey xamzcredential xamzsecuritytoken xamzsignature
    xapikey xgoogsignature
    """
)
#: Secrets in a query or a form alone. In JSON these words mean many things.
_QUERY_KEYS: Final = frozenset({"key", "token"})
#: Words for a key are these only in a query or a form, too: in JSON ``signature`` is often part of a protocol
#: (models sign their reasoning), and has to go back as it came.
_NOT_IN_JSON: Final = frozenset({"sig", "signature"})
_IN_QUERIES: Final = SECRET_KEYS | _QUERY_KEYS
_IN_JSON: Final = SECRET_KEYS - _NOT_IN_JSON

#: Each begins with its letters, which makes the search fast, and looks back whether a word begins there.
_WELL_KNOWN: Final = (
    r"sk-(?<![A-Za-z0-9]sk-)[A-Za-z0-9_-]{20,}",
    r"gh[pousr]_(?<![A-Za-z0-9]gh[pousr]_)[A-Za-z0-9]{36,}",
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"xox[abeprs]-(?<![A-Za-z0-9]xox[abeprs]-)[A-Za-z0-9-]{10,}",
    r"AKIA(?<![A-Za-z0-9]AKIA)[0-9A-Z]{16}\b",
    r"ASIA(?<![A-Za-z0-9]ASIA)[0-9A-Z]{16}\b",
    r"AIza(?<![A-Za-z0-9]AIza)[0-9A-Za-z_-]{35}",
    r"eyJ(?<![A-Za-z0-9]eyJ)[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
)
#: A user part of a URL, and a parameter in one: where text holds URLs.
_USER: Final = re.compile(r"://([^/?#\s@\"'<>]+)@")
_PARAMETER: Final = re.compile(r"[?&]([A-Za-z0-9_.\-]+)=([^&#\s\"'<>\\]+)")
#: A member of a JSON object, as such and within a JSON text; the end may be cut off.
_MEMBER: Final = re.compile(r'"([A-Za-z0-9_.\- ]{2,40})"\s*:\s*"((?:[^"\\]|\\.)+)(?:"|\Z)', re.DOTALL)
_QUOTED: Final = re.compile(
    r'\\"([A-Za-z0-9_.\- ]{2,40})\\"\s*:\s*\\"((?:[^"\\]|\\\\\\"|\\[^"])+)(?:\\"|\Z)', re.DOTALL
)
#: A field of a multipart form.
_FIELD: Final = re.compile(r'name="([^"\r\n]{2,40})"[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]+)')
#: Where text holds a name and its value, and whether that is in a query or a form.
_NAMED: Final = ((_PARAMETER, True), (_FIELD, True), (_MEMBER, False), (_QUOTED, False))
_COOKIE: Final = re.compile(r"^([^=;]*=)[^;]*")

#: Shorter ones are not looked for where they are echoed: they would be found in ordinary text.
_LEAST_ECHO: Final = 8


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is not written down, beside what never is.

    Attributes:
        headers: names of further headers whose value is a secret.
        keys: further keys of queries, forms and JSON objects whose value is a secret, if it is text.
        patterns: regular expressions; whatever part of a text matches is a secret.

    Raises:
        ConfigurationError: a pattern is no regular expression, or would match nothing at all.
    """

    headers: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()

    def __init__(
        self, headers: Iterable[str] = (), keys: Iterable[str] = (), patterns: Iterable[str] = ()
    ) -> None:
        object.__setattr__(self, "headers", frozenset(name.lower() for name in headers))
        object.__setattr__(self, "keys", frozenset(_normal(key) for key in keys))
        object.__setattr__(self, "patterns", tuple(dict.fromkeys(patterns)))
        for pattern in self.patterns:
            _check_pattern(pattern)

    def __or__(self, other: Redaction) -> Redaction:
        return Redaction(
            self.headers | other.headers, self.keys | other.keys, (*self.patterns, *other.patterns)
        )

    def is_secret_header(self, name: str) -> bool:
        """Whether a header's value is a secret, whatever it is."""
        return name.lower() in SECRET_HEADERS or name.lower() in self.headers

    def is_secret_key(self, key: str, *, query: bool = False) -> bool:
        """Whether a key's value is a secret.

        Args:
            key: in any spelling.
            query: it stands in a query or a form, and not in JSON.
        """
        normal = _normal(key)
        if normal in self.keys:
            return True
        return normal in (_IN_QUERIES if query else _IN_JSON)

    def header(self, name: str, value: str) -> str:
        """A header's value as it is written down; a cookie keeps its name and attributes."""
        if name.lower() == "set-cookie":
            return _COOKIE.sub(rf"\g<1>{PLACEHOLDER}", value)
        return PLACEHOLDER if self.is_secret_header(name) else self.text(value)

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
        """The parameters of a query or a form as they are written down."""
        return [
            [key, PLACEHOLDER if value and self.is_secret_key(key, query=True) else self.text(value)]
            for key, value in pairs
        ]

    def value(self, value: Any) -> Any:
        """A value as it is written down: text under the key of a secret, and what matches in any text."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {key: self._member(key, item) for key, item in value.items()}
        return value

    def text(self, text: str, secrets: Iterable[str] = ()) -> str:
        """A text as it is written down.

        Args:
            text: anything; URLs and JSON in it are looked into.
            secrets: texts that are known to be secrets.
        """
        parts: list[str] = []
        at = 0
        for start, end in self._spans(text, secrets):
            parts += (text[at:start], PLACEHOLDER)
            at = end
        return "".join((*parts, text[at:])) if parts else text

    def pieces(self, pieces: Sequence[bytes], secrets: Iterable[str] = ()) -> list[bytes]:
        """The pieces of a stream as they are written down; secrets may reach from one into the next.

        There are as many as before; a secret is left out where it begins.
        """
        # In this encoding an index into the text is one into the bytes.
        text = b"".join(pieces).decode("latin-1")
        spans = self._spans(text, secrets)
        if not spans:
            return list(pieces)
        redacted = []
        start = 0
        for end in accumulate(map(len, pieces)):
            parts: list[str] = []
            at = start
            for first, last in spans:
                if first < end and last > start:
                    parts += (text[at : max(first, at)], PLACEHOLDER if first >= start else "")
                    at = min(last, end)
            redacted.append("".join((*parts, text[at:end])).encode("latin-1"))
            start = end
        return redacted

    def _member(self, key: Any, value: Any) -> Any:
        if isinstance(value, str) and value and isinstance(key, str) and self.is_secret_key(key):
            return PLACEHOLDER
        return self.value(value)

    def _spans(self, text: str, secrets: Iterable[str]) -> list[tuple[int, int]]:
        """Where the secrets are: ascending, apart from each other."""
        found = [match.span() for pattern in _compiled(self.patterns) for match in pattern.finditer(text)]
        found += [match.span(1) for match in _USER.finditer(text)]
        for named, query in _NAMED:
            for match in named.finditer(text):
                if self.is_secret_key(match[1], query=query):
                    found.append(match.span(2))
        for secret in secrets:
            found += [match.span() for match in re.finditer(re.escape(secret), text)]
        joined: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if joined and start < joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            elif end > start and text[start:end] != PLACEHOLDER:
                joined.append((start, end))
        return joined


def told_by_header(value: str) -> list[str]:
    """The secrets in a secret header's value, as a server may echo them: the credentials, without scheme."""
    secrets = [value, *(part.partition("=")[2] for part in value.split("; ") if "=" in part)]
    scheme, _, credentials = value.partition(" ")
    if credentials:
        secrets.append(credentials)
    if scheme.lower() == "basic":
        try:
            user = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return worth_looking_for(secrets)
        secrets += [user, user.partition(":")[2]]
    return worth_looking_for(secrets)


def worth_looking_for(secrets: Iterable[str]) -> list[str]:
    """Those that are long enough not to be found in ordinary text."""
    return [secret for secret in dict.fromkeys(secrets) if len(secret) >= _LEAST_ECHO]


@functools.lru_cache(maxsize=4096)
def _normal(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key.lower())


@functools.lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in (*_WELL_KNOWN, *patterns))


def _check_pattern(pattern: str) -> None:
    try:
        empty = re.compile(pattern).match("")
    except re.error as fault:
        raise ConfigurationError(
            f"a pattern of the redaction is no regular expression: {fault}", got=repr(pattern)
        ) from fault
    if empty:
        raise ConfigurationError(
            "a pattern of the redaction matches the empty text, so it says nothing of what is secret",
            got=repr(pattern),
        )
