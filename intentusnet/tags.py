"""The tags of single values: numbers, strings, bytes, moments, Decimals and UUIDs that JSON cannot say.

values.py says what the tags look like and walks the containers; here is how each scalar is written and read.
A reader may accept more than its writer writes: values.py writes again what was read and compares.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from intentusnet.refusals import Place, refuse


@dataclass(frozen=True, slots=True)
class Scalar:
    """How values of one exact type become the body of a tag, and how they come back.

    Attributes:
        tag: the key, with its dollar sign.
        levels: how many levels of JSON the tag takes at most.
        write: value and its place to the body; raises UnrecordableValue.
        read: body to value; raises whatever a malformed body leads to.
    """

    tag: str
    levels: int
    write: Callable[[Any, Place | None], Any]
    read: Callable[[Any], Any]


def is_text(text: str) -> bool:
    """Whether the string is Unicode text, with no lone surrogate in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _write_float(value: float, _: Place | None) -> str:
    return "nan" if value != value else "inf" if value > 0 else "-inf"


def _write_int(value: int, _: Place | None) -> str:
    # Decimal takes quadratic time, and Python refuses it beyond sys.get_int_max_str_digits().
    return str(value) if value.bit_length() <= 1024 else hex(value)


def _read_int(body: str) -> int:
    return int(body, 16) if "x" in body else int(body)


def _write_str(value: str, _: Place | None) -> str:
    return base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()


def _read_str(body: str) -> str:
    return _read_bytes(body).decode("utf-8", "surrogatepass")


def _write_bytes(value: bytes, _: Place | None) -> str:
    return base64.b64encode(value).decode()


def _read_bytes(body: str) -> bytes:
    return base64.b64decode(body)


_DECIMAL: Final = Context(capitals=1)  # that of the thread may be set to small letters


def _write_decimal(value: Decimal, _: Place | None) -> str:
    return _DECIMAL.to_sci_string(value)


def _write_timedelta(value: timedelta, _: Place | None = None) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _is_found_again(zone: ZoneInfo) -> bool:
    try:
        # Not a zone from a file, nor one past the cache: in arithmetic, Python tells zones apart by identity.
        return ZoneInfo(zone.key) is zone
    except (TypeError, ValueError, KeyError, OSError):  # it has no key, or none that leads to a zone
        return False


def _parsed_zone() -> Callable[[float], tzinfo]:
    """The class of the offsets in what pydantic has parsed; it names them in its own way."""
    from pydantic_core import TzInfo

    return TzInfo


def _write_moment(value: datetime | time, place: Place | None) -> Any:
    zone = value.tzinfo
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        name = zone.tzname(None)
        named = name != timezone(offset).tzname(None)
        # Python 3.11 reads an offset of less than a second as UTC.
        if not named and not offset.microseconds and not value.fold:
            return value.isoformat()
        body: dict[str, Any] = {"offset": _write_timedelta(offset)}
        if named:
            body["name"] = name if is_text(name) else {"$str": _write_str(name, None)}
    elif type(zone) is ZoneInfo and _is_found_again(zone):
        body = {"zone": zone.key}
    elif zone is None:
        if not value.fold:
            return value.isoformat()
        body = {}
    elif type(zone) is _parsed_zone():
        body = {"by": "pydantic", "offset": _write_timedelta(zone.utcoffset(None) or timedelta())}
    else:
        refuse(
            zone,
            place,
            expected="no time zone, a datetime.timezone or zoneinfo.ZoneInfo(key)",
            hint="Use datetime.UTC, or zoneinfo.ZoneInfo with the name of the zone",
        )
    if value.fold:
        body["fold"] = 1
    return body | {"at": value.replace(tzinfo=None).isoformat()}


def _read_moment(kind: type[datetime] | type[time], body: Any) -> datetime | time:
    if type(body) is str:
        return kind.fromisoformat(body)
    zone: tzinfo | None = None
    if "zone" in body:
        zone = ZoneInfo(body["zone"])
    elif body.get("by") == "pydantic":
        zone = _parsed_zone()(timedelta(*body["offset"]).total_seconds())
    elif "name" in body:
        name = body["name"]
        zone = timezone(timedelta(*body["offset"]), name if type(name) is str else _read_str(name["$str"]))
    elif "offset" in body:
        zone = timezone(timedelta(*body["offset"]))
    return kind.fromisoformat(body["at"]).replace(tzinfo=zone, fold=body.get("fold", 0))


def _iso(value: date, _: Place | None) -> str:
    return value.isoformat()


SCALARS: Final[dict[type, Scalar]] = {
    float: Scalar("$float", 1, _write_float, float),
    int: Scalar("$int", 1, _write_int, _read_int),
    str: Scalar("$str", 1, _write_str, _read_str),
    bytes: Scalar("$bytes", 1, _write_bytes, _read_bytes),
    Decimal: Scalar("$decimal", 1, _write_decimal, Decimal),
    UUID: Scalar("$uuid", 1, lambda value, _: str(value), UUID),
    date: Scalar("$date", 1, _iso, date.fromisoformat),
    timedelta: Scalar("$timedelta", 2, _write_timedelta, lambda body: timedelta(*body)),
    datetime: Scalar("$datetime", 3, _write_moment, lambda body: _read_moment(datetime, body)),
    time: Scalar("$time", 3, _write_moment, lambda body: _read_moment(time, body)),
}

BY_TAG: Final = {scalar.tag: scalar for scalar in SCALARS.values()}
