"""Executions with large values as drafts, and looking at the blobs of a store."""

from __future__ import annotations

from pathlib import Path

from helpers import executions as made

from intentusnet import values
from intentusnet.log.blobs import BLOBS_DIR
from intentusnet.log.entry import Draft
from intentusnet.references import BOUND, Blob
from intentusnet.stores.base import ExecutionStore


def large(word: str, size: int = BOUND + 1) -> str:
    """A text whose encoding has that many bytes."""
    return word * ((size - 2) // len(word)) + "." * ((size - 2) % len(word))


def blob_of(value: object) -> Blob:
    return Blob.of(values.encode(value))


def execution(number: int, *told: object) -> list[Draft]:
    """An execution that was told these values in blobs, one after the other."""
    drafts = [made.opened(made.id_of(number))]
    for question, value in enumerate(told):
        blob = blob_of(value)
        body = {"question": question, "scope": "attempt:0", "value": values.Fragment(blob.ref.node())}
        drafts += [
            made.asked(made.id_of(number), question),
            Draft.make("answered", made.id_of(number), values.dumps(body), blobs=[blob]),
        ]
    return [*drafts, made.closed(drafts)]


def blob_files(store: Path) -> list[Path]:
    """The files of a store's blobs."""
    return sorted((store / BLOBS_DIR).glob("*/*"))


def unfinished(store: Path) -> list[Path]:
    return sorted((store / BLOBS_DIR).glob("*.new"))


def told(store: ExecutionStore, number: int) -> list[bytes]:
    """What the execution of that number was told."""
    questions = store.get(made.id_of(number)).questions
    return [question.answer.data for question in questions if question.kind == "effect" and question.answer]
