"""Names are data: on a screen, in a spreadsheet and in a folder."""

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invad_fast.benchmark.tables import latex_text, markdown_text
from invad_fast.errors import LONGEST_LINE, InputError
from invad_fast.names import FileNames, csv_writer, inert, mean_label, visible

SIGNS = st.one_of(
    st.characters(),
    st.sampled_from("aAbB.- /\\_éÉßſıİKﬁΣς中\u0301\u0345\u200d\u202e\x1b\n¹=+@'\"\ud800\udcff"),
)  # fmt: skip
NAMES = st.text(SIGNS, max_size=200)
DEVICES = ("con", "CON.txt", "nul", "Aux.tar.gz", "com1", "COM¹", "lpt9.png", "prn .x")


@pytest.mark.parametrize(
    "name, shown",
    [
        ("[bold]red[/bold] $x$ <b>", "[bold]red[/bold] $x$ <b>"),
        ("naïve 缺陷 👍🏽", "naïve 缺陷 👍🏽"),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),  # joiners that spell one emoji
        ("a\u200db", r"a\u200db"),  # and one that only hides
        ("a\x1b[31mb\r\n\tc\x7f\x9b", r"a\x1b[31mb\r\n\tc\x7f\x9b"),
        ("gpj\u202egnp", r"gpj\u202egnp"),
        ("a\u2028b\u2066c", r"a\u2028b\u2066c"),
        ("caf\udce9", r"caf\xe9"),  # a Latin-1 byte in a file name
        ("\ud800", r"\ud800"),
    ],
)
def test_visible(name: str, shown: str) -> None:
    assert visible(name) == shown


@given(NAMES)
def test_visible_holds_no_instruction(name: str) -> None:
    shown = visible(name)
    shown.encode("utf-8")
    assert visible(shown) == shown
    assert len(shown.splitlines()) <= 1
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(shown) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
    )


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_a_row_of_csv_is_read_back_and_is_no_formula(names: list[str]) -> None:
    text = io.StringIO()
    csv_writer(text)([*names, -1.5, None])
    (row,) = csv.reader(text.getvalue().splitlines())
    assert row[-2:] == ["-1.5", ""]
    assert [cell.removeprefix("'") for cell in row[:-2]] == [visible(name) for name in names]
    for cell in row[:-2]:
        assert not cell.strip().startswith(("=", "+", "-", "@", "|", "\uff1d", "\uff20"))
    # Every text is between quotes: a semicolon in it ends no cell either.
    assert text.getvalue().count('"') >= 2 * len(names)


def test_names_that_differ_stay_different_cells() -> None:
    names = ["=1+1", "'=1+1", "''=1+1", "-1", "1", "mean"]
    assert len({inert(name) for name in names}) == len(names)
    assert inert("mean") == "mean" and inert("-1") == "'-1" and inert("  =1") == "'  =1"


def test_the_mean_is_called_like_no_class() -> None:
    assert mean_label(["a", "b"]) == "mean"
    assert mean_label(["a", "Mean"]) == "mean of 2 classes"
    classes = ["mean", "mean of 3 classes", "the mean of 3 classes"]
    assert mean_label(classes) not in classes


def test_names_in_markdown_and_latex() -> None:
    assert markdown_text("juice_bottle 2") == "juice_bottle 2"
    assert markdown_text("a|b\n*c* <i> $x$ _d_") == (
        r"a\|b\\n\*c\* \<i\> \$x\$ \_d\_"
    )  # fmt: skip
    assert markdown_text(r"\|") == r"\\\|"
    assert latex_text(r"a_b & 50% #1 \x{y}$z$~^") == (
        r"a\_b \& 50\% \#1 \textbackslash{}x\{y\}\$z\$\textasciitilde{}\textasciicircum{}"
    )
    # Behind the end of a line these would be its optional argument and its star.
    assert latex_text("[bold]") == "{[}bold{]}" and latex_text("*") == "{*}"


def keys(name: str) -> set[str]:
    """What file systems may take a name for."""
    forms = {unicodedata.normalize(f, name) for f in ("NFC", "NFD", "NFKC", "NFKD")}
    return {change(form) for form in forms for change in (str.lower, str.upper, str.casefold)}


@given(st.lists(NAMES, max_size=8))
def test_file_names_never_collide_and_stay_in_the_folder(names: list[str]) -> None:
    files = FileNames()
    given_names = [files.of(name) for name in [*names, *map(str.swapcase, names)]]
    seen: set[str] = set()
    for name in given_names:
        assert not keys(name) & seen
        seen |= keys(name)
        assert len(f"{name}_overlay.png".encode()) <= 255
        assert name.strip(" .") == name and name[0] not in "-~"
        assert not set(name) & set('/\\:*?"<>|\0\n') and name.isprintable()
        assert Path(name).name == name and name.split(".")[0].lower() not in ("con", "nul")


def test_file_names_are_readable() -> None:
    files = FileNames()
    assert files.of("hole_003") == "hole_003" and files.of("juice bottle (2)") == "juice bottle (2)"
    assert files.of("缺陷") == "缺陷"
    assert files.of("Hole_003") == "Hole_003-2"
    assert files.of("a/b").startswith("a_b-") and files.of("../../etc").startswith("_.._etc-")
    long = "x" * 200
    assert files.of(long) != files.of(long + "y")
    for device in DEVICES:
        stem = FileNames().of(device).split(".")[0].strip().lower()
        assert unicodedata.normalize("NFKC", stem) not in (
            "con",
            "nul",
            "aux",
            "com1",
            "lpt9",
            "prn",
        )


def test_thousands_of_equal_names_take_no_time() -> None:
    files = FileNames()
    assert len({files.of("000") for _ in range(20_000)}) == 20_000


def test_a_mistakes_line_keeps_its_beginning_and_its_advice() -> None:
    path = "folder/" * 100 + "x.png"
    assert str(InputError(f"{path}: is\nodd")) == f"{path}: is\\nodd"
    shown = str(InputError(f"x.json: not an index ({'[' * 10**6}): give another"))
    assert len(shown) == LONGEST_LINE
    assert shown.startswith("x.json: not an index ([[") and shown.endswith("[): give another")
