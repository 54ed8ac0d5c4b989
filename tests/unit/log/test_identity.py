"""`store.json`: made whole or not at all, and refused when it is not what this version can read."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from intentusnet.errors import StorePoisoned, StoreRefused
from intentusnet.log.files import Files
from intentusnet.log.identity import Identity, create_identity, find_identity, read_identity

STORE_ID = "0123456789abcdef" * 2
IDENTITY = Identity(STORE_ID, 1_700_000_000_000_000, {"segment_entries": 5})
GOOD = IDENTITY.encode()


def test_an_identity_is_read_as_it_was_made(tmp_path: Path) -> None:
    """What was made is found again; on disk it is sorted JSON on one line."""
    store = tmp_path / "a" / "b" / "store"
    assert create_identity(store, IDENTITY) == IDENTITY
    assert find_identity(store) == read_identity(store) == IDENTITY
    content = b'{"created":1700000000000000,"format":1,"settings":{"segment_entries":5},"store":"%b"}\n'
    assert (store / "store.json").read_bytes() == content % STORE_ID.encode()


def test_whoever_comes_second_finds_the_first(tmp_path: Path) -> None:
    """Of many that make the same store at once, all get the identity of one."""
    identities = [Identity(f"{number:032x}", number, {}) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        got = set(
            pool.map(lambda identity: create_identity(tmp_path / "store", identity).store_id, identities)
        )
    assert got == {read_identity(tmp_path / "store").store_id}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "malformed"),
        (b"[]", "malformed"),
        (b"{", "malformed"),
        (GOOD.replace(b'"format":1', b'"format":2'), "another format version"),
        (b'{"format":2}', "another format version"),
        (GOOD.replace(b'"format":1', b'"format":true'), "malformed"),
        (GOOD.replace(b'"format":1', b'"format":"1"'), "malformed"),
        (GOOD.replace(b"0123", b"012X"), "malformed"),
        (GOOD.replace(b"created", b"made"), "malformed"),
        (GOOD.replace(b'{"created"', b'{"a":1,"created"'), "malformed"),
        (GOOD.replace(b'{"segment_entries":5}', b"[]"), "malformed"),
    ],
)
def test_another_store_json_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """A malformed store.json, or one of another format version, is refused and left as it is."""
    (tmp_path / "store.json").write_bytes(content)
    for ask in (read_identity, find_identity, lambda path: create_identity(path, IDENTITY)):
        with pytest.raises(StoreRefused, match=words) as caught:
            ask(tmp_path)
        assert str(tmp_path) in caught.value.where
        assert caught.value.hint
    assert (tmp_path / "store.json").read_bytes() == content


def test_a_store_json_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Where store.json is a directory, the operating system's word for it is passed on."""
    (tmp_path / "store.json").mkdir()
    with pytest.raises(StoreRefused, match="cannot be read") as caught:
        read_identity(tmp_path)
    assert caught.value.got == "Is a directory"


@pytest.mark.parametrize(("name", "words"), [("nothing", "there is no store"), ("empty", "not a store")])
def test_reading_needs_a_store(tmp_path: Path, name: str, words: str) -> None:
    """Nothing, or an empty directory, is no store to read, but may become one."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreRefused, match=words):
        read_identity(tmp_path / name)
    assert find_identity(tmp_path / name) is None


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_its_place_is_refused(tmp_path: Path, place: str) -> None:
    """A file is no store and does not become one."""
    (tmp_path / "file").write_text("mine")
    for ask in (find_identity, lambda path: create_identity(path, IDENTITY)):
        with pytest.raises(StoreRefused):
            ask(tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_with_other_things_is_refused(tmp_path: Path) -> None:
    """Nothing is written into a directory that holds something else, and the error names some of it."""
    for name in "abcd":
        (tmp_path / name).write_text("")
    with pytest.raises(StoreRefused, match="not empty") as caught:
        find_identity(tmp_path)
    assert caught.value.got == "a, b, c, …"
    assert sorted(os.listdir(tmp_path)) == list("abcd")


class Crash(BaseException):
    """The machine stops."""


class Failing(Files):
    """Makes one call fail, by its name and number."""

    def __init__(self, call: str, failure: BaseException) -> None:
        self.call, self.failure = call, failure

    def __getattribute__(self, name: str):
        if name == object.__getattribute__(self, "__dict__").get("call"):
            raise object.__getattribute__(self, "failure")
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("call", ["mkdir", "open", "write", "fsync"])
def test_a_crash_while_it_is_made_leaves_nothing_in_the_way(tmp_path: Path, call: str) -> None:
    """Wherever making a store stops, there is no half of one, and the next attempt makes it."""
    with pytest.raises(Crash):
        create_identity(tmp_path / "store", IDENTITY, Failing(call, Crash()))
    assert find_identity(tmp_path / "store") is None
    assert create_identity(tmp_path / "store", IDENTITY) == read_identity(tmp_path / "store") == IDENTITY


@pytest.mark.parametrize("call", ["mkdir", "open", "write"])
def test_no_permission_is_said_plainly(tmp_path: Path, call: str) -> None:
    """A call that is not allowed is a refusal that names the path and what to look at."""
    with pytest.raises(StoreRefused, match="cannot be made") as caught:
        create_identity(tmp_path / "store", IDENTITY, Failing(call, PermissionError(13, "Permission denied")))
    assert (caught.value.where, caught.value.got) == (str(tmp_path / "store"), "Permission denied")
    assert "mode" in caught.value.hint


def test_a_failed_sync_is_told_as_such(tmp_path: Path) -> None:
    """A store that may not outlive a crash is not taken for made; its name is synced by its first writer."""
    (tmp_path / "store").mkdir()
    with pytest.raises(StorePoisoned):
        create_identity(tmp_path / "store", IDENTITY, Failing("fsync", OSError(5, "Input/output error")))


def test_the_settings_are_kept_as_they_are() -> None:
    """Settings go into the file as they are given, for the store to judge."""
    assert orjson.loads(Identity(STORE_ID, 0, {"a": [1]}).encode())["settings"] == {"a": [1]}
