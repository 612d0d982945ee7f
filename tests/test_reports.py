"""The shift report and the gauge study: figures that add up, days of 23 and 25 hours, pages."""

import csv
import math
import re
from datetime import date, datetime, time, timezone
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from refusals import one_line
from report_ledger import BERLIN, NAMES, fill_day, fill_gauge, microseconds
from sklearn.metrics import cohen_kappa_score

from invad_fast.inspection.ledger import Decision, Ledger, ViewRow
from invad_fast.reports.catalogue import _WORDS, LANGUAGES, Catalogue
from invad_fast.reports.gauge_figures import (
    Share,
    cohen_kappa,
    fleiss_kappa,
    gauge_figures,
    read_known,
)
from invad_fast.reports.period import shift, zone_of
from invad_fast.reports.shift_figures import shift_figures

LONG = date(2026, 10, 25)  # the clock of Berlin is put back at 03:00
SHORT = date(2026, 3, 29)  # and forward at 02:00


@pytest.fixture(scope="module")
def long_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty parts in each of its 25 hours, and in the hours before and after."""
    path = tmp_path_factory.mktemp("reports") / "line.db"
    fill_day(path, microseconds(2026, 10, 24, 23), 27)
    return path


@pytest.mark.parametrize(("day", "hours"), [(LONG, 25), (SHORT, 23), (date(2026, 5, 1), 24)])
def test_days_by_the_clock_on_the_wall(day: date, hours: int) -> None:
    period = shift(day, BERLIN)
    assert len(period.hours) == hours == period.length
    walls = [datetime.fromtimestamp(h / 1e6, BERLIN) for h in period.hours]
    assert walls[0].hour == 0 and walls[-1].hour == 23
    assert all(wall.minute == 0 and wall.date() == day for wall in walls)
    names = [wall.hour for wall in walls]
    assert names.count(2) == {25: 2, 24: 1, 23: 0}[hours]


def test_shifts() -> None:
    night = shift(LONG.replace(day=24), BERLIN, time(22), time(6))
    assert night.length == 9 and len(night.hours) == 9  # an hour twice
    assert datetime.fromtimestamp(night.until / 1e6, BERLIN).hour == 6
    begun = shift(date(2026, 5, 1), BERLIN, time(5, 30), time(7, 15))
    assert [h - begun.since for h in begun.hours] == [0, 18 * 10**8, 54 * 10**8]
    skipped = shift(SHORT, BERLIN, time(2, 30), time(4))
    assert skipped.length == 0.5  # 02:30 is 03:30 by the new clock
    assert shift(date(2026, 5, 1), zone_of("Asia/Kolkata")).length == 24
    assert len(shift(date(2026, 5, 1), zone_of("Asia/Kolkata")).hours) == 24
    one_line("no time zone 'Mars'", lambda: zone_of("Mars"))
    one_line("no time zone", lambda: zone_of("../etc/passwd"))


def test_the_accounts_add_up(long_day: Path) -> None:
    found = shift_figures(long_day, shift(LONG, BERLIN))
    assert found.total.triggered == 25 * 20
    assert [account.triggered for account in found.hours.values()] == [20] * 25
    for groups in (found.hours, found.classes, found.by_both):
        for verdict in ("PASS", "REJECT", "NOT_INSPECTED", "open"):
            assert sum(a[verdict] for a in groups.values()) == found.total[verdict]
    assert found.reasons == {"late": found.total["NOT_INSPECTED"]}
    assert set(found.classes) == {"", *NAMES}
    assert sum(found.places.values()) == found.total["REJECT"]
    assert found.places.most_common(1)[0][0][1] == 0  # top left
    rising = list(found.scores["bolt"].values())
    assert len(rising) == 25 and rising[0] == 0 and 0.1 < rising[-1] < 1
    first, last = found.spans["late"]
    assert found.period.since <= first < last < found.period.until
    assert found.latency.quantiles[0] < found.latency.quantiles[2] <= found.latency.longest == 100
    assert found.stations == ["press 7"] and not found.alarms and not found.starts


def test_scores_of_any_sign_rise_towards_the_threshold(tmp_path: Path) -> None:
    """Distances in deviations of good parts, as of nearest neighbours, may lie below zero."""
    path, at = tmp_path / "line.db", microseconds(2026, 5, 1, 12)
    with Ledger(path) as ledger:
        for number, score in enumerate((-5.0, -4.0, -3.0)):
            moment = at + number * 3_600_000_000
            id_, _ = ledger.open_part("p", moment, "r", "1")
            view = ViewRow(0, "PASS", None, "", score, -1.0, "a", 8, 8)
            row = Decision(id_, moment, "PASS", None, score, -1.0, "a", 9, (view,))
            assert ledger.decide(row)
    found = shift_figures(path, shift(date(2026, 5, 1), BERLIN))
    assert list(found.scores["a"].values()) == [0, 0.25, 0.5]


def test_gaps_are_not_inspected(tmp_path: Path) -> None:
    path, at = tmp_path / "line.db", microseconds(2026, 5, 1, 12)
    with Ledger(path) as ledger:
        row = ("line", at, at, 1, 7, 7, "disk full")
        ledger.transact(lambda c: c.execute(
            "INSERT INTO gaps (station, began_at, ended_at, first_id, last_id, parts, reason) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)", row))  # fmt: skip
    found = shift_figures(path, shift(date(2026, 5, 1), BERLIN))
    assert found.total["NOT_INSPECTED"] == 7 == found.unrecorded and found.reasons == {"ledger": 7}
    assert found.hours[at]["NOT_INSPECTED"] == 7


class Words(HTMLParser):
    """What a page shows, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.fetched += [v for k, v in attrs if k in ("src", "href") and not v.startswith("#")]
        if tag in ("table", "h2", "div", "figure", "dl", "svg"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("table", "h2", "div", "figure", "dl", "svg"):
            assert self.open.pop() == tag


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_shifts_page(language: str, long_day: Path, tmp_path: Path, invad) -> None:
    words = ("--day", "2026-10-25", "--zone", "Europe/Berlin", "--language", language)
    done = invad("report", "shift", long_day, "--output", tmp_path, *words)
    assert done.status == 0, done.stderr
    text = (tmp_path / "shift.html").read_text()
    page = Words(text)
    assert not page.open and not [f for f in page.fetched if not f.startswith("data:")]
    assert "&lt;b&gt;&amp;" in text and "<b>&" not in text
    titles = {"en": ("Shift report", "25 hours", "top left"),
              "de": ("Schichtbericht", "25 Stunden", "oben links")}  # fmt: skip
    for told in titles[language]:
        assert told in text
    assert "02:00 CEST" in text and "02:00 CET" in text
    with open(tmp_path / "hours.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    whole = [row for row in rows if row["class"] == "*"]
    assert len(whole) == 25 and sum(int(row["triggered"]) for row in whole) == 500
    assert {row["class"] for row in rows} == {"*", "", "bolt", "'" + NAMES[1]}
    assert whole[2]["hour"].endswith("+02:00") and whole[3]["hour"].endswith("+01:00")


def test_alarms_and_changes(tmp_path: Path, invad) -> None:
    ledger = tmp_path / "line.db"
    fill_day(ledger, microseconds(2026, 5, 1), 3)
    today = datetime.now(timezone.utc).date().isoformat()
    done = invad("report", "shift", ledger, "--output", tmp_path / "r", "--day", today)
    text = (tmp_path / "r/shift.html").read_text()
    assert done.status == 0 and "the score rises: 0.3 to 0.34" in text
    assert "first use, 2 keys" in text and "<code>100</code>" in text and "<code>80</code>" in text
    assert "anna" in text and "ben" in text and "0–" not in text
    # By itself the last part's day.
    done = invad("report", "shift", ledger, "--output", tmp_path / "r", "--zone", "Europe/Berlin")
    assert "2026-05-01" in (tmp_path / "r/shift.html").read_text()


def test_every_word_is_there_in_every_language() -> None:
    used = set()
    for file in (Path(__file__).parents[1] / "invad_fast/reports/templates").iterdir():
        used |= set(re.findall(r'\bt\("([^"]+)"', file.read_text()))
    assert used and used <= set(_WORDS)
    for key, words in _WORDS.items():
        assert len(words) == len(LANGUAGES) and all(words)
        fields = [set(re.findall(r"{(\w+)}", text)) for text in words]
        assert fields[0] == fields[1], key
    german = Catalogue("de", BERLIN)
    assert german.number(1234567.891, 2) == "1.234.567,89" and german.percent(0.5) == "50,0\u202f%"
    assert german.time(microseconds(2026, 10, 25, 3)) == "25.10.2026 03:00:00 CET"
    assert german.number(math.nan) == "–"


def test_mistakes_are_one_line(long_day: Path, tmp_path: Path, invad) -> None:
    (tmp_path / "file").write_text("x")
    for words, told in {
        ("shift", long_day, "--output", tmp_path / "file"): "is a file: name a folder",
        ("shift", tmp_path / "no.db", "--output", tmp_path): "no ledger",
        ("shift", long_day, "--output", tmp_path, "--zone", "Berlin"): "no time zone 'Berlin'",
        ("shift", long_day, "--output", tmp_path, "--day", "25.10."): "--day is a date as",
        ("shift", long_day, "--output", tmp_path, "--start", "6"): "--start is a time as 06:00",
        ("shift", long_day, "--output", tmp_path, "--language", "fr"): "--language is en or de",
        ("gauge", long_day, "--output", tmp_path): "at least 2 parts that came twice",
    }.items():
        done = invad("report", *words)
        assert done.status == 2 and told in done.stderr and len(done.stderr.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


def test_kappas_are_those_of_the_books() -> None:
    # Fleiss, 1971: the example of his paper as it is passed on: 10 subjects, 14 raters.
    table = np.array([[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0],
                      [2, 2, 8, 1, 1], [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2],
                      [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]], float)  # fmt: skip
    assert fleiss_kappa(table) == pytest.approx(0.210, abs=5e-4)
    rng = np.random.default_rng(0)
    found, known = rng.integers(0, 3, 200), rng.integers(0, 2, 200)
    found[:120] = known[:120]
    counts = np.stack([np.eye(3)[found], np.eye(3)[known]], -1)
    assert cohen_kappa(counts) == pytest.approx(cohen_kappa_score(found, known))
    assert math.isnan(fleiss_kappa(np.array([[3.0, 0], [3.0, 0]])))
    assert Share(0, 20).interval == pytest.approx((0, 0.16843), abs=1e-5)
    assert Share(7, 10).interval == pytest.approx((0.34755, 0.93326), abs=1e-5)


def test_a_gauge_study_finds_the_noise(tmp_path: Path, invad) -> None:
    ledger = tmp_path / "line.db"
    fill_gauge(ledger, 40, 6, 0.02)
    found = gauge_figures(ledger)
    held = found.repeatability["bolt"]
    assert held.deviation == pytest.approx(0.02, rel=0.15) and held.threshold == 0.5
    assert 0.15 < held.between < 0.3 and not found.same_pictures
    assert found.trials == (6, 6) and found.agreement.whole == 40
    assert found.kappa.interval[0] <= found.kappa.value <= found.kappa.interval[1]
    wavering = [part for part in found.parts if not part.agrees]
    assert wavering and all(abs(part.mean - 0.5) < 4 * held.deviation for part in wavering)
    known = tmp_path / "known.csv"
    rows = [f"part {n},{'PASS' if n % 2 else 'REJECT'}" for n in range(40)]
    known.write_text("part_id,verdict\n" + "\n".join(rows))
    for language, told in (("en", "Gauge study"), ("de", "Messsystemanalyse")):
        words = ("--known", known, "--language", language)
        done = invad("report", "gauge", ledger, "--output", tmp_path / language, *words)
        text = (tmp_path / language / "gauge.html").read_text()
        assert done.status == 0 and told in text and not Words(text).open
    assert "Cohen&#39;s kappa" in (tmp_path / "en/gauge.html").read_text()
    assert len((tmp_path / "en/gauge.csv").read_text().splitlines()) == 41
    known.write_text("part_id,verdict\npart 1,GOOD\n")
    one_line("line 2: it needs a part_id", lambda: read_known(known))
    one_line("'gone', which did not come", lambda: gauge_figures(ledger, known={"gone": "PASS"}))


def test_the_same_pictures_again_are_no_gauge_study(tmp_path: Path, invad) -> None:
    ledger = tmp_path / "line.db"
    fill_gauge(ledger, 6, 3, 0.0)
    found = gauge_figures(ledger)
    assert found.same_pictures and found.repeatability["bolt"].deviation == 0
    done = invad("report", "gauge", ledger, "--output", tmp_path / "r")
    assert done.status == 0 and "the same pictures again" in (tmp_path / "r/gauge.html").read_text()
