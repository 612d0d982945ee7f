"""The benchmark: configurations, runs that resume, tables beside the published figures."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import sample_sets
import torch
import yaml

from invad_fast import InputError
from invad_fast.benchmark import make_plan, read_configuration, run_benchmark
from invad_fast.benchmark.configuration import MODEL_KEYS, shipped_configurations
from invad_fast.benchmark.estimate import Costs, seconds
from invad_fast.benchmark.published import (
    published_columns,
    published_figures,
    published_sets,
)
from invad_fast.benchmark.results import summarize
from invad_fast.benchmark.run import RunResult
from invad_fast.benchmark.tables import as_csv, as_json, as_latex, as_markdown
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.metrics import FIGURES
from invad_fast.training.options import TrainingOptions
from invad_fast.training.run_folder import RunFolder

pytestmark = pytest.mark.filterwarnings("ignore:.*random weights")

TINY = {
    "encoder": "resnet10t",
    "encoder_weights": "none",
    "blocks": [1, 1, 1],
    "size": 32,
    "epochs": 2,
    "batch_size": 2,
    "workers": 0,
}


def configuration(folder: Path, **keys) -> Path:
    content = {"data": str(folder / "set"), "models": [{"method": "rd"}], **TINY, **keys}
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return path


def test_published_figures_are_those_of_the_paper() -> None:
    """Every number of the table in method.md §3, read from its text."""
    text = (Path(__file__).resolve().parents[1] / "docs/method.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (MVTec AD|VisA|COCO-AD) ?[^|]*\|(.+\|.+)\|$", text, re.M)
    assert len(rows) == 3
    for name, cells in rows:
        key = name.lower().replace(" ", "_").replace("-", "_")
        pairs = [cell.split("/") for cell in cells.split("|")]
        for method, position in (("invad", 0), ("invad-lite", 1)):
            expected = [float(pair[position]) / 100 for pair in pairs]
            figures = published_figures(key, method)
            assert figures is not None
            assert [figures[k] for k in published_columns()] == pytest.approx(expected)
    assert published_figures("mvtec_ad", "rd") is None
    assert published_sets() == ("mvtec_ad", "visa", "coco_ad")


@pytest.mark.parametrize("name", shipped_configurations())
def test_shipped_configurations(name: str) -> None:
    config = read_configuration(name)
    assert len(config.data) == (4 if name == "coco_ad" else 1)
    assert {m.method for m in config.models} == {"invad", "invad-lite", "rd"}
    if config.published:
        epochs = 100 if name == "coco_ad" else 300
        assert all(
            (m.training.epochs, m.training.batch_size) == (epochs, 32) for m in config.models[:2]
        )
    with pytest.raises(InputError, match=r"data\.\w+: no folder nowhere/"):
        make_plan(config, Path("out"), Path("nowhere"))


def test_the_documented_configuration_and_the_example(tmp_path: Path) -> None:
    checkout = Path(__file__).resolve().parents[1]
    (example,) = re.findall(
        r"```yaml\n(.*?)```", (checkout / "docs/benchmark.md").read_text(), re.S
    )
    (tmp_path / "documented.yaml").write_text(example)
    documented = read_configuration(tmp_path / "documented.yaml")
    assert [m.name for m in documented.models] == ["invad-lite", "rd-a-class", "dinov2", "released"]
    assert documented.models[2].out_indices == (3, 7, 11)
    assert len(read_configuration(checkout / "examples" / "defects.yaml").models) == 4


def test_a_data_set_is_named_after_its_folder_even_a_link(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "link").symlink_to(sample_sets.mvtec(tmp_path / "set"))
    monkeypatch.chdir(tmp_path / "link")
    for text, name in ((str(tmp_path / "link"), "link"), (".", "set"), ("parts/", "parts")):
        assert list(read_configuration(configuration(tmp_path, data=text)).data) == [name]


def test_every_mistake_names_its_key(tmp_path: Path) -> None:
    sample_sets.mvtec(tmp_path / "set")

    def fails(match: str, text: str | None = None, **keys) -> None:
        path = configuration(tmp_path, **keys)
        if text is not None:
            path.write_text(text)
        with pytest.raises(InputError, match=match) as caught:
            make_plan(read_configuration(path), tmp_path / "out")
        assert "\n" not in str(caught.value)

    fails("bench.yaml: no key 'epoch': did you mean 'epochs'", epoch=3)
    fails(
        r"models\[0\]: no key 'lr': choose method, name, encoder",
        models=[{"method": "rd", "lr": 1}],
    )
    fails(r"models\[1\]\.method: must be one of invad, invad-lite, rd, not 'padim'",
          models=[{"method": "rd"}, {"method": "padim"}])  # fmt: skip
    fails(r"models\[0\]\.method: missing", models=[{"encoder": "resnet18"}])
    fails(r"models\[1\]\.name: 'rd' is models\[0\]'s already", models=[{"method": "rd"}] * 2)
    fails("data: missing", data=None)
    fails("models: must be a list", models={"method": "rd"})
    fails(r"bench\.yaml: epochs: must be a valid integer, .*, not 'many'", epochs="many")
    fails("learning_rate: must be greater than 0, not 0", learning_rate=0)
    fails("seeds: must be greater than or equal to 0, not -1", seeds=[-1])
    fails("seeds: must be a list without repetitions", seeds=[1, 1])
    fails("seeds: must be a list, not 3", seeds=3)
    fails("no key 'seed': did you mean 'seeds'", seed=3)
    fails(r"bench\.yaml: encoder: must not be blank", encoder=" ")
    fails(
        r"models\[0\]\.epochs: must not be true or false", models=[{"method": "rd", "epochs": True}]
    )
    fails(
        r"bench\.yaml: scoring_precision: must be 'auto', 'fp32', 'bf16', .*, not 'int8'",
        scoring_precision="int8",
    )
    fails(r"bench\.yaml: workers: must be less than or equal to 1024, not 5000", workers=5000)
    fails(r"models\[0\] \(rd\): no schedule 'papier': did you mean 'paper'", schedule="papier")
    fails(r"data\.a/b: must be a name that a folder can have|data: must be a name",
          data={"a/b": str(tmp_path / "set")})  # fmt: skip
    fails("published: must be one of mvtec_ad, visa, coco_ad, not 'btad'", published="btad")
    fails("per_class: must be a valid boolean, .*, not 'yes please'", per_class="yes please")
    fails("line 2: 'data' stands twice|line 1: 'data' stands twice", "data: a\ndata: b\n")
    fails("not readable as YAML: line 2", "data: [1\n")
    fails("needed are the keys data and models", "just text")
    fails(r"data\.gone: no folder .*gone", data=str(tmp_path / "gone"))
    fails(r"models\[0\]\.classes: .*no class 'x': choose bolt, nut", classes=["x"])
    fails(r"models\[0\] \(rd\): timm has no model named 'resnet99'", encoder="resnet99")
    fails(r"models\[0\] \(rd\): input size 20x20 is not divisible", size=20)
    fails(r"models\[0\] \(rd\): no encoder weights at .*w\.pth", encoder_weights="w.pth")
    fails("rd, set, seed 0: batch_size: 64 is more than its 8 training images", batch_size=64)
    fails(
        r"rd, set, seed 0: checkpoint: no file set/net-0\.pth", checkpoint="{data}/net-{seed}.pth"
    )
    with pytest.raises(InputError, match=r"no configuration file x\.yaml, and none shipped"):
        read_configuration("x.yaml")
    path = configuration(tmp_path, learning_rate="1e-3")  # text in YAML 1.1
    assert read_configuration(path).models[0].training.learning_rate == 0.001


def test_a_key_goes_to_the_options_of_that_name(tmp_path: Path) -> None:
    """None is written down twice: a default is the options' own, here and on the command line."""
    (model,) = read_configuration(configuration(tmp_path, **dict.fromkeys(TINY))).models
    assert model.training == TrainingOptions(schedule="paper")
    assert model.scoring == ScoringOptions(precision="fp32")
    keys = {"precision": "bf16", "batch_size": 4, "workers": 1, "sigma": 2, "schedule": "paper",
            "cache": "kept", "scoring_precision": "bf16", "scoring_batch_size": 8}  # fmt: skip
    keys = {**dict.fromkeys(TINY), **keys}
    (model,) = read_configuration(configuration(tmp_path, **keys)).models
    assert model.training == TrainingOptions(
        schedule="paper", precision="bf16", batch_size=4, workers=1, cache=Path("kept")
    )
    assert model.scoring == ScoringOptions(
        precision="bf16", batch_size=8, workers=1, sigma=2, cache=Path("kept")
    )
    documented = (Path(__file__).parents[1] / "docs" / "benchmark.md").read_text()
    table = re.findall(r"^\| (`.*?) \| a model", documented, re.M)
    assert sorted(re.findall(r"`(\w+)`", " ".join(table))) == sorted(MODEL_KEYS)


def test_a_result_of_an_earlier_version_still_stands(tmp_path: Path) -> None:
    """What the version before described a run by; a key that it lacks stood for its default."""
    sample_sets.mvtec(tmp_path / "set")
    before = {
        "method": "rd", "encoder": "resnet10t", "encoder_weights": "none", "out_indices": None,
        "blocks": [1, 1, 1], "size": 32, "per_class": False, "classes": None, "checkpoint": None,
        "epochs": 2, "batch_size": 2, "learning_rate": 0.005, "precision": "fp32",
        "protocol": "paper", "pooling": None, "mode": None, "images": {"train": 8, "test": 8},
        "data": "set", "seed": 0, "class": None,
    }  # fmt: skip
    content = {"made_from": before, "figures": {"bolt": {"mad": 0.5}}, "training": {}, "device": ""}
    (run,) = make_plan(read_configuration(configuration(tmp_path)), tmp_path / "out")
    run.folder.mkdir(parents=True)
    (run.folder / "result.json").write_text(json.dumps(content))
    assert run_benchmark([run])[0].figures == {"bolt": {"mad": 0.5}}
    for key, value, was in (("sigma", 2.0, "None"), ("scoring_precision", "bf16", "fp32"),
                            ("size", 64, "32"), ("learning_rate", 0.01, "0.005")):  # fmt: skip
        changed = read_configuration(configuration(tmp_path, **{key: value}))
        with pytest.raises(InputError, match=f"was made with {key}={was}, not {value}"):
            run_benchmark(make_plan(changed, tmp_path / "out"))


def test_trains_scores_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample_sets.mvtec(tmp_path / "set")
    models = [
        {"method": "invad-lite"},
        {"method": "rd", "name": "rd-nut", "per_class": True, "classes": ["nut"]},
    ]
    config = read_configuration(configuration(tmp_path, models=models, published="visa"))
    whole = run_benchmark(make_plan(config, tmp_path / "whole"), show_progress=False)
    assert [sorted(r.figures) for r in whole] == [["bolt", "nut"], ["nut"]]
    assert [r.training["images"] for r in whole] == [16, 8]

    # Killed after the first epoch of the first training: it goes on to the same figures.
    out, kept = tmp_path / "out", RunFolder.write_history

    def killed(folder: RunFolder, history: list) -> None:
        kept(folder, history)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_history", killed)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(make_plan(config, out), show_progress=False)
    monkeypatch.setattr(RunFolder, "write_history", kept)
    again = run_benchmark(make_plan(config, out), show_progress=False)
    assert again[0].training["resumed"] and not again[1].training["resumed"]
    for one, other in zip(whole, again):
        assert one.figures == {n: pytest.approx(f) for n, f in other.figures.items()}

    # Finished runs are neither trained nor scored again, and their figures are kept.
    def refuse(*_args, **_options) -> None:
        raise AssertionError("a finished run was done again")

    monkeypatch.setattr("invad_fast.benchmark.run.train", refuse)
    monkeypatch.setattr("invad_fast.benchmark.run.evaluate_model", refuse)
    third = run_benchmark(make_plan(config, out), show_progress=False)
    assert [r.figures for r in third] == [r.figures for r in again]
    changed = read_configuration(configuration(tmp_path, models=models, epochs=3))
    with pytest.raises(InputError, match=r"was made with epochs=2, not 3: choose another output"):
        run_benchmark(make_plan(changed, out), show_progress=False)


def test_a_model_file_takes_the_place_of_training(tmp_path: Path) -> None:
    sample_sets.mvtec(tmp_path / "set")
    trained = run_benchmark(
        make_plan(read_configuration(configuration(tmp_path)), tmp_path / "out"),
        show_progress=False,
    )
    file = trained[0].run.folder / "training" / "model.safetensors"
    config = read_configuration(configuration(tmp_path, checkpoint=str(file)))
    loaded = run_benchmark(make_plan(config, tmp_path / "other"), show_progress=False)
    assert loaded[0].figures == {
        n: pytest.approx(f, abs=1e-3) for n, f in trained[0].figures.items()
    }
    assert loaded[0].training == {}


def test_an_authors_checkpoint_takes_the_place_of_training(shared: Path, tmp_path: Path) -> None:
    sample_sets.mvtec(tmp_path / "set", classes=("bolt",))
    keys = json.loads((shared / "golden" / "invad_lite_state_keys.json").read_text())
    torch.manual_seed(0)

    def plausible(name: str, shape: list[int]) -> torch.Tensor:
        """Weights whose outputs stay finite: every layer keeps the size of its input."""
        if len(shape) >= 2:
            return torch.randn(shape) / np.sqrt(np.prod(shape[1:]))
        return torch.ones(shape) if name.endswith(("var", "weight")) else torch.zeros(shape)

    state = {name: plausible(name, shape) for name, shape in keys.items()}
    torch.save({"net": state}, tmp_path / "net.pth")
    settings = {
        "encoder": None,
        "blocks": None,
        "size": 256,
        "checkpoint": str(tmp_path / "net.pth"),
    }
    path = configuration(tmp_path, models=[{"method": "invad-lite"}], **settings)
    (result,) = run_benchmark(
        make_plan(read_configuration(path), tmp_path / "out"), show_progress=False
    )
    assert 0 <= result.figures["bolt"]["image_auroc"] <= 1
    path = configuration(tmp_path, **settings)
    with pytest.raises(InputError, match=r"net\.pth is no model file of ours, and rd has no auth"):
        run_benchmark(make_plan(read_configuration(path), tmp_path / "rd"), show_progress=False)


@pytest.fixture
def two_seeds_two_sets(tmp_path: Path):
    """Results made by hand: AUROC_I is .5, .7 and .9, .9 in two sets' classes; seed 1 adds .1."""
    for name in ("a", "b"):
        sample_sets.mvtec(tmp_path / name)
    data = {name: str(tmp_path / name) for name in ("a", "b")}
    keys = {"data": data, "seeds": [0, 1], "published": "coco_ad", "name": "by_hand",
            "models": [{"method": "invad-lite"}]}  # fmt: skip
    config = read_configuration(configuration(tmp_path, **keys))
    values = {"a": (0.5, 0.7), "b": (0.8, 0.8)}
    training = {"images": 8, "seconds": 2.0, "resumed": False}
    results = []
    for run in make_plan(config, tmp_path / "out"):
        figures = {
            name: dict.fromkeys(FIGURES, value + 0.1 * run.seed)
            for name, value in zip(("bolt", "nut"), values[run.data_name])
        }
        results.append(RunResult(run, figures, training, "a machine"))
    return config, results


def test_means_and_deviations(two_seeds_two_sets) -> None:
    config, results = two_seeds_two_sets
    (model,) = summarize(config, results)
    # Classes, then sets: ((.5 + .7)/2 + .8)/2 = .7, and .8 for the other seed.
    assert model.mean.mean["image_auroc"] == pytest.approx(0.75)
    assert model.mean.deviation["image_auroc"] == pytest.approx(np.std([0.7, 0.8], ddof=1))
    assert model.difference["image_auroc"] == pytest.approx(0.75 - 0.647)
    assert [line.label for line in model.classes] == ["a: bolt", "a: nut", "b: bolt", "b: nut"]
    assert model.facts["images_seen"] == 32 and model.facts["models"] == 4
    # Of a seed that is not complete nothing is shown.
    (partial,) = summarize(config, results[:3])
    assert partial.mean.seeds == 1 and partial.mean.mean["mad"] == pytest.approx(0.7)


def test_tables_say_the_same(two_seeds_two_sets) -> None:
    config, results = two_seeds_two_sets
    models = summarize(config, results)
    (entry,) = json.loads(as_json(config, models))["models"]
    assert entry["mean"]["mean"]["mad"] == pytest.approx(0.75)
    assert entry["published"]["mad"] == pytest.approx(0.479)
    rows = list(csv.DictReader(as_csv(models).splitlines()))
    ours = next(r for r in rows if r["class"] == "mean" and r["kind"] == "ours")
    difference = next(r for r in rows if r["kind"] == "difference")
    assert float(ours["mad"]) == pytest.approx(0.75) and difference["mad_image"] == ""
    assert float(difference["mad"]) == pytest.approx(0.75 - 0.479)
    markdown = as_markdown(config, models)
    assert "| invad-lite, mean | 75.0 ± 7.1 |" in markdown
    assert "| invad-lite, published | 64.7 |" in markdown
    assert "| invad-lite, difference | +10.3 |" in markdown
    assert "32 training images seen, 8 s of training" in markdown
    widths = {
        line.count("|") for line in markdown.splitlines() if line.startswith("| invad-lite, ")
    }
    assert len(widths) == 1
    latex = as_latex(config, models)
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(body) == 4 and {line.count("&") for line in body} == {12}
    assert r"AUROC\_I" in latex and r"75.0 $\pm$ 7.1" in latex and "±" not in latex


def test_dry_run_counts_and_writes_nothing(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from invad_fast.cli.app import app

    sample_sets.mvtec(tmp_path / "set")
    words = ["benchmark", str(configuration(tmp_path, data="set")), "--dry-run"]
    words += ["--data-root", str(tmp_path), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert re.search(r"set\s*│ bolt\s*│\s*4 │\s*2 │\s*2 │\s*yes", done.output)
    assert "1 runs, about" in done.output and "2 steps of 2 images on this machine" in done.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bench.yaml", "set"]


def test_the_estimate_adds_up(tmp_path: Path) -> None:
    sample_sets.mvtec(tmp_path / "set")  # 8 images to train, 8 to test
    costs = Costs(decode=1.0, encode=2.0, train=10.0, score=3.0, how="by hand")
    path = configuration(tmp_path, epochs=5)
    (run,) = make_plan(read_configuration(path), tmp_path / "out")
    assert seconds(run, costs) == 8 * 2 + 40 * 10 + 8 * 3 + 8 * 3
    path = configuration(tmp_path, epochs=5, feature_cache_gib=0)
    (run,) = make_plan(read_configuration(path), tmp_path / "out")
    assert seconds(run, costs) == 40 * 2 + 40 * 10 + 8 * 3 + 8 * 3
