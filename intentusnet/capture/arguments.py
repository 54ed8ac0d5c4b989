"""The arguments of effects and notes, as they are written down: secrets give way to a placeholder.

It is the redaction of what is captured, `Redaction`, with the setting that holds for the agent, or the one
that always holds where nothing is captured. Arguments are compared and never handed back, so no agent can
tell; and the placeholder depends on nothing, so that a run with another key matches. No digest of a secret is
kept either: a short one would be guessed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Final

from intentusnet import values
from intentusnet.capture.hooks import settings_of
from intentusnet.capture.redaction import PLACEHOLDER, SIGNS, Redaction
from intentusnet.context import World

_ALWAYS: Final = Redaction()


def _any_of(words: Iterable[bytes]) -> bytes:
    """A pattern for any of the words, branching by letter: tried one by one, they take twice as long."""
    branches = []
    for letter, begun in groupby(sorted(words), key=lambda word: word[:1]):
        rests = [word[1:] for word in begun]
        branches.append(re.escape(letter) + (b"" if b"" in rests else _any_of(rests)))
    return branches[0] if len(branches) == 1 else b"(?:%b)" % b"|".join(branches)


_SIGN: Final = re.compile(_any_of(SIGNS))
#: See `InvalidInput.misfits`.
_MISFIT: Final = {"path", "expected", "got"}
#: Tags of what is, or may be, text.
_TEXTS: Final = ("$bytes", "$str")


def redacted(world: World, arguments: bytes) -> bytes:
    """Encoded arguments as they are written down. What was redacted already stays as it is.

    Args:
        world: of the agent that asks.
        arguments: encoded by ``values``.
    """
    settings = settings_of(world)
    redaction = _ALWAYS if settings is None else settings.redaction
    # Most arguments hold nothing of the kind, and a look at their bytes tells so at once.
    own = redaction.keys or redaction.patterns or redaction.headers
    if not own and b'"$bytes"' not in arguments and _SIGN.search(arguments.lower()) is None:
        return arguments
    return values.dumps(_redacted(redaction, values.parse(arguments)))


def _redacted(redaction: Redaction, tree: Any) -> Any:
    if isinstance(tree, str):
        return redaction.text(tree)
    if isinstance(tree, list):
        # Headers are often handed over as pairs.
        if len(tree) == 2 and _is_text(tree[1]) and _is_header(redaction, tree[0]):
            return [tree[0], PLACEHOLDER]
        return [_redacted(redaction, item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "$bytes" in tree:
        data = base64.b64decode(tree["$bytes"])
        return {"$bytes": base64.b64encode(b"".join(redaction.pieces([data]))).decode()}
    if "$dict" in tree:
        return {"$dict": [[key, _member(redaction, key, item)] for key, item in tree["$dict"]]}
    if tree.keys() == _MISFIT:
        tree = without_got(tree, redaction)
    return {key: _member(redaction, key, item) for key, item in tree.items()}


def without_got(misfit: Mapping[str, Any], redaction: Redaction = _ALWAYS) -> dict[str, Any]:
    """Where a value did not fit its type, without what was there if a secret stands in that place.

    Args:
        misfit: see `InvalidInput.misfits`.
        redaction: says what a secret is.
    """
    path = misfit["path"]
    keys = path.split("/") if isinstance(path, str) else []
    if any(redaction.is_secret_key(key) or redaction.is_secret_header(key) for key in keys):
        return {**misfit, "got": PLACEHOLDER}
    return dict(misfit)


def _member(redaction: Redaction, key: Any, item: Any) -> Any:
    if not isinstance(key, str):
        return _redacted(redaction, item)
    if _is_text(item) and (redaction.is_secret_key(key) or _is_header(redaction, key)):
        return PLACEHOLDER
    # What other tags say of single values is no text of the user's.
    return item if key.startswith("$") and isinstance(item, str) else _redacted(redaction, item)


def _is_header(redaction: Redaction, name: Any) -> bool:
    return isinstance(name, str) and redaction.is_secret_header(name)


def _is_text(tree: Any) -> bool:
    if isinstance(tree, dict) and len(tree) == 1:
        return next(iter(tree)) in _TEXTS
    return isinstance(tree, str) and tree != ""
