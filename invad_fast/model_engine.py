"""A calibrated model on a line: the recipe that it makes, the engine that a recipe makes of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from invad_fast.device import choose_device
from invad_fast.errors import InputError
from invad_fast.frame_figures import for_any_of
from invad_fast.inspection.recipe import VERSION, Recipe
from invad_fast.method_names import load_model
from invad_fast.ops.dispatch import kernels_of
from invad_fast.ops.native_libraries import cpu_capability
from invad_fast.prediction import ALL_CLASSES, AUTO, Origin, Predictor, ScoreRule, Thresholds


def make_recipe(
    model: Path,
    output: Path,
    *,
    name: str | None = None,
    station: str | None = None,
    device: str = "cpu",
    update: bool = False,
) -> Recipe:
    """Writes a recipe of the model as it was calibrated, on this machine.

    Args:
        output: the file; one that is there is refused, or updated.
        name, station: None for the file's name, and "line"; or, of an update, for the old ones.
        update: take the model, its rule, classes, thresholds and the limits of frame checks anew
            into a recipe that is there, and keep all else that it says: checks that are off, too.

    Raises:
        InputError: for a model without thresholds for this machine's form of it.
    """
    old: dict[str, Any] = {}
    if output.is_dir():
        raise InputError(f"{output} is a folder: name a file, as {output / 'line.yaml'}")
    if update:
        old = Recipe.load(output).content
    elif output.exists():
        raise InputError(f"{output} is there: give --update to keep what else it says")
    said = {"name": name or old.get("name") or output.stem,
            "station": station or old.get("station") or "line"}  # fmt: skip
    recipe = with_model(old | said, model, output, device)
    recipe.save(output)
    return recipe


def with_model(content: dict[str, Any], model: Path, path: Path, device: str = "cpu") -> Recipe:
    """The recipe of the content with the model, its rule, classes and thresholds in their places.

    Args:
        path: the recipe's file, at whose folder relative paths start; it is not written.

    Raises:
        InputError: for a model without thresholds for this machine's form of it.
    """
    loaded = load_model(model)
    form = loaded.for_inference(device=device)
    rule, held = form.score_rule, form.thresholds
    why = held.why_none(rule)
    set_for = held.rule or rule
    if why is not None:
        raise InputError(f"{model}: {why}: `invad-fast calibrate` sets it")
    beside = os.path.relpath(model, path.absolute().parent)
    kind = choose_device(device).type
    content = content | {
        "recipe_version": VERSION,
        "model": {
            "file": beside,
            "digest": form.digest,
            "device": kind,
            "kernels": _kernels(kind),
        },
        "score": _plain(rule),
        "classes": list(form.classes) or [name for name in held if name != ALL_CLASSES],
        "thresholds": {
            "set_for": _plain(set_for.but(form=rule.form, precision=rule.precision)),
            "model": form.digest,
            "values": _values(held),
        },
    }
    # Whoever has turned them off in a recipe keeps them off.
    if "frame_checks" not in content or content["frame_checks"] is not None:
        named = content.get("class_name", AUTO)
        own = set(content["classes"]) if named == AUTO else {str(named)}
        content["frame_checks"] = _frame_checks(loaded, own, content.get("frame_checks") or {})
    content.setdefault("drift", {})
    told = Thresholds() if loaded.prototypes is None else loaded.prototypes.limits
    content["unknown_products"] = (
        {"model": form.digest, "values": _values(told)} if len(told) else None
    )
    return Recipe.of(content, path)


def _kernels(kind: str) -> dict[str, str]:
    """What runs each op here, and which instructions choose the kernel of each convolution."""
    found = kernels_of(kind)
    if kind == "cpu":
        # Whether bfloat16 is among them is in the score rule's precision.
        found["convolution"] = (cpu_capability() or "torch").removesuffix(" with BF16")
    return found


def _plain(rule: ScoreRule | Origin) -> dict[str, Any]:
    return {key: value for key, value in vars(rule).items() if not key.startswith("_")}


def _frame_checks(model: Any, classes: set[str], old: dict[str, Any]) -> dict[str, Any] | None:
    """None where the pictures of some class are not known: each of its would be turned away."""
    if not classes <= set(model.frame_limits):
        return None
    limits = for_any_of(model.frame_limits[name] for name in sorted(classes))
    found = {
        "too_dark": limits.brightness[0],
        "too_bright": limits.brightness[1],
        "empty": limits.contrast,
        "blurred": limits.sharpness,
        "shifted": {"x": list(limits.x), "y": list(limits.y)},
        "frozen": True,
    }
    off = {
        name: old[name]
        for name in found
        if name in old and (old[name] is None or old[name] is False)
    }
    return found | off | {"pictures": limits.pictures, "turned_away": limits.turned_away}


def _values(held: Thresholds) -> dict[str, Any]:
    return {
        name: {"value": value, "origin": _plain(held.origins[name])} for name, value in held.items()
    }


def load(recipe: Recipe) -> Predictor:
    """The Predictor of the recipe's model file.

    Raises:
        InputError: where this machine cannot run it as the recipe says.
    """
    device = recipe.model.device
    model = load_model(recipe.path_of(recipe.model.file))
    predictor = model.for_inference(recipe.score.precision or AUTO, device)
    if predictor.score_rule.form != recipe.score.form:
        raise InputError(
            f"the recipe {recipe.name!r} is for the model's form {recipe.score.form!r}, and on "
            f"this machine it runs as {predictor.score_rule.form!r}: calibrate anew"
        )
    here = _kernels(choose_device(device).type)
    for op, name in recipe.model.kernels.items():
        if here.get(op) != name:
            raise InputError(
                f"the thresholds of {recipe.name!r} were set with the {name} kernel of {op}, and "
                f"here it runs as {here.get(op)}: install invad_fast with its kernels, or "
                "calibrate anew"
            )
    return predictor
