"""The words of the reports, each in every language, and how numbers and times are written there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

LANGUAGES = ("en", "de")

_WORDS: dict[str, tuple[str, str]] = {
    "shift report": ("Shift report", "Schichtbericht"),
    "gauge study": ("Gauge study", "Messsystemanalyse"),
    "replay": ("Replay", "Wiederholung"),
    "ledger": ("Ledger", "Prüfbuch"),
    "station": ("Station", "Station"),
    "period": ("Period", "Zeitraum"),
    "time zone": ("Time zone", "Zeitzone"),
    "hours long": ("{hours} hours long", "{hours} Stunden lang"),
    "written at": ("Written at", "Erstellt am"),
    "accounts": ("Accounts", "Bilanz"),
    "triggered": ("triggered", "ausgelöst"),
    "PASS": ("pass", "gut"),
    "REJECT": ("reject", "Ausschuss"),
    "NOT_INSPECTED": ("not inspected", "nicht geprüft"),
    "open": ("open", "offen"),
    "reject rate": ("reject rate", "Ausschussquote"),
    "of inspected": ("of the inspected", "der geprüften"),
    "adds up": (
        "Every part that was triggered stands in one of the columns.",
        "Jedes ausgelöste Teil steht in genau einer der Spalten.",
    ),
    "unrecorded": (
        "{count} of them came while the ledger could not be written: they are in the sums and in "
        "no class.",
        "{count} davon kamen, während das Prüfbuch nicht beschreibbar war: Sie stehen in den "
        "Summen und in keiner Klasse.",
    ),
    "nothing": ("Nothing in this period.", "Nichts in diesem Zeitraum."),
    "by hour": ("By hour", "Nach Stunden"),
    "hour": ("hour", "Stunde"),
    "by class": ("By class", "Nach Klassen"),
    "class": ("class", "Klasse"),
    "no class": ("none", "keine"),
    "reasons": ("Why parts were not inspected", "Warum Teile nicht geprüft wurden"),
    "reason": ("reason", "Grund"),
    "parts": ("parts", "Teile"),
    "share": ("share", "Anteil"),
    "cumulative": ("cumulative", "kumuliert"),
    "regions": (
        "Where rejected parts deviate (Pareto)",
        "Wo Ausschussteile abweichen (Pareto)",
    ),
    "regions note": (
        "Parts rejected with a region in that ninth of the picture; a part may have several.",
        "Ausschussteile mit einer Stelle in diesem Neuntel des Bilds; ein Teil kann mehrere haben.",
    ),
    "place": ("place", "Ort"),
    "place 0": ("top left", "oben links"),
    "place 1": ("top", "oben"),
    "place 2": ("top right", "oben rechts"),
    "place 3": ("left", "links"),
    "place 4": ("centre", "Mitte"),
    "place 5": ("right", "rechts"),
    "place 6": ("bottom left", "unten links"),
    "place 7": ("bottom", "unten"),
    "place 8": ("bottom right", "unten rechts"),
    "scores": ("Scores", "Scores"),
    "scores note": (
        "Median of the score, hour by hour: 0 % is the median of the class's first hour, 100 % the "
        "threshold, where half of the parts would be rejected.",
        "Median des Scores, Stunde für Stunde: 0 % ist der Median der ersten Stunde der Klasse, "
        "100 % die Schwelle, bei der die Hälfte der Teile Ausschuss wäre.",
    ),
    "first": ("first", "erstes"),
    "last": ("last", "letztes"),
    "most often": ("told most often (view)", "häufigste Meldung (Ansicht)"),
    "median share": ("median, share of the threshold", "Median, Anteil der Schwelle"),
    "first hour": ("first hour", "erste Stunde"),
    "last hour": ("last hour", "letzte Stunde"),
    "highest hour": ("highest", "höchste"),
    "latency": ("Trigger to verdict", "Auslösung bis Urteil"),
    "median": ("median", "Median"),
    "longest": ("longest", "längste"),
    "alarms": ("Alarms", "Alarme"),
    "no alarms": ("No alarm.", "Kein Alarm."),
    "time": ("time", "Zeit"),
    "kind": ("kind", "Art"),
    "drift": ("drift", "Drift"),
    "golden part": ("golden part", "Referenzteil"),
    "what": ("what", "Meldung"),
    "since part": ("since part", "seit Teil"),
    "at part": ("at part", "bei Teil"),
    "changes": ("Changes of recipes", "Änderungen an Rezepten"),
    "no changes": ("No recipe was changed.", "Kein Rezept wurde geändert."),
    "who": ("who", "wer"),
    "recipe": ("recipe", "Rezept"),
    "key": ("key", "Feld"),
    "old": ("old", "alt"),
    "new": ("new", "neu"),
    "new recipe": ("first use, {count} keys", "erste Verwendung, {count} Felder"),
    "restarts": ("Starts of the inspector", "Starts des Prüfers"),
    "no restarts": ("It was not started anew.", "Er wurde nicht neu gestartet."),
    "reason.late": ("late", "zu spät"),
    "reason.overflow": ("overflow", "Überlauf"),
    "reason.camera": ("camera", "Kamera"),
    "reason.damaged frame": ("damaged frame", "beschädigtes Bild"),
    "reason.wrong size": ("wrong size", "falsche Größe"),
    "reason.too dark": ("too dark", "zu dunkel"),
    "reason.too bright": ("too bright", "zu hell"),
    "reason.empty": ("empty", "leer"),
    "reason.blurred": ("blurred", "unscharf"),
    "reason.shifted": ("shifted", "verschoben"),
    "reason.frozen": ("frozen", "eingefroren"),
    "reason.unknown product": ("unknown product", "unbekanntes Produkt"),
    "reason.not a number": ("not a number", "keine Zahl"),
    "reason.engine failed": ("engine failed", "Auswertung ausgefallen"),
    "reason.stopped": ("stopped", "angehalten"),
    "reason.restarted": ("restarted", "neu gestartet"),
    "reason.ledger": ("ledger", "Prüfbuch"),
    "trials": ("{parts} parts, {trials} trials each", "{parts} Teile, je {trials} Durchgänge"),
    "trials vary": (
        "{parts} parts, {trials} to {most} trials each",
        "{parts} Teile, je {trials} bis {most} Durchgänge",
    ),
    "repeatability": ("Repeatability of the score", "Wiederholbarkeit des Scores"),
    "deviation": ("standard deviation of a part's score", "Standardabweichung des Scores je Teil"),
    "between": ("standard deviation between parts", "Standardabweichung zwischen Teilen"),
    "of threshold": ("of the threshold", "der Schwelle"),
    "agreement": ("Agreement of the verdicts", "Übereinstimmung der Urteile"),
    "always the same": (
        "parts with the same verdict in every trial",
        "Teile mit demselben Urteil in jedem Durchgang",
    ),
    "right": (
        "parts with the right verdict in every trial",
        "Teile mit dem richtigen Urteil in jedem Durchgang",
    ),
    "kappa": ("Fleiss' kappa", "Fleiss' Kappa"),
    "kappa truth": ("Cohen's kappa to the known verdicts", "Cohens Kappa zu bekannten Urteilen"),
    "interval": ("95 % interval", "95-%-Intervall"),
    "too close": (
        "parts too close to their threshold",
        "Teile zu nahe an ihrer Schwelle",
    ),
    "too close note": (
        "Too close: the mean of a part's scores is within 2.58 of its standard deviations of the "
        "threshold, so that more than 1 in 200 trials would come out otherwise.",
        "Zu nahe: Der Mittelwert der Scores liegt näher als 2,58 Standardabweichungen an der "
        "Schwelle, sodass mehr als einer von 200 Durchgängen anders ausginge.",
    ),
    "same pictures": (
        "All scores of each part are equal to the last bit: these were the same pictures again. "
        "A gauge study presents the part itself anew each time.",
        "Alle Scores eines Teils sind bis aufs letzte Bit gleich: Es waren dieselben Bilder. Eine "
        "Messsystemanalyse legt das Teil jedes Mal neu vor.",
    ),
    "part": ("part", "Teil"),
    "mean": ("mean", "Mittel"),
    "spread": ("deviation", "Streuung"),
    "threshold": ("threshold", "Schwelle"),
    "score": ("score", "Score"),
    "verdicts": ("verdicts", "Urteile"),
    "verdict": ("verdict", "Urteil"),
    "distance": ("distance to threshold", "Abstand zur Schwelle"),
    "known": ("known", "bekannt"),
    "then": ("then", "damals"),
    "now": ("now", "jetzt"),
    "pictures scored": ("pictures scored again", "Bilder erneut bewertet"),
    "identical": ("score and verdict the same, bit for bit", "Score und Urteil bitgleich"),
    "other score": ("other score, same verdict", "anderer Score, gleiches Urteil"),
    "other verdict": ("other verdict", "anderes Urteil"),
    "not scored then": ("had no score then", "hatte damals keinen Score"),
    "gone": ("picture no longer there", "Bild nicht mehr vorhanden"),
    "would change": ("What would have changed", "Was sich geändert hätte"),
    "from to": ("from → to", "von → nach"),
    "no change": ("No verdict would have changed.", "Kein Urteil hätte sich geändert."),
    "first shown": ("The first {count} are shown; the CSV has all.", "Die ersten {count}; die "
                    "CSV-Datei enthält alle."),
    "kept note": (
        "Only kept pictures can be scored again: rejects, near misses, and a sample of all. Rates "
        "are of these, and of the line only in the rows of the sample.",
        "Nur aufbewahrte Bilder lassen sich erneut bewerten: Ausschuss, knapp Bestandene und eine "
        "Stichprobe. Für die Linie sprechen nur die Zeilen der Stichprobe.",
    ),
    "why kept": ("kept as", "aufbewahrt als"),
    "kept reject": ("reject", "Ausschuss"),
    "kept near miss": ("near miss", "knapp bestanden"),
    "kept sample": ("sample", "Stichprobe"),
    "model": ("model", "Modell"),
    "picture": ("picture", "Bild"),
}  # fmt: skip


@dataclass(frozen=True)
class Catalogue:
    """One language, and the time zone in which times are told."""

    language: str = "en"
    zone: ZoneInfo = ZoneInfo("UTC")

    def __call__(self, key: str, **values: object) -> str:
        """The words of a key; a key that there is not is a fault of the report."""
        words = _WORDS[key][LANGUAGES.index(self.language)]
        return words.format(**values) if values else words

    def named(self, group: str, name: str) -> str:
        """The words of ``group.name``, or the name itself where it is none of ours."""
        found = _WORDS.get(f"{group}{name}")
        return name if found is None else found[LANGUAGES.index(self.language)]

    def number(self, value: float | None, digits: int = 0) -> str:
        """With the language's separators; – for none."""
        if value is None or not math.isfinite(value):
            return "–"
        text = f"{value:,.{digits}f}"
        return text.translate(str.maketrans(",.", ".,")) if self.language == "de" else text

    def significant(self, value: float | None, digits: int = 4) -> str:
        """With so many digits that count."""
        if value is None or not math.isfinite(value):
            return "–"
        text = f"{value:.{digits}g}"
        return text.replace(".", ",") if self.language == "de" else text

    def percent(self, share: float | None, digits: int = 1) -> str:
        """Of a share from 0 to 1."""
        if share is None or not math.isfinite(share):
            return "–"
        return self.number(100 * share, digits) + "\u202f%"

    def time(self, moment: int, seconds: bool = True) -> str:
        """Microseconds of UTC as the plant's clock shows them, with its offset."""
        local = self.local(moment)
        written = "%d.%m.%Y %H:%M" if self.language == "de" else "%Y-%m-%d %H:%M"
        return local.strftime(written + (":%S %Z" if seconds else " %Z"))

    def local(self, moment: int) -> datetime:
        """Microseconds of UTC in the zone."""
        return datetime.fromtimestamp(moment / 1e6, timezone.utc).astimezone(self.zone)
