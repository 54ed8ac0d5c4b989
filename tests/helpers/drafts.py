"""Two executions as drafts, for the tests of the verifier: fixed salts, and small bodies."""

import hashlib

import orjson

from intentusnet.log.entry import Draft

STORE_ID = "0123456789abcdef" * 2
ONE, TWO = (f"{number:08x}-0000-7000-8000-000000000000" for number in (1, 2))


def draft(kind: str, execution: str, body: bytes = b"{}") -> Draft:
    return Draft.make(kind, execution, body, salt=hashlib.md5(kind.encode(), usedforsecurity=False).digest())


def closed(*before: Draft) -> Draft:
    digest = hashlib.sha256(b"".join(entry.commit for entry in before)).hexdigest()
    return draft("closed", before[0].execution, orjson.dumps({"count": len(before), "digest": digest}))


OUTER = [draft("opened", ONE), draft("asked", ONE), draft("answered", ONE)]
INNER = [draft("opened", TWO)]
