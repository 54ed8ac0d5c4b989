"""Reading tags: one spelling each, and whatever else stands there is refused as invalid input."""

import contextlib
import sys
from datetime import UTC, date, datetime, timezone, tzinfo
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intentusnet import values
from intentusnet.errors import InvalidInput, UnrecordableValue
from intentusnet.tags import BY_TAG

BODIES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "nan", "inf", "1", "-0x1", "1.50", "AAAA", "2024-02-29", "12:00:00", "Zulu"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "at", "zone", "name", "offset", "fold"]), inner, max_size=3)
        | st.builds(
            lambda tag, body: {tag: body},
            st.sampled_from([*BY_TAG, "$tuple", "$set", "$frozenset", "$dict", "$object", "$", "$x"]),
            inner,
        )
    ),
    max_leaves=6,
)


@given(BODIES)
def test_what_is_read_is_what_would_be_written(tree: Any) -> None:
    """Any JSON is either refused as invalid input or is, byte for byte, what writing its value gives."""
    data = values.dumps(tree)
    try:
        value = values.decode(data)
    except InvalidInput:
        return
    assert values.encode(value) == data


@given(st.binary(max_size=20))
def test_arbitrary_bytes_raise_nothing_but_invalid_input(data: bytes) -> None:
    """Bytes that are no JSON are refused as such."""
    with contextlib.suppress(InvalidInput):
        assert values.decode(data) == orjson.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "NaN",
        "1e999",
        '"\\ud800"',
        '{"$nope":1}',
        '{"$":1}',
        '{"$int":"1","a":2}',
        '{"a":2,"$int":"9007199254740992"}',
        '{"$int":"abc"}',
        '{"$int":5}',
        '{"$int":"5"}',
        '{"$int":"9007199254740_992"}',
        '{"$int":" 9007199254740992"}',
        '{"$int":"0x20000000000000"}',
        f'{{"$int":"{"9" * 5000}"}}',
        '{"$float":"NaN"}',
        '{"$float":"1.5"}',
        '{"$float":null}',
        '{"$str":"YQ=="}',
        '{"$str":"7aCA "}',
        '{"$bytes":"/x=="}',
        '{"$bytes":"/w"}',
        '{"$bytes":[]}',
        '{"$decimal":"1_0"}',
        '{"$decimal":" 1"}',
        '{"$decimal":"1e2"}',
        '{"$decimal":"1E+9999999999999999999"}',
        '{"$decimal":"one"}',
        '{"$decimal":[0,[1],0]}',
        '{"$uuid":"{00000000-0000-0000-0000-000000000001}"}',
        '{"$uuid":1}',
        '{"$date":"20240229"}',
        '{"$date":"2023-02-29"}',
        '{"$timedelta":[1,2]}',
        '{"$timedelta":[1.0,0,0]}',
        '{"$timedelta":[true,0,0]}',
        '{"$timedelta":[0,86400,0]}',
        '{"$timedelta":[9999999999,0,0]}',
        '{"$time":"12"}',
        '{"$datetime":"2024-02-29"}',
        '{"$datetime":"2024-02-29T12:00:00Z"}',
        '{"$datetime":{"at":"2024-02-29T12:00:00"}}',
        '{"$datetime":{"at":"2024-02-29T12:00:00","fold":0}}',
        '{"$datetime":{"at":"2024-02-29T12:00:00","fold":true}}',
        '{"$datetime":{"at":"2024-02-29T12:00:00","fold":2}}',
        '{"$datetime":{"at":"2024-02-29T12:00:00","zone":"Nowhere/Land"}}',
        '{"$datetime":{"at":"2024-02-29T12:00:00","zone":5}}',
        '{"$datetime":{"at":"2024-02-29T12:00:00","zone":"UTC","more":1}}',
        '{"$datetime":{"at":"2024-02-29T12:00:00","offset":[0,3600,0]}}',
        '{"$datetime":{"at":"2024-02-29T12:00:00","offset":[9,0,0],"fold":1}}',
        '{"$datetime":{"at":"2024-02-29T12:00:00","offset":[9,0,0],"by":"pydantic"}}',
        '{"$datetime":{"at":"2024-02-29T12:00:00","offset":[0,0,5],"by":"pydantic"}}',
        '{"$datetime":{"at":"2024-02-29T12:00:00","offset":[0,0,0],"by":"other"}}',
        '{"$tuple":[],"a":2}',
        '{"a":2,"$tuple":[]}',
        '{"$tuple":5}',
        '{"$tuple":{"a":1}}',
        '{"$tuple":[{"$nope":1}]}',
        '{"$set":[[1]]}',
        '{"$set":[{"$decimal":"sNaN"}]}',
        '{"$set":[1,1]}',
        '{"$set":[1,true]}',
        '{"$set":[2,1]}',
        '{"$frozenset":[{"$set":[]}]}',
        '{"$dict":[[1]]}',
        '{"$dict":[5]}',
        '{"$dict":[[[1],1]]}',
        '{"$dict":[[1,1],[1.0,2]]}',
        '{"$dict":[[2,1],[1,1]]}',
        '{"$dict":[["a",1]]}',
        '{"$dict":[]}',
        '{"$object":["os.system",{}]}',
        '{"\\u0024nope":1}',
    ],
)
def test_another_spelling_is_refused(data: str) -> None:
    """Malformed tags, unknown ones and known ones in a spelling that is never written are invalid input."""
    with pytest.raises(InvalidInput) as refusal:
        values.decode(data.encode())
    assert len(refusal.value.got) <= 80
    assert type(refusal.value) is InvalidInput


def test_a_malformed_tag_is_found_in_its_place() -> None:
    """The refusal points into the JSON as it stands."""
    with pytest.raises(InvalidInput) as refusal:
        values.decode(b'{"a/b":[0,{"$tuple":[{"$int":"x"}]}]}')
    assert refusal.value.where == "/a~1b/1/$tuple/0"


@pytest.mark.parametrize(
    "key", ["decoy", "decoy/x", "..decoy/x", "decoy.x/y", "../../etc/passwd", "/etc/localtime", "x\0", ""]
)
def test_nothing_that_a_record_names_is_imported(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the key of a time zone nor the class of an object leads to a module or to any other file."""
    (tmp_path / "decoy.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for tree in (
        {"$datetime": {"at": "2024-02-29T12:00:00", "zone": key}},
        {"$object": [f"{key}.Class", {}]},
    ):
        with pytest.raises(InvalidInput):
            values.decode(values.dumps(tree))
    assert "decoy" not in sys.modules


def test_decimals_do_not_depend_on_the_context() -> None:
    """Neither the capitals nor the precision nor the traps of the current context change bytes or value."""
    value = [Decimal("1.23456789E+50"), Decimal("sNaN1"), Decimal("-0E-9")]
    data = values.encode(value)
    with localcontext(Context(prec=2, capitals=0, traps=[])):
        assert values.encode(value) == data
        assert [item.as_tuple() for item in values.decode(data)] == [item.as_tuple() for item in value]


class OddZone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> None:
        return None


def test_zones_that_would_not_come_back_are_refused(tmp_path: Path) -> None:
    """A zone of some other class, or one that its key would not find again, is refused in its place."""
    zone_file = tmp_path / "zone"
    zone_file.write_bytes(_utc_zone_file())
    with zone_file.open("rb") as opened:
        nameless = ZoneInfo.from_file(opened)
    with zone_file.open("rb") as opened:
        misnamed = ZoneInfo.from_file(opened, key="Not/Known")
    for zone in (OddZone(), nameless, misnamed, ZoneInfo.no_cache("UTC")):
        with pytest.raises(UnrecordableValue, match="time zone") as refusal:
            values.encode({"at": [datetime(2024, 1, 1, tzinfo=zone)]})
        assert refusal.value.where == "/at/0"


def _utc_zone_file() -> bytes:
    """The smallest file that RFC 8536 allows: UTC, and no transitions."""
    header = b"TZif" + bytes(16) + (0).to_bytes(16, "big") + (1).to_bytes(4, "big") + (4).to_bytes(4, "big")
    return header + bytes(6) + b"UTC\0"


def test_zone_names_may_be_any_text() -> None:
    """The name of a fixed offset is kept, lone surrogates included."""
    for name in ("", "CET", "\ud800", "$x"):
        zone = timezone(date.resolution / 24, name)
        back = values.decode(values.encode(datetime(2024, 1, 1, tzinfo=zone)))
        assert back.tzname() == name
    assert values.decode(values.encode(datetime(2024, 1, 1, tzinfo=UTC))).tzinfo is UTC
