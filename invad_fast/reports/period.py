"""A shift by the plant's clock: where it begins and ends in UTC, and its hours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from invad_fast.errors import InputError

HOUR = 3_600_000_000
"""Microseconds."""


@dataclass(frozen=True)
class Period:
    """From ``since`` on and before ``until``, microseconds of UTC, told in a time zone."""

    since: int
    until: int
    zone: ZoneInfo

    @property
    def hours(self) -> list[int]:
        """The first microsecond of each hour by the zone's clock; the first may be a part of one.

        A day on which the clock is put forward has 23, one on which it is put back 25, of which
        two are called 02:00, an hour apart.
        """
        found = [self.since]
        while found[-1] < self.until:
            local = _local(found[-1], self.zone)
            past = (local.minute * 60 + local.second) * 1_000_000 + local.microsecond
            found.append(found[-1] + HOUR - past)
        return found[:-1]

    @property
    def length(self) -> float:
        """Hours that have gone by, whatever the clock did."""
        return (self.until - self.since) / HOUR


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that name; InputError where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(f"no time zone {name!r:.60}: give one as Europe/Berlin, or UTC") from None


def shift(day: date, zone: ZoneInfo, start: time = time(), end: time = time()) -> Period:
    """The shift of a day from ``start`` to ``end`` by the clock on the wall.

    An end that is not after the start is on the next day; both at 00:00 are the whole day. A time
    that the clock skips on that day is read by the clock of before: 02:30 is 03:30.
    """
    last = day if end > start else day + timedelta(1)
    return Period(_moment(day, start, zone), _moment(last, end, zone), zone)


def _moment(day: date, clock: time, zone: ZoneInfo) -> int:
    # In the gap zoneinfo reads the wall by the offset of before, of two hours it takes the first.
    return round(datetime.combine(day, clock, zone).timestamp()) * 1_000_000


def _local(moment: int, zone: ZoneInfo) -> datetime:
    return (
        datetime.fromtimestamp(moment // 1_000_000, timezone.utc)
        .astimezone(zone)
        .replace(microsecond=moment % 1_000_000)
    )
