"""The recipe: a file that a person can read and change, of which nothing is guessed."""

import copy
import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml
from line_recipe import content, recipe
from refusals import one_line

from invad_fast.inspection import Recipe


def write(path: Path, held: object) -> Path:
    path.write_text(yaml.safe_dump(held, sort_keys=False))
    return path


def test_a_file_says_what_the_recipe_is(tmp_path: Path) -> None:
    made = recipe(tmp_path, deadline_ms=123, frames={"size": [640, 480], "mm_per_pixel": 0.1})
    made.save(tmp_path / "line.yaml")
    again = Recipe.load(tmp_path / "line.yaml")
    assert again == made and again.digest == made.digest and again.content == made.content
    assert again.path_of("x.png") == tmp_path / "x.png"
    other = recipe(tmp_path, deadline_ms=124, frames=made.content["frames"])
    assert other.digest != made.digest
    assert made.limits.of("a", made.score) == 0.5
    # A person may leave out what has a default.
    held = content()
    assert Recipe.load(write(tmp_path / "short.yaml", held)).queue.policy == "inspect"


def test_the_published_schema_is_the_recipe(tmp_path: Path) -> None:
    published = json.loads((files("invad_fast") / "recipe.schema.json").read_text())
    assert published == Recipe.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(recipe(tmp_path).content, published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(recipe(tmp_path).content | {"deadline_ms": "soon"}, published)


def changed(path: str, value: object) -> dict:
    """The content with one field replaced; "-" in place of a value takes it out."""
    held = copy.deepcopy(content())
    *above, last = path.split(".")
    place = held
    for name in above:
        place = place.setdefault(name, {})
    if value == "-":
        del place[last]
    else:
        place[last] = value
    return held


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("recipe_version", 2, "version 2, and this invad_fast reads up to 1: update it"),
        ("recipe_version", "-", "is no recipe: it has no recipe_version"),
        ("recipe_version", True, "recipe_version"),
        ("name", "-", "it has no name"),
        ("name", "", "name"),
        ("model.digest", "-", "it has no model.digest"),
        ("model.digest", "other", "thresholds were set for another model: calibrate anew"),
        ("score.sigma", 3, "set for scores with sigma 4.0, not 3.0: calibrate anew, or put"),
        ("score.sigma", True, "score: sigma must not be true or false"),
        ("score.mode", "per_scale", "set for scores with mode unified, not per_scale"),
        ("score.precision", "bf16", "set for scores with precision fp32, not bf16"),
        ("score.precision", None, "score.precision: it must be said"),
        ("score.sigma", -1, "score.sigma: must be greater than or equal to 0, not -1"),
        ("classes", [], "classes"),
        ("classes", ["a", "b", "b"], "one stands there twice"),
        ("classes", ["a", "*"], "no class can be called '*'"),
        ("classes", ["a"], "thresholds: no class 'b'"),
        ("class_name", "ab", "class_name: no class 'ab'"),
        ("thresholds.values", {}, "thresholds.values"),
        ("thresholds.values.a.value", float("nan"), "thresholds.values.a.value"),
        ("thresholds.values.a.value", "0.5", "thresholds.values.a.value: must be a number"),
        ("thresholds.values.a.value", True, "must be a number, not True"),
        ("deadline_ms", 0, "deadline_ms: must be greater than 0, not 0"),
        ("deadline_ms", "200", "deadline_ms: must be a number, not '200'"),
        ("deadline", 200, "no field 'deadline': did you mean 'deadline_ms'"),
        ("queue.policy", "drop", "queue.policy: must be 'inspect' or 'monitor', not 'drop'"),
        ("queue.capacity", 1.5, "queue.capacity: must be a whole number, not 1.5"),
        ("queue.lenght", 3, "queue: no field 'lenght'"),
        ("durability", "disk", "durability: must be 'process' or 'power'"),
        ("frames.size", [640], "frames.size"),
        ("frames.mm_per_pixel", 0, "frames.mm_per_pixel"),
        ("golden_parts", [{"image": "x.png", "verdict": "GOOD"}], "golden_parts.0.verdict"),
        ("pictures", {"folder": "kept", "quota_gib": -1}, "pictures.quota_gib"),
        ("score.least_aera", 50, "score: no field 'least_aera': did you mean 'least_area'"),
        ("thresholds.set_for.sigmas", 4, "thresholds.set_for: no field 'sigmas': did you mean"),
        ("thresholds.values.a.origin", {"source": "hand", "part": 3},
         "thresholds.values.a.origin: no field 'part': did you mean 'parts'"),
        ("pictures", {"folder": "kept", "quota": 3},
         "pictures: no field 'quota': did you mean 'quota_gib'"),
        ("golden_parts", [{"image": "x", "verdict": "PASS", "klass": "a"}],
         "golden_parts.0: no field 'klass': choose image, verdict, class_name"),
        ("golden_parts", [{"image": "x", "verdict": "PASS", "class_name": "c"}],
         "golden_parts: no class 'c'"),
        ("frames.size", [0, 480], "frames.size"),
        ("frames.size", [640, -480], "frames.size"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_one_line(tmp_path: Path, path: str, value: object, line: str) -> None:
    file = write(tmp_path / "line.yaml", changed(path, value))
    one_line(line, lambda: Recipe.load(file))
    one_line(r"line\.yaml", lambda: Recipe.load(file))


def test_a_wrong_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "line.yaml"
    one_line("no recipe", lambda: Recipe.load(file))
    one_line("is a folder", lambda: Recipe.load(tmp_path))
    for text, line in {
        "": "is no recipe",
        "- a\n- b\n": "is no recipe",
        "recipe_version: 1\nname: [": "line 2: it is no YAML",
        "recipe_version: 1\nname: a\nname: b\n": "line 3: 'name' stands there twice",
        "recipe_version: 1\nname: !!python/object/apply:os.system ['true']\n": "no YAML",
        "\0": "no YAML",
        "a: &a [*a]": "is no recipe",
        "recipe_version: 1\n? [a, b]\n: c\n": "line.yaml",
    }.items():
        file.write_text(text)
        one_line(line, lambda: Recipe.load(file))
    file.write_bytes(b"recipe_version: 1\nname: \xff\n")
    one_line("no YAML", lambda: Recipe.load(file))
    file.write_bytes(b"x" * (5 * 2**20))
    one_line("more than 4 MiB", lambda: Recipe.load(file))
