"""The command line: one command a verb; a user's mistake is one line, without a traceback."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from invad_fast.errors import InputError

if TYPE_CHECKING:
    from invad_fast.evaluate import Evaluation
    from invad_fast.method import Method, Predictor

app = typer.Typer(
    help="Finds defects in products after training on good parts only (InvAD).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# Of several processes (torchrun's) the first alone speaks, but for errors.
RANK = os.environ.get("RANK", "0")
out, err = Console(quiet=RANK != "0"), Console(stderr=True, quiet=RANK != "0")

Root = Annotated[Path, typer.Argument(help="Data set folder; its layout is found out.")]
Model = Annotated[Path, typer.Option(help="Model file that `train` wrote.")]
Classes = Annotated[
    list[str] | None, typer.Option("--class", help="Only this class; may be repeated.")
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps resized images, or the encoder's features, for reuse."),
]
CacheGib = Annotated[float, typer.Option(help="Bound on what the cache folder holds.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="Of the arithmetic: fp32, bf16 or fp16.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress display.")]


@app.command()
def train(
    root: Root,
    run: Annotated[Path, typer.Option(help="Folder for checkpoints, curves and the model.")],
    preset: Annotated[str, typer.Option(help="invad, invad-lite or rd.")] = "invad-lite",
    encoder: Annotated[
        str | None, typer.Option(help="Any timm encoder instead of the preset's.")
    ] = None,
    out_indices: Annotated[
        str | None, typer.Option(help="Stages or blocks of the encoder; default 1,2,3.")
    ] = None,
    encoder_weights: Annotated[
        str, typer.Option(help="pretrained (timm's hub), a file or folder, or none (random).")
    ] = "pretrained",
    size: Annotated[int, typer.Option(help="Side of the square input in pixels.")] = 256,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the good images; default 300, of rd 200.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images a step; default 32, of rd 16.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Default 0.001 x batch size / 8, of rd 0.005.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto (bf16 where it is fast).")
    ] = "fp32",
    seed: Annotated[int, typer.Option(help="Of the weights and the order of images.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 2,
    false_alarm_rate: Annotated[
        float, typer.Option(help="Of the thresholds set at the end, on the training parts.")
    ] = 0.01,
    classes: Classes = None,
    cache: Cache = None,
    cache_gib: CacheGib = 20.0,
    feature_cache_gib: Annotated[
        float, typer.Option(help="Memory for the encoder's features; 0 computes them every epoch.")
    ] = 4.0,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Time between checkpoints: what a kill may cost.")
    ] = 60.0,
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    quiet: Quiet = False,
) -> None:
    """Trains one model on the good parts of all classes below ROOT."""
    import torch

    from invad_fast.data import read_dataset
    from invad_fast.methods import create_model, method_class
    from invad_fast.train import TrainingOptions

    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": precision,
        "seed": seed,
        "workers": workers,
        "device": device,
        "false_alarm_rate": false_alarm_rate,
        "cache": cache,
        "cache_gib": cache_gib,
        "feature_cache_gib": feature_cache_gib,
        "checkpoint_seconds": checkpoint_seconds,
    }
    options = TrainingOptions(**method_class(preset).recipe.complete(given))
    dataset = read_dataset(root)
    torch.manual_seed(seed)
    changes: dict[str, Any] = {"input_size": size} | ({"encoder": encoder} if encoder else {})
    if out_indices:
        changes["out_indices"] = _numbers("--out-indices", out_indices)
    weights = None if encoder_weights.lower() == "none" else encoder_weights
    model = create_model(preset, encoder_weights=weights, **changes)
    result = model.fit(
        dataset,
        run=run,
        resume=resume,
        classes=classes,
        show_progress=not quiet,
        **dataclasses.asdict(options),
    )
    rate = f"{result.images_per_second:.1f} images/s"
    out.print(f"trained in {result.seconds:.0f} s ({rate}), loss {result.losses[-1]:.4f}")
    out.print(f"model: {run / 'model.safetensors'}", soft_wrap=True)


@app.command()
def evaluate(
    root: Root,
    model: Model,
    output: Annotated[
        Path, typer.Option(help="Folder for figures.json, figures.csv, pictures, report.html.")
    ] = Path("evaluation"),
    classes: Classes = None,
    protocol: Annotated[str, typer.Option(help="paper or exact.")] = "paper",
    pooling: Annotated[
        int | None, typer.Option(help="Image score of the map averaged over this window.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="unified or per_scale; default: the method's own.")
    ] = None,
    pictures: Annotated[int, typer.Option(help="Pictures of each class.")] = 6,
    precision: Precision = "fp32",
    cache: Cache = None,
    cache_gib: CacheGib = 20.0,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Scores the test images below ROOT: all figures, pictures, and a report."""
    from invad_fast.distributed import join
    from invad_fast.evaluate import evaluate_model
    from invad_fast.report import write_report

    join(device)  # of several processes each makes its model on a GPU of its own
    result = evaluate_model(
        _load_optimized(model, precision, device),
        root,
        output=output,
        classes=classes,
        protocol=protocol,
        pooling=pooling,
        mode=mode,
        pictures=pictures,
        cache=cache,
        cache_gib=cache_gib,
        device=device,
        show_progress=not quiet,
    )
    if RANK != "0":
        return
    notes = [f"Protocol: {protocol}. Model: {model.name}. Data: {root.name}."]
    write_report(output / "report.html", f"Defects found in {root.name}", notes, result)
    print_figures(result)
    out.print(f"report: {output / 'report.html'}", soft_wrap=True)


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    model: Model,
    output: Annotated[
        Path | None, typer.Option(help="Folder for a map and an overlay of each image.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="The product, for its own threshold.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Instead of the model's own.")] = None,
    precision: Precision = "fp32",
    device: Device = "auto",
) -> None:
    """Prints one JSON line for each image: score, threshold, verdict, files."""
    from invad_fast.predict import find_images, predict_files

    files = find_images(images)
    rows = predict_files(
        _load_optimized(model, precision, device),
        files,
        output=output,
        class_name=class_name,
        threshold=threshold,
        device=device,
    )
    for row in rows:
        print(json.dumps(row), flush=True)


@app.command()
def calibrate(
    root: Root,
    model: Model,
    false_alarm_rate: Annotated[
        float, typer.Option(help="Share of good parts that may be called anomalous.")
    ] = 0.01,
    classes: Classes = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Sets the model's thresholds from good test parts below ROOT, which it has not seen."""
    from invad_fast.calibrate import calibrate as thresholds_of
    from invad_fast.calibrate import check_rate
    from invad_fast.data import read_dataset
    from invad_fast.evaluate import good_scores

    check_rate(false_alarm_rate)
    dataset = read_dataset(root)
    dataset = dataset.only(classes) if classes else dataset
    records = [r for r in dataset.test if not r.anomalous]
    if not records:
        raise InputError(f"{root}: no good parts among the test images to calibrate on")
    loaded = _load(model)
    scores = good_scores(loaded, records, device, not quiet)
    loaded.thresholds = thresholds_of(scores, [r.class_name for r in records], false_alarm_rate)
    loaded.save(model)
    for name, value in loaded.thresholds.items():
        out.print(f"{'all classes' if name == '*' else name}: threshold {value:.6g}")


@app.command()
def demo(
    output: Annotated[Path, typer.Argument(help="Folder to write to.")] = Path("invad-demo"),
    seed: Annotated[int, typer.Option(help="Of the parts, the defects and the weights.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Makes a production line's images, trains, evaluates, and writes a report: no download."""
    from invad_fast.demo import run_demo

    result = run_demo(output, seed=seed, show_progress=not quiet)
    print_figures(result)
    out.print(f"report: {output / 'report.html'}", soft_wrap=True)


@app.command("coco-ad")
def coco_ad(
    root: Annotated[Path, typer.Argument(help="COCO 2017: annotations, train2017, val2017.")],
    split: Annotated[str, typer.Option(help="0, 1, 2, 3, or all.")] = "all",
    output: Annotated[Path, typer.Option(help="Folder for split0, split1, ...")] = Path("coco_ad"),
    masks: Annotated[
        str, typer.Option(help="png, or none: decoded from meta.json when needed.")
    ] = "png",
    quiet: Quiet = False,
) -> None:
    """Builds the COCO-AD benchmark from COCO 2017's annotation files; goes on where it stopped."""
    from invad_fast.data.coco_ad import build_coco_ad
    from invad_fast.progress import counter

    with counter("masks", not quiet) as progress:
        reports = build_coco_ad(root, split, output, masks, progress)
    for report in reports:
        out.print(report.summary(), soft_wrap=True, highlight=False)
    out.print(f"class frequencies: {output / 'classes.csv'}", soft_wrap=True, highlight=False)
    out.print(f"train on one: invad-fast train {reports[0].folder} --run RUN", soft_wrap=True)


@app.command()
def benchmark(
    config: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped one.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder of runs and tables; default runs/NAME.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Where relative data folders start; default: here.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, count, estimate the time; write nothing.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Trains and scores all that CONFIG lists, beside the published figures; resumes."""
    from invad_fast.benchmark import make_plan, read_configuration, run_benchmark
    from invad_fast.benchmark.console import print_plan, print_results
    from invad_fast.benchmark.results import summarize
    from invad_fast.benchmark.tables import write_tables

    read = read_configuration(config)
    folder = output or Path("runs") / Path(config).stem
    runs = make_plan(read, folder, data_root)
    if dry_run:
        print_plan(out, runs)
        return

    def finished(run, results) -> None:
        write_tables(folder, read, summarize(read, results))
        out.print(f"{len(results)} of {len(runs)}: {run.title}", soft_wrap=True, highlight=False)

    results = run_benchmark(runs, show_progress=not quiet, finished=finished)
    print_results(out, read, summarize(read, results))
    out.print(f"tables: {folder}/results.md, .tex, .csv, .json", soft_wrap=True)


@app.command()
def datasets() -> None:
    """Lists the data set layouts that are read, and where to get the data sets."""
    from invad_fast.data import LAYOUTS

    for layout in LAYOUTS.values():
        out.print(f"[bold]{layout.name}[/bold]  {layout.looks_like}", highlight=False)
        for name, source in layout.data_sets:
            out.print(f"    {name}: {source}", highlight=False, soft_wrap=True)


@app.command()
def doctor() -> None:
    """Says which backends are there, and why the others are not."""
    from invad_fast.doctor import reasons, report

    facts, table = report()
    for name, value in facts.items():
        out.print(f"{name}: {value}", highlight=False)
    shown = Table("op", *next(iter(table.values())))
    for op, row in table.items():
        shown.add_row(op, *("yes" if reason is None else "no" for reason in row.values()))
    out.print(shown)
    for name, reason in reasons(table).items():
        out.print(f"{name}: {reason}", soft_wrap=True, highlight=False)


def print_figures(result: Evaluation) -> None:
    """The figures in percent, a row a class."""
    from invad_fast.report import figures_table

    # A terminal narrower than the table would cut figures off: let it wrap instead.
    Console(width=max(out.width, 118)).print(figures_table(result))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise InputError(f"{option} takes numbers such as 3,7,11, not {text!r}") from None


def _load(path: Path) -> Method:
    from invad_fast.methods import load_model

    return load_model(path)


def _load_optimized(path: Path, precision: str, device: str) -> Predictor:
    """The inference form of what has one."""
    from invad_fast.model import InvAD

    model = _load(path)
    if isinstance(model, InvAD):
        return model.optimize(precision, device)
    if precision != "fp32":
        raise InputError(f"{path} is no InvAD: it runs in fp32 only")
    return model


def main() -> None:
    """The console script: InputError is one line and status 2, Ctrl-C status 130."""
    warnings.showwarning = lambda message, *_: err.print(f"note: {message}", soft_wrap=True)
    try:
        app()
    except InputError as error:
        # Any process may be the one that met it.
        Console(stderr=True).print(
            f"error: {error}", style="red", soft_wrap=True, markup=False, highlight=False
        )
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("stopped; a training run goes on with --resume")
        sys.exit(130)
