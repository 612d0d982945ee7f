"""The pages are true: paths, commands, links, the README's code, what the code cites of them."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import line_recipe
import pytest
import stub_engine
import typer
import yaml

from invad_fast.inspection import Inspector

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
         *sorted((ROOT / "docs").rglob("*.md"))]  # fmt: skip
FOLDERS = ["invad_fast", "csrc", "kernels", "tests", "bench", "docs", "examples", "tools", ".ci"]
SOURCES = (".py", ".pyi", ".cpp", ".cu", ".h", ".sh")
# The op that CONTRIBUTING says to copy: it is in every room.
PLACES = {"op": "bias_leaky_relu", "layout": "mvtec", "verb": "train"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@functools.cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@functools.cache
def files() -> list[str]:
    """The checkout's files as /a/b.py, those of its own folders."""
    return [
        f"/{file.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*")
        if file.is_file()
    ]


def paths(text: str) -> set[str]:
    """What the text names as a path of this repository, its <places> filled in."""
    named = re.findall(rf"(?<![\w/.<>-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./<>-]*", text)
    # `numpy_scores.py` or `engines/numpy_scores.py`, after a path that says where.
    named += [word for word in spans(text)
              if word.endswith(SOURCES) and re.fullmatch(r"[\w./<>-]+", word)]  # fmt: skip
    for place, filled in PLACES.items():
        named = [path.replace(f"<{place}>", filled) for path in named]
    return {path.rstrip(".") for path in named}


def spans(text: str) -> list[str]:
    """What stands between backticks, fences apart."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def exists(path: str) -> bool:
    return (ROOT / path).exists() or any(file.endswith(f"/{path}") for file in files())


@each_page
def test_every_path_exists(page: Path) -> None:
    missing = sorted(path for path in paths(text_of(page)) if not exists(path))
    assert not missing, f"{page.name} names what is not there: {', '.join(missing)}"


def test_a_path_that_is_not_there_is_found_missing() -> None:
    text = "see `invad_fast/nowhere.py`, `nowhere.cpp` and [it](docs/nowhere.md), `csrc/cpu/<op>.h`"
    found = paths(text)
    assert found == {"invad_fast/nowhere.py", "nowhere.cpp", "docs/nowhere.md",
                     "csrc/cpu/bias_leaky_relu.h"}  # fmt: skip
    assert not any(map(exists, found))
    assert exists("invad_fast/") and exists("prediction.py") and not exists("diction.py")


def headings(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S)
    return re.findall(r"^#+ (.+)$", text, re.M)


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        file = page if not path else page.parent / path
        assert file.is_file(), f"{page.name} links to {target}, which is not there"
        if fragment:
            known = [anchor(heading) for heading in headings(file)]
            assert fragment in known, f"{page.name} links to {target}; there are {known}"


@functools.cache
def options() -> dict[str, set[str]]:
    """verb → its options; "" for the program's own."""
    from invad_fast.cli.app import app

    program: Any = typer.main.get_command(app)
    verbs = {"": program, **program.commands}

    def own(command: Any) -> set[str]:
        return {"--help"} | {o for p in command.params for o in (*p.opts, *p.secondary_opts)}

    def inner(verb: str) -> list[Any]:
        """Those of `ledger totals` and the like count as the ledger's."""
        return list(getattr(verbs[verb], "commands", {}).values()) if verb else []

    return {verb: own(command).union(*map(own, inner(verb))) for verb, command in verbs.items()}


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """(verb, options) of every call of the program that the text shows."""
    joined = text.replace("\\\n", " ")
    for call in re.findall(r"(?:invad-fast|-m invad_fast --) ([^`\n#]+)", joined):
        verb = re.match(r"[a-z][a-z-]*", call)
        yield verb[0] if verb else "", re.findall(r"(?<!\S)--[a-z][a-z-]*", call)
    for span in spans(text):  # `train --schedule paper`
        verb = re.match(rf"({'|'.join(filter(None, options()))}) --", span)
        if verb:
            yield verb[1], re.findall(r"(?<!\S)--[a-z][a-z-]*", span)


@each_page
def test_every_command_exists(page: Path) -> None:
    for verb, given in commands(text_of(page)):
        assert verb in options(), f"{page.name}: no command invad-fast {verb}"
        for option in given:
            assert option in options()[verb], f"{page.name}: invad-fast {verb} has no {option}"
    every = set().union(*options().values())
    for span in spans(text_of(page)):
        option = re.match(r"--[a-z][a-z-]*", span)
        assert option is None or option[0] in every, f"{page.name}: no command has {option[0]}"


def test_a_command_that_is_not_there_is_found_missing() -> None:
    text = "    invad-fast trian parts --run x\n`evaluate --outptu x` `invad-fast --version`"
    assert list(commands(text)) == [
        ("trian", ["--run"]), ("", ["--version"]), ("evaluate", ["--outptu"])
    ]  # fmt: skip


def block(page: str, language: str, holding: str = "") -> str:
    """The one block of code of that language in which ``holding`` stands."""
    found = re.findall(rf"^```{language}\n(.*?)^```", text_of(ROOT / page), re.M | re.S)
    (one,) = (text for text in found if holding in text)
    return one


@pytest.mark.parametrize("page", ["README.md", "docs/line.md"])
def test_the_lines_code_runs(page: str, tmp_path: Path, monkeypatch, capsys) -> None:
    """With an engine that needs no model."""
    (tmp_path / "line.yaml").write_text(yaml.safe_dump(line_recipe.content()))
    monkeypatch.chdir(tmp_path)
    with_stub = functools.partial(Inspector, engine=line_recipe.MAKER)
    monkeypatch.setattr("invad_fast.inspection.Inspector", with_stub)
    picture = stub_engine.picture(10)
    given = {"frame": picture, "left": picture, "right": picture}
    exec(compile(block(page, "python", "inspector.inspect"), page, "exec"), given)
    assert "Verdict.PASS" in capsys.readouterr().out


def test_the_readmes_result_is_one() -> None:
    from invad_fast.prediction import judge

    row = json.loads(block("README.md", "json"))
    schema = json.loads((ROOT / "invad_fast/result.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(row, schema)
    assert judge(row["score"], row["threshold"])[0].value == row["verdict"]
    assert all(region["peak"] > row["threshold"] for region in row["regions"])


def test_the_readmes_code_names_what_there_is() -> None:
    """Imports, attributes, arguments by their signatures: to run it takes images and a hub."""
    from invad_fast import InvAD
    from invad_fast.evaluation.options import ScoringOptions
    from invad_fast.evaluation.results import Evaluation
    from invad_fast.inference import OptimizedInvAD
    from invad_fast.prediction import Prediction
    from invad_fast.training.options import TrainingOptions

    kinds = {"model": InvAD, "fast": OptimizedInvAD, "found": Prediction}
    fields = {"fit": TrainingOptions, "predict_files": ScoringOptions,
              "evaluate_model": ScoringOptions}  # fmt: skip
    made: dict[str, Any] = {"print": print}
    checked = set()
    for node in ast.walk(ast.parse(block("README.md", "python", "InvAD"))):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            for name in node.names:
                made[name.name] = getattr(importlib.import_module(node.module), name.name)
        if isinstance(node, ast.Attribute) and not isinstance(node.value, ast.Attribute):
            owner = ast.unparse(node.value)
            is_result = owner.startswith("evaluate_model(")
            kind = Evaluation if is_result else kinds.get(owner) or made[owner]
            known = hasattr(kind, node.attr) or node.attr in getattr(kind, "__annotations__", ())
            assert known, f"{owner} has no {node.attr}"
        if isinstance(node, ast.Call):
            *owner, name = ast.unparse(node.func).split(".")
            kind = kinds.get(owner[0]) if owner and owner[0] in kinds else None
            called = made[name] if not owner else getattr(kind or made[owner[0]], name)
            positional: list[Any] = [None] * (len(node.args) + (kind is not None))
            given = {k.arg: None for k in node.keywords}
            bound = inspect.signature(called).bind(*positional, **given)
            for extra in bound.arguments.get("options") or bound.arguments.get("given") or ():
                assert extra in fields[name].__annotations__, f"{name}() takes no {extra}"
            checked.add(name)
    assert {"fit", "load", "optimize", "predict", "predict_files", "evaluate_model"} <= checked


def test_what_the_code_cites_is_in_the_pages() -> None:
    """Sections of method.md by number, and by name where one stands behind."""
    own = headings(ROOT / "docs/method.md")
    numbers = {heading.split(".")[0] for heading in own}
    cited = 0
    for name in files():
        file = ROOT / name[1:]
        if file.suffix not in SOURCES or file == Path(__file__):
            continue
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"\bSPEC\b", text), f"{name} cites SPEC, which is not here"
        for number, heading in re.findall(r'method\.md §(\d+)(?:,? "([A-Z]\w+)[^"]*")?', text):
            cited += 1
            assert number in numbers, f"{name} cites §{number} of method.md, which has no such one"
            assert not heading or any(heading in h for h in own), f"{name} cites “{heading}”"
    assert cited > 20


def test_nothing_needs_what_is_not_in_the_repository() -> None:
    for file in (*PAGES, *sorted((ROOT / "examples").iterdir())):
        assert "../shared" not in text_of(file), file.name
