"""The line format, and the two places that show it: the module's docstring and docs/record-format.md."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations_with_replacement, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet.errors import IntegrityBroken, InvalidInput
from intentusnet.fingerprint import fingerprint_of
from intentusnet.log import entry
from intentusnet.log.entry import (
    Draft,
    chain_next,
    check_leaf,
    check_line,
    commit_of,
    format_line,
    genesis,
    leaf,
    leaf_hash,
    parse_line,
)
from intentusnet.log.head import HeadNote
from intentusnet.record import fold

STORE = "00112233445566778899aabbccddeeff"
EXECUTION = "0197a3c4-5b60-7e21-9d3f-2c1b0a998877"
DOC = (Path(__file__).parents[3] / "docs/record-format.md").read_text("utf-8")

bodies = st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=4).map(
    lambda tree: json.dumps(tree, ensure_ascii=False).encode("utf-8", "replace")
)
drafts = st.builds(
    Draft.make,
    st.from_regex(r"[a-z]{1,12}", fullmatch=True),
    st.one_of(st.just(""), st.uuids().map(str)),
    bodies,
    st.binary(min_size=16, max_size=16),
)

SALT = "00112233445566778899aabbccddeeff"
# The parts of a line at place 3, behind 32 zero bytes: first as they are, then as they may be, or almost may.
_HEAD = (
    ('{"seq":', ' {"seq":', '{"Seq":'),
    ("3", "03", "+3", "-3", "0", "4", "3.0", "3" * 20, ""),
    (',"ts":', ', "ts":', ',"tz":'),
    ("7", "0", "-7", "-0", "07", "9" * 19, "9" * 20, "7e1", ""),
    (',"kind":"', ',"kind": "', '"kind":"'),
    ("opened", "recovery", "x", "Opened", "", "open-ed", "\xff", 'x","kind":"y'),
    ('","execution":"', '",\n"execution":"'),
    (EXECUTION, "", EXECUTION.upper(), EXECUTION[1:], EXECUTION[1:] + "-", "-" * 36, "g" * 36, "0" * 36),
    ('","durable":', '","durable":"'),
    ("-1", "0", "2", "3", "02", "-2", "-0", "1" * 19, "1" * 20, ""),
    (',"commit":"', ',"commit": "'),
    ("{commit}", "{COMMIT}", "{other}"),
)
_REST = (
    ('","chain":"', '", "chain":"', '","chain":"0'),
    ("{chain}", "{CHAIN}", "{other}"),
    ('","salt":"', '","sand":"'),
    (SALT, SALT.upper(), SALT[1:], SALT[1:] + "x"),
    ('","body":', '","body": ', '","more":1,"body":'),
    ("{}", '{"a":"\xff"}', "{\n}", "{}}", "[]", "{", "1}", "}", ""),
    ("}\n", "}", "}}\n", "} \n", "\n", "}\n\n", "}\r\n", ""),
)


def fitting_lines() -> Iterator[bytes]:
    """Lines with up to two parts as they only almost may be, and with hashes that fit all the same."""
    parts = _HEAD + _REST
    plain = [choices[0] for choices in parts]
    for one, other in combinations_with_replacement(range(len(parts)), 2):
        for changed in product(parts[one], parts[other]):
            spelled = list(plain)
            spelled[one], spelled[other] = changed
            salt, body = bytes.fromhex(SALT), spelled[-2].encode("latin-1")
            hashes = {"other": "0" * 64, "commit": commit_of(salt, body).hex()}
            hashes["COMMIT"] = hashes["commit"].upper()
            spelled[11] = hashes[spelled[11][1:-1]]
            head = "".join(spelled[: len(_HEAD)]).encode("latin-1") + b'"'
            hashes["chain"] = chain_next(bytes(32), leaf_hash(head)).hex()
            hashes["CHAIN"] = hashes["chain"].upper()
            spelled[13] = hashes[spelled[13][1:-1]]
            yield "".join(spelled).encode("latin-1")


def block(language: str) -> str:
    """The only fenced block of that language on the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE)
    return found


def docstring_lines() -> list[bytes]:
    """The sample of the docstring, with the cuts taken out."""
    sample = (entry.__doc__ or "").split("each line is cut here to fit)::\n")[1].split("\n\nEverything")[0]
    joined = "".join(line.removeprefix("    ") for line in sample.strip("\n").split("\n"))
    return [line.encode() for line in joined.replace('}{"seq"', '}\n{"seq"').split("\n")]


def doc_lines() -> list[bytes]:
    return block("jsonl").encode().splitlines()


def doc_verify(lines: list[bytes]) -> str:
    """Runs the verifier that the page shows."""
    names: dict[str, object] = {}
    exec(block("python"), names)  # noqa: S102 - the page promises that this program works
    verify = names["verify"]
    assert callable(verify)
    return str(verify(STORE, lines))


def check_log(lines: list[bytes]) -> None:
    chain = genesis(STORE)
    for seq, line in enumerate(lines):
        chain = check_line(line, seq, chain)[4]


@pytest.mark.parametrize("lines", [docstring_lines(), doc_lines()], ids=["docstring", "page"])
def test_every_hash_of_the_samples_follows_from_its_parts(lines: list[bytes]) -> None:
    """Commit, chain, count and digest of the sample lines, computed with nothing but hashlib and json."""
    chain = hashlib.sha256(b"intentusnet-log-v1\n" + bytes.fromhex(STORE)).digest()
    commits = []
    for seq, line in enumerate(lines):
        fields = json.loads(line)
        body = line[line.index(b',"body":') + 8 : -1]
        commit = hashlib.sha256(bytes.fromhex(fields["salt"]) + body).digest()
        assert (fields["seq"], fields["commit"]) == (seq, commit.hex())
        end = line.index(fields["commit"].encode()) + 65
        chain = hashlib.sha256(chain + hashlib.sha256(b"\x00" + line[:end]).digest()).digest()
        assert fields["chain"] == chain.hex()
        commits.append(commit)
    closed = json.loads(lines[-1])["body"]
    assert closed["count"] == len(lines) - 1
    assert closed["digest"] == hashlib.sha256(b"".join(commits[:-1])).hexdigest()


@pytest.mark.parametrize("lines", [docstring_lines(), doc_lines()], ids=["docstring", "page"])
def test_the_samples_are_a_record_with_its_fingerprint(lines: list[bytes]) -> None:
    """The sample lines fold into a finished execution whose fingerprint is the one that they state."""
    record = fold([parse_line(line) for line in lines])
    assert record.status == "success" and record.outcome is not None
    computed = fingerprint_of(record.envelope_tree, record.plan_tree, record.questions, record.outcome.tree())
    assert record.fingerprint == computed


def test_the_page_says_what_the_module_does() -> None:
    """The page's genesis, leaf hashes, expression and head note are those of its sample."""
    lines = doc_lines()
    assert f"`{genesis(STORE).hex()}`" in DOC
    assert re.findall(r"^\| (\d) \| `([0-9a-f]{64})` \|$", DOC, re.MULTILINE) == [
        (str(seq), leaf_hash(leaf(line)).hex()) for seq, line in enumerate(lines)
    ]
    assert all(re.fullmatch(block("regex").strip().encode(), line) for line in lines)
    note = HeadNote.decode(block("json").strip().encode().ljust(511) + b"\n")
    last = parse_line(lines[-1])
    size = sum(len(line) + 1 for line in lines)
    assert note == HeadNote(last.chain.hex(), size, "00000000000000000000.jsonl", last.seq)


def test_the_verifier_on_the_page_accepts_its_sample_and_nothing_else() -> None:
    """It returns the last chain value, and refuses a log with a line missing, moved or changed."""
    lines = doc_lines()
    assert doc_verify(lines) == parse_line(lines[-1]).chain.hex()
    for broken in (lines[1:], [*lines[:2], lines[3]], [lines[1], lines[0]], [*lines[:3], lines[3][:-1]]):
        with pytest.raises(ValueError, match="line"):
            doc_verify(broken)


def test_the_verifier_on_the_page_wants_every_entry_of_an_execution() -> None:
    """An entry left out before everything was chained is noticed by count and digest."""
    kept = [parse_line(line) for line in doc_lines() if b'"asked"' not in line]
    chain, lines = genesis(STORE), []
    for seq, old in enumerate(kept):
        draft = Draft.make(old.kind, old.execution, old.body, old.salt)
        line, chain = format_line(draft, seq, old.ts, -1, chain)
        lines.append(line[:-1])
    with pytest.raises(ValueError, match="count or digest"):
        doc_verify(lines)


def test_every_change_of_one_byte_is_noticed() -> None:
    """Whatever byte of the sample is replaced, removed or doubled, checking the log refuses it."""
    lines = docstring_lines()
    check_log(lines)
    for number, line in enumerate(lines):
        for at in range(len(line)):
            others = {line[at] ^ 1, line[at] ^ 0x20, line[at] ^ 0x80, ord("0"), ord(" "), 10} - {line[at]}
            changed = [line[:at] + bytes([other]) + line[at + 1 :] for other in others]
            for bad in (*changed, line[:at] + line[at + 1 :], line[:at] + line[at : at + 1] + line[at:]):
                if bad != line:
                    with pytest.raises(IntegrityBroken):
                        check_log([*lines[:number], bad, *lines[number + 1 :]])


@given(
    draft=drafts,
    seq=st.integers(0, 10**19 - 1),
    ts=st.integers(-(10**18), 10**18),
    chain=st.binary(min_size=32, max_size=32),
    data=st.data(),
)
def test_a_line_reads_back_as_what_was_written(
    draft: Draft, seq: int, ts: int, chain: bytes, data: st.DataObject
) -> None:
    """parse(format(x)) == x, the line is JSON, and it passes the check at its place."""
    durable = data.draw(st.integers(-1, seq - 1))
    line, after = format_line(draft, seq, ts, durable, chain)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    line = line[:-1]
    read = parse_line(line)
    assert (read.seq, read.ts, read.kind, read.execution) == (seq, ts, draft.kind, draft.execution)
    assert (read.durable, read.commit, read.salt, read.body) == (
        durable,
        draft.commit,
        draft.salt,
        draft.body,
    )
    assert (read.chain, read.line) == (after, line)
    assert after == chain_next(chain, leaf_hash(leaf(line)))
    assert draft.commit == commit_of(draft.salt, draft.body)
    assert json.loads(line)["body"] == json.loads(read.body) == json.loads(draft.body)
    kind, execution = draft.kind.encode(), draft.execution.encode()
    assert check_line(line, seq, chain) == (kind, execution, durable, draft.commit, after, draft.body)


def test_what_went_wrong_with_a_line_is_named() -> None:
    """A wrong place, a durable from the future, another body and another predecessor are told apart."""
    draft = Draft.make("opened", EXECUTION, b"{}")
    start = genesis(STORE)
    line = format_line(draft, 3, 0, 2, start)[0][:-1]
    early = format_line(draft, 3, 0, 3, start)[0][:-1]
    for bad, seq, previous, words in (
        (line, 4, start, "not at its place"),
        (early, 3, start, "on disk before it"),
        (line.replace(b'"body":{}', b'"body":{ }'), 3, start, "committed"),
        (line, 3, bytes(32), "chain"),
        (line + b"\n", 3, start, "template"),
        (b"x" * 100, 3, start, "template"),
    ):
        with pytest.raises(IntegrityBroken, match=words):
            check_line(bad, seq, previous)
    with pytest.raises(IntegrityBroken, match="template"):
        parse_line(line[1:])
    with pytest.raises(IntegrityBroken, match="template"):
        leaf(b"{}")


@pytest.mark.parametrize(
    "change",
    [
        ('"seq":3', '"seq":03'),
        ('"seq":3', '"seq":+3'),
        ('"seq":3', '"seq":3.0'),
        ('"seq":3', '"seq":33333333333333333333'),
        ('"seq":3', '"seq": 3'),
        ('"ts":7', '"ts":-0'),
        ('"durable":-1', '"durable":-2'),
        ("opened", "Opened"),
        ("opened", ""),
        (EXECUTION, EXECUTION.upper()),
        (EXECUTION, EXECUTION[:-1]),
        ('"body":{}', '"body":[]'),
        ('"body":{}', '"body":{'),
        ('"body":{}', '"more":1,"body":{}'),
    ],
)
def test_there_is_one_spelling_of_a_line(change: tuple[str, str]) -> None:
    """Other spellings of the same numbers, names and objects do not match the template."""
    line = format_line(Draft.make("opened", EXECUTION, b"{}"), 3, 7, -1, bytes(32))[0][:-1]
    bad = line.replace(change[0].encode(), change[1].encode())
    assert bad != line
    with pytest.raises(IntegrityBroken, match="template"):
        parse_line(bad)


def test_a_line_is_checked_as_its_template_says() -> None:
    """What the check accepts, whose pattern is a looser one, is what the template accepts at that place."""
    verdicts: Counter[bool] = Counter()
    for line in fitting_lines():
        verdicts[accepted_by_template(line)] += 1
        if accepted_by_template(line):
            read = parse_line(line[:-1])
            assert check_leaf(line, 3, bytes(32)) == (
                read.kind.encode(),
                read.execution.encode(),
                read.durable,
                read.commit,
                read.chain,
                read.body,
                leaf_hash(leaf(line)),
            )
        else:
            with pytest.raises(IntegrityBroken):
                check_leaf(line, 3, bytes(32))
    assert verdicts[True] > 100 and verdicts[False] > 1000


def accepted_by_template(line: bytes) -> bool:
    """Whether a line fits at place 3 behind 32 zero bytes, going by the template and by each hash."""
    if not line.endswith(b"\n"):
        return False
    try:
        read = parse_line(line[:-1])
    except IntegrityBroken:
        return False
    return (
        read.seq == 3
        and read.durable < 3
        and read.chain == chain_next(bytes(32), leaf_hash(leaf(line)))
        and read.commit == commit_of(read.salt, read.body)
    )


def test_salts_differ_and_keep_equal_bodies_apart() -> None:
    """Two drafts of the same body commit to it differently."""
    first, second = (Draft.make("opened", EXECUTION, b"{}") for _ in range(2))
    assert first.salt != second.salt and first.commit != second.commit


def test_a_draft_that_knows_its_time_keeps_it() -> None:
    """The ts of a draft goes before the time of the write."""
    draft = Draft.make("opened", EXECUTION, b"{}", ts=5)
    assert parse_line(format_line(draft, 0, 9, -1, bytes(32))[0][:-1]).ts == 5


@pytest.mark.parametrize(
    ("kind", "execution", "body", "salt"),
    [
        ("Opened", "", b"{}", None),
        ("", "", b"{}", None),
        ("o p", "", b"{}", None),
        ("opened\n", "", b"{}", None),
        ("opened", "x", b"{}", None),
        ("opened", EXECUTION.upper(), b"{}", None),
        ("opened", EXECUTION + "\n", b"{}", None),
        ("opened", "", b"", None),
        ("opened", "", b"{", None),
        ("opened", "", b"[]", None),
        ("opened", "", b'{"a":\n1}', None),
        ("opened", "", b"{}", b"short"),
    ],
)
def test_what_could_not_be_read_back_is_not_drafted(
    kind: str, execution: str, body: bytes, salt: bytes | None
) -> None:
    """Kinds, ids, bodies and salts that would not match the template are refused."""
    with pytest.raises(InvalidInput):
        Draft.make(kind, execution, body, salt)


@pytest.mark.parametrize("store_id", ["", "00", STORE.upper(), STORE + "\n", "g" * 32])
def test_a_store_id_is_32_hex_digits(store_id: str) -> None:
    """Nothing else starts a chain."""
    with pytest.raises(InvalidInput, match="store id"):
        genesis(store_id)
