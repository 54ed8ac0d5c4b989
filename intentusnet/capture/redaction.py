"""Redaction: what is left out of a record before anything is written.

A secret gives way to `PLACEHOLDER`, which depends on nothing: so a record made with one key is matched by a
run with another. Redacting what is redacted changes nothing.

What is a secret is told by where it stands: in a header or under a key that is named like one
(`secret_names`), in the user part of a URL; by its looks: well-known forms of keys, and the patterns of the
user; or because it is known: what went out as a secret is one where a server echoes it, in each spelling that
it can have there. Only text is taken for a secret: in ``{"password": {"type": "string"}}``, a schema, there
is none. A bare ``token`` is one in a query or a form and not in JSON, where models' answers list tokens.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final
from urllib.parse import quote, quote_plus

from intentusnet.capture import secret_names
from intentusnet.errors import ConfigurationError

PLACEHOLDER: Final = "[redacted]"

#: Each begins with its letters, which makes the search fast, and looks back whether a word begins there.
_WELL_KNOWN: Final = (
    r"sk-(?<![A-Za-z0-9]sk-)[A-Za-z0-9_-]{20,}",
    r"[rs]k_(?<![A-Za-z0-9][rs]k_)(?:live|test)_[A-Za-z0-9]{16,}",
    r"whsec_[A-Za-z0-9+/]{16,}",
    r"gh[pousr]_(?<![A-Za-z0-9]gh[pousr]_)[A-Za-z0-9]{36,}",
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"glpat-[A-Za-z0-9_-]{20,}",
    r"hf_(?<![A-Za-z0-9]hf_)[A-Za-z0-9]{30,}",
    r"npm_(?<![A-Za-z0-9]npm_)[A-Za-z0-9]{36}\b",
    r"pypi-AgE[A-Za-z0-9_-]{50,}",
    r"xox[abeprs]-(?<![A-Za-z0-9]xox[abeprs]-)[A-Za-z0-9-]{10,}",
    r"xapp-(?<![A-Za-z0-9]xapp-)[0-9]-[A-Za-z0-9-]{10,}",
    r"AKIA(?<![A-Za-z0-9]AKIA)[0-9A-Z]{16}\b",
    r"ASIA(?<![A-Za-z0-9]ASIA)[0-9A-Z]{16}\b",
    r"AIza(?<![A-Za-z0-9]AIza)[0-9A-Za-z_-]{35}",
    r"ya29\.[0-9A-Za-z_-]{20,}",
    r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    r"eyJ(?<![A-Za-z0-9]eyJ)[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]+?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
)
#: These have the secret in their first group. A user part of a URL; that of ssh is a name without a password.
#: The placeholder, as it stands in a URL on replay. Credentials with their scheme.
_KNOWN_PLACES: Final = (
    re.compile(r"://(?<!ssh://)([^/?#\s\"'<>\\]+)@"),
    re.compile(r"://([^/?#\s\"'<>\\:]+:[^/?#\s\"'<>\\]+)@"),
    re.compile(r"(%5[Bb]redacted%5[Dd])"),
    re.compile(r"earer +(?<![A-Za-z].earer )(?=\S*[0-9])([A-Za-z0-9._~+/-]{20,}=*)"),
    re.compile(r"asic +(?<![A-Za-z].asic )(?=\S*[0-9])([A-Za-z0-9._~+/-]{20,}=*)"),
)
#: These have a name in one group, and its value in the next. A parameter of a URL or a form:
_PARAMETER: Final = re.compile(r"[?#&](?:amp;)?([A-Za-z0-9_.\-\[\]]+)=([^&#\s\"'<>\\]+)")
#: the first one of a form,
_FIRST: Final = re.compile(r"\A([A-Za-z0-9_.\-\[\]]+)=([^&#\s\"'<>\\$(][^&#\s\"'<>\\]*)")
#: one of a URL that is itself a parameter of another one,
_NESTED: Final = re.compile(r"%(?:3[Ff]|26|23)([A-Za-z0-9_.\-]+)%3[Dd]((?:(?!%26|%23)[^&#\s\"'<>\\])+)")
#: a part of a connection string,
_SETTING: Final = re.compile(r";\s*([A-Za-z0-9_.\- ]{2,40})=([^;\s\"'<>\\()]+)(?=[;\s\"'\\]|\Z)")
#: a member of a JSON object or what looks like one, whose end may be cut off,
_MEMBER: Final = re.compile(
    r"([\"'])([^\"'\\\r\n]{2,60})\1\s*:\s*([\"'])((?:(?!\3)[^\\]|\\.)+)(?:\3|\Z)", re.DOTALL
)
#: and one in JSON that is text in JSON, perhaps in JSON again: quotes have as many backslashes as the first.
_QUOTED: Final = re.compile(
    r'(?<!\\)(\\{1,7})"([^"\\\r\n]{2,60})\1"\s*:\s*\1"((?:[^"\\]|\\+[^"\\]|\1\\+")+)(?:\1"|\Z)'
)
#: A header in a text, as tools that speak HTTP take and show them.
_LINE: Final = re.compile(r"(?:^|[\"'\n])([A-Za-z0-9-]{6,60}): *([^\r\n\"']+)", re.MULTILINE)
#: The head of a field of a multipart form; the value is what comes until the next boundary.
_FIELD: Final = re.compile(r'name="([^"\r\n]{2,60})"[^\r\n]*\r\n(?:[^\r\n]+\r\n){0,8}\r\n')
_COOKIE: Final = re.compile(r"^([^=;]*=)?[^;]*")

#: One of these stands, in small letters, in whatever is a secret by its place or its looks: a quick look at
#: text without any tells that there is none.
SIGNS: Final = tuple(
    b"key pass pwd secret sig token auth cookie credential assertion bearer basic connection jwt :// sk- sk_ "
    b"rk_ whsec_ ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- hf_ npm_ pypi- xox xapp- akia asia aiza ya29. "
    b"sg. eyj".split()
)

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
        object.__setattr__(self, "keys", frozenset(secret_names.normal(key) for key in keys) - {""})
        object.__setattr__(self, "patterns", tuple(dict.fromkeys(patterns)))
        for pattern in self.patterns:
            _check_pattern(pattern)

    def __or__(self, other: Redaction) -> Redaction:
        return Redaction(
            self.headers | other.headers, self.keys | other.keys, (*self.patterns, *other.patterns)
        )

    def is_secret_header(self, name: str) -> bool:
        """Whether a header's value is a secret, whatever it is."""
        return secret_names.is_secret_header(name) or name.lower() in self.headers

    def is_secret_key(self, key: str, *, query: bool = False) -> bool:
        """Whether a key's value is a secret.

        Args:
            key: in any spelling.
            query: it stands in a query or a form, and not in JSON.
        """
        return secret_names.is_secret_key(key, query=query) or secret_names.normal(key) in self.keys

    def header(self, name: str, value: str, secrets: Iterable[str] = ()) -> str:
        """A header's value as it is written down; a cookie that is set keeps its name and attributes."""
        if name.lower() == "set-cookie":
            return _COOKIE.sub(rf"\g<1>{PLACEHOLDER}", self.text(value, secrets))
        return PLACEHOLDER if self.is_secret_header(name) else self.text(value, secrets)

    def pairs(self, pairs: Iterable[tuple[str, str]], secrets: Sequence[str] = ()) -> list[list[str]]:
        """The parameters of a query or a form as they are written down."""
        return [
            [key, PLACEHOLDER if value and self.is_secret_key(key, query=True) else self.text(value, secrets)]
            for key, value in pairs
        ]

    def value(self, value: Any, secrets: Sequence[str] = ()) -> Any:
        """A value as it is written down: text under the key of a secret, and what matches in any text."""
        if isinstance(value, str):
            return self.text(value, secrets)
        if isinstance(value, bytes):
            return self.data(value, secrets)
        if isinstance(value, list | tuple | set | frozenset):
            return type(value)(self.value(item, secrets) for item in value)
        if isinstance(value, dict):
            return {key: self._member(key, item, secrets) for key, item in value.items()}
        return value

    def text(self, text: str, secrets: Iterable[str] = ()) -> str:
        """A text as it is written down.

        Args:
            text: anything; URLs, headers and JSON in it are looked into.
            secrets: texts that are known to be secrets.
        """
        parts: list[str] = []
        at = 0
        for start, end in self._spans(text, _spellings(secrets)):
            parts += (text[at:start], PLACEHOLDER)
            at = end
        return "".join((*parts, text[at:])) if parts else text

    def data(self, data: bytes, secrets: Iterable[str] = ()) -> bytes:
        """Bytes as they are written down; see `text`."""
        return self.pieces([data], secrets)[0]

    def pieces(self, pieces: Sequence[bytes], secrets: Iterable[str] = ()) -> list[bytes]:
        """The pieces of a stream as they are written down; secrets may reach from one into the next.

        There are as many as before; a secret is left out where it begins.
        """
        whole = b"".join(pieces)
        spans = self._spans_of(whole, secrets)
        if not spans:
            return list(pieces)
        redacted = []
        start = 0
        for end in accumulate(map(len, pieces)):
            parts: list[bytes] = []
            at = start
            for first, last in spans:
                if first < end and last > start:
                    parts += (whole[at : max(first, at)], PLACEHOLDER.encode() if first >= start else b"")
                    at = min(last, end)
            redacted.append(b"".join((*parts, whole[at:end])))
            start = end
        return redacted

    def secrets_in(self, text: str) -> list[str]:
        """The secrets that a text shows."""
        return [text[start:end] for start, end in self._spans(text, ())]

    def _member(self, key: Any, value: Any, secrets: Sequence[str]) -> Any:
        if isinstance(value, str) and value and isinstance(key, str) and self.is_secret_key(key):
            return PLACEHOLDER
        return self.value(value, secrets)

    def _spans_of(self, data: bytes, secrets: Iterable[str]) -> list[tuple[int, int]]:
        """Where the secrets are in bytes."""
        known = _spellings(secrets)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            # In this encoding an index into the text is one into the bytes.
            known = [one.encode("utf-8", "surrogatepass").decode("latin-1") for one in known]
            return self._spans(data.decode("latin-1"), known)
        spans = self._spans(text, known)
        if text.isascii() or not spans:
            return spans
        moved, at, place = [], 0, 0
        for start, end in spans:
            first = place + len(text[at:start].encode())
            place = first + len(text[start:end].encode())
            at = end
            moved.append((first, place))
        return moved

    def _spans(self, text: str, known: Iterable[str]) -> list[tuple[int, int]]:
        """Where the secrets are: ascending, apart from each other."""
        found = [match.span() for pattern in _compiled(self.patterns) for match in pattern.finditer(text)]
        found += [match.span(1) for place in _KNOWN_PLACES for match in place.finditer(text)]
        found += self._named(text)
        for one in known:
            if one in text:
                found += [match.span() for match in re.finditer(re.escape(one), text)]
        joined: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if joined and start < joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            elif end > start and text[start:end] != PLACEHOLDER:
                joined.append((start, end))
        return joined

    def _named(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the values are of what is named like a secret."""
        if "=" in text:
            for pattern, query in ((_FIRST, True), (_PARAMETER, True), (_SETTING, False)):
                yield from self._values(pattern, text, query=query)
        if "%3" in text:
            yield from self._values(_NESTED, text, query=True)
        if ":" in text:
            yield from self._values(_MEMBER, text, name=2, value=4)
            if '\\"' in text:
                yield from self._values(_QUOTED, text, name=2, value=3)
            for match in _LINE.finditer(text):
                if self.is_secret_header(match[1]):
                    yield match.span(2)
        if 'name="' in text:
            for match in _FIELD.finditer(text):
                if self.is_secret_key(match[1], query=True):
                    end = text.find("\r\n--", match.end())
                    yield match.end(), len(text) if end < 0 else end

    def _values(
        self, pattern: re.Pattern[str], text: str, *, name: int = 1, value: int = 2, query: bool = False
    ) -> Iterator[tuple[int, int]]:
        for match in pattern.finditer(text):
            if self.is_secret_key(match[name], query=query):
                yield match.span(value)


def told_by_header(value: str) -> list[str]:
    """The secrets in a secret header's value, as a server may echo them: the credentials, without scheme."""
    secrets = [value, *(part.partition("=")[2] for part in value.split("; ") if "=" in part)]
    scheme, _, credentials = value.partition(" ")
    if credentials:
        secrets.append(credentials)
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error):
            user = base64.b64decode(credentials, validate=True).decode("utf-8", "replace")
            secrets += [user, user.partition(":")[2]]
    return worth_looking_for(secrets)


def worth_looking_for(secrets: Iterable[str]) -> list[str]:
    """Those that are long enough not to be found in ordinary text."""
    return [
        secret for secret in dict.fromkeys(secrets) if len(secret) >= _LEAST_ECHO and secret != PLACEHOLDER
    ]


def _spellings(secrets: Iterable[str]) -> list[str]:
    return [spelling for secret in secrets for spelling in _spelt(secret)]


@functools.lru_cache(maxsize=1024)
def _spelt(secret: str) -> tuple[str, ...]:
    """How a secret may be written in what echoes it."""
    data = secret.encode("utf-8", "surrogatepass")
    escaped = [json.dumps(secret, ensure_ascii=flag)[1:-1] for flag in (True, False)]
    found = {
        secret,
        *escaped,
        *(one.replace("/", "\\/") for one in escaped),
        quote(data, safe=""),
        quote(data),
        quote_plus(data),
        html.escape(secret),
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
    }
    return tuple(found)


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
