"""The command line: ``python -m seghw data|train|sweep|evaluate|claims|sam|figures|report``.

And of the assignment: ``python -m seghw assignment|submission|grade``.

Every command is a thin call into the package, imported when it is used, so that ``--help`` is
quick. Bad input ends with one line and exit status 2, as argparse's own errors do.
"""

import argparse
import json
import os
import signal
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from seghw import config
from seghw.config import TrainConfig
from seghw.errors import BadInput, whole_number


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a narrow code page shows what it can
            stream.reconfigure(errors="replace")
    arguments = _parser().parse_args(argv)
    for name in ("SIGTERM", "SIGHUP"):  # end a command as Ctrl-C does, workers included
        with suppress(AttributeError, ValueError):  # Windows has no SIGHUP, threads have none
            if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:  # as nohup sets it
                signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _tell(message)
            return arguments.run(arguments) or 0
    except (BadInput, OSError) as error:
        cause, target = getattr(error, "strerror", None), getattr(error, "filename2", None)
        name = target or getattr(error, "filename", None)  # a rename's target says more
        _tell(f"{cause}: {name}" if cause and name else cause or " ".join(str(error).split()))
        return 2
    except KeyboardInterrupt:
        goes_on = arguments.run in (train, sweep) or vars(arguments).get("download")
        _tell("interrupted; the same command goes on from here" if goes_on else "interrupted")
        return 130


def _tell(message: object) -> None:
    print(f"seghw: {message}", file=sys.stderr)


# -- verbs and their options ------------------------------------------------------------------

#: By name: what runs, which says in a line what it does, and its options as argparse takes them.
VERBS: dict[str, tuple[Callable, tuple]] = {}


def verb(*options: tuple) -> Callable[[Callable], Callable]:
    """Make the function below a command with these options."""
    return lambda run: VERBS.setdefault(run.__name__.replace("_", " "), (run, options))[0]


def option(*names: str, **more: Any) -> tuple:
    """What argparse's ``add_argument`` takes."""
    return names, more


def _parser() -> argparse.ArgumentParser:
    # Else argparse takes --seed for --seeds.
    kind = partial(argparse.ArgumentParser, allow_abbrev=False)
    parser = kind(prog="python -m seghw", description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=kind)
    data = verbs.add_parser("data", help="draw, read or write data sets")
    sets = data.add_subparsers(required=True, metavar="SET", parser_class=kind)
    for name, (run, options) in VERBS.items():
        group, name = (sets, name[5:]) if name.startswith("data ") else (verbs, name)
        command = group.add_parser(name.replace(" ", "-"), help=run.__doc__)
        for names, more in options:
            command.add_argument(*names, **more)
        command.set_defaults(run=run)
    return parser


def _path(text: str) -> Path:
    """A path as the shell would have it also behind ``--out=``, and with a name of its own."""
    return Path(os.path.expanduser(text)).resolve()  # noqa: PTH111 (Path refuses unknown users)


folder, number = partial(option, type=_path), partial(option, type=int)
COUNT, SEED = number("--count", default=1000), number("--seed", default=0)
PROFILE = option("--profile", choices=config.PROFILES, default="laptop")
WHERE = folder("--runs", default=config.RUNS, help="where the records are")
RECORDS = (
    WHERE,
    PROFILE,
    option("--sam", metavar="MODEL", help="a folder or a Hugging Face id, fetched if not here"),
)


# -- data -------------------------------------------------------------------------------------


@verb(COUNT, SEED, number("--size", default=64), folder("--out", required=True))
def data_shapes(args: Namespace) -> None:
    """draw a PurdueShapes5 look-alike"""
    from seghw.data import shapes

    _save(shapes.generate(args.count, args.seed, args.size), args.out)


@verb(COUNT, SEED, folder("--out", required=True))
def data_scenes(args: Namespace) -> None:
    """draw pizzas, cats and buses in COCO's format"""
    from seghw.data.scenes import draw_scenes

    print(f"annotations: {draw_scenes(args.out, args.count, args.seed)}")


@verb(
    folder("--annotations", help="an instances_*.json"),
    folder("--images", help="folder with the images, or with train2017/ ..."),
    folder("--download", metavar="DIR", help="fetch the wanted images first"),
    option("--split", choices=("train2017", "val2017"), default="train2017"),
    option("--classes", nargs="+", default=["pizza", "cat", "bus"]),
    number("--size", default=256),
    number("--min-box", default=200, help="least side of the box in pixels"),
    number("--min-area", default=0, help="least area of the mask in pixels"),
    option("--instances", choices=("single", "any"), default="single"),
    folder("--out", help="default: data/coco3, or data/own+CLASS+CLASS"),
)
def data_coco(args: Namespace) -> None:
    """build the pizza/cat/bus set from COCO annotations"""
    from seghw.data import coco
    from seghw.data.dataset import blank
    from seghw.data.download import fetch_annotations, fetch_images
    from seghw.io import require_free

    out = args.out or config.DATA / config.dataset_of(args.classes)
    require_free(out)  # before the long work, as the size is refused
    blank(0, 0, args.size)
    annotations, images = args.annotations, args.images
    if args.download:
        annotations, images = fetch_annotations(args.download, args.split), args.download
    if not annotations or not images:
        raise BadInput("data coco needs --annotations and --images, or --download DIR")
    chosen = coco.select(annotations, args.classes, args.min_box, args.instances, args.min_area)
    if args.download:
        records = [image.record for image in chosen]
        sizes = {Path(r["file_name"]).name: (r["width"], r["height"]) for r in records}
        fetch_images(args.download, args.split, sizes)
    name = f"COCO ({annotations.name})"
    data = coco.rasterize(chosen, images, args.classes, args.size, name)
    _save(data, out)
    used = {*data.names}
    chosen = [image for image in chosen if image.record["file_name"] in used]
    coco.write_manifest(out / "manifest.csv", chosen)


@verb(number("--count", default=10_000), SEED, folder("out", metavar="OUT.gz"))
def data_export_dlstudio(args: Namespace) -> None:
    """write drawn shapes as the course's archive"""
    from seghw.data import purdue, shapes

    purdue.write_archive(shapes.generate(args.count, args.seed), args.out)
    print(f"{args.count} images in DLStudio's format: {args.out}")


def _save(data, out: Path) -> None:
    data.save(out)
    present = data.masks.any(axis=(2, 3)).sum(axis=0)
    per_class = ", ".join(f"{n} {spec.name}" for n, spec in zip(present, data.classes, strict=True))
    height, width = data.images.shape[2:]
    print(f"{len(data)} images of {height} x {width} ({per_class}): {out}")


# -- train, sweep, evaluate -------------------------------------------------------------------


@verb(
    option("--dataset", choices=config.DATASETS, help="default: purdue5 if there, or shapes5"),
    folder("--data", help="a set of your own, split 70/15/15"),
    option("--recipe", choices=config.RECIPES, default="corrected"),
    option("--loss", choices=config.LOSS_NAMES, help="default: mse_dice, gradients of equal norm"),
    option("--coefficient", type=float, help="weight of the Dice term"),
    option("--learning-rate", type=float, help="default: the recipe's middle one"),
    SEED,
    PROFILE,
    number("--epochs", help="default: the profile's"),
    option("--augment", action="store_true", help="flip, scale and recolor the images"),
    option("--network", choices=config.NETWORKS, default="munet"),
    option("--config", metavar="JSON", help="all of the above, as run.json has it"),
    WHERE,
    option("--quiet", action="store_true", help="no bar"),
)
def train(args: Namespace) -> int:
    """train one run"""
    from seghw.data.dataset import SegmentationSet
    from seghw.data.splits import default_dataset, describe_data, split_real

    data = SegmentationSet.load(args.data) if args.data else None
    own = None if data is None else config.dataset_of([spec.name for spec in data.classes])
    wanted = _config(args, args.dataset or own or default_dataset("shapes"))
    # Not by truth: a set without images is refused by its split.
    sets = None if data is None else [split_real(data, split) for split in config.SPLITS]
    if not args.quiet:
        print(f"own set: {args.data}" if args.data else describe_data(wanted.dataset))
    from filelock import Timeout

    from seghw.runs import read_run
    from seghw.train import train  # loads torch, which what is refused need not wait for

    try:
        run = train(wanted, sets, runs=args.runs, progress=not args.quiet, wait=not args.config)
    except Timeout:
        return config.ELSEWHERE
    row = read_run(run)
    if row["status"] == "diverged":
        raise BadInput(row["error"])
    if not args.quiet:
        print(f"validation mean IoU {row['score']:.3f}: {run}")
    return 0


def _config(args: Namespace, dataset: str) -> TrainConfig:
    if args.config:
        try:
            return TrainConfig(**json.loads(args.config))
        except (ValueError, TypeError) as error:
            line = f"--config {args.config!r:.80} is no configuration: {error}"
            raise BadInput(line) from error
    values = {name: vars(args)[name] for name in TrainConfig.__match_args__ if name in vars(args)}
    if args.learning_rate is None:
        rates = config.settings_of(args.recipe, args.profile).learning_rates
        values["learning_rate"] = rates[len(rates) // 2]
    if args.loss is args.coefficient is None:
        values["coefficient"] = config.BALANCED[args.recipe][config.family_of(dataset)]
    return TrainConfig(**{**values, "dataset": dataset, "loss": args.loss or "mse_dice"})


@verb(
    option("--dataset", choices=config.DATASETS, action="append"),
    option("--recipe", choices=config.RECIPES, action="append"),
    PROFILE,
    number("--seeds", default=3, help="how many, from 0 on"),
    option(
        "--ablation",
        action="store_true",
        help="instead of the grid, the best laptop runs on the shapes without the network's parts",
    ),
    number("--jobs", help="runs side by side, default one per core"),
    option("--scheduler", metavar="ADDRESS", help="of a Dask cluster that trains them"),
    WHERE,
)
def sweep(args: Namespace) -> int:
    """train the report's grid, resumably"""
    if whole_number("--seeds", args.seeds, 1) > 1000:
        raise BadInput(f"--seeds {args.seeds} is more than a sweep of 1000 seeds; give fewer")
    if args.ablation and (args.dataset or args.recipe):
        raise BadInput("--ablation has its own data and recipes: leave --dataset and --recipe out")
    from seghw.data.splits import default_dataset, describe_data
    from seghw.train.sweeps import ablation, grid, sweep

    datasets = args.dataset or [default_dataset(family) for family in config.DRAWN]
    # Seeds are the outermost loop, so that what is there is comparable early.
    grids = [
        grid(dataset, recipe, profile=args.profile, seeds=[seed])
        for seed in range(args.seeds)
        for dataset in datasets
        for recipe in args.recipe or config.RECIPES
    ]
    configs = ablation(range(args.seeds), args.profile) if args.ablation else [*chain(*grids)]
    print(*map(describe_data, dict.fromkeys(run.dataset for run in configs)), sep="\n")
    outcome = sweep(configs, jobs=args.jobs, runs=args.runs, scheduler=args.scheduler)
    width = max((len(run.run_id) for run in outcome), default=0)
    print(*(f"{run.run_id:{width}}  {result}" for run, result in outcome.items()), sep="\n")
    return 0 if set(outcome.values()) <= {"trained", "skipped", "elsewhere"} else 1


@verb(
    folder("run_folder", metavar="RUN", help="a folder with a run.json"),
    folder("--data", help="a set made by `data ...`"),
    option("--split", choices=config.SPLITS, default="test"),
    number("--panels", default=3, help="how many images to draw"),
    folder("--out", help="default: a folder inside the run's"),
)
def evaluate(args: Namespace) -> None:
    """score a run and draw its panels"""
    from seghw.data.dataset import SegmentationSet
    from seghw.data.splits import describe_data, open_split, split_real
    from seghw.evaluate import count_tables
    from seghw.report.figures import evaluation_panels
    from seghw.report.results import evaluate_run, write_table
    from seghw.runs import read_run
    from seghw.train.records import save_counts

    run = SimpleNamespace(**read_run(args.run_folder))
    if args.data:
        data = split_real(SegmentationSet.load(args.data), args.split)
    else:
        data = open_split(run.config, args.split)
        print(describe_data(run.config.dataset))
    evaluation = evaluate_run(run, data)
    out = args.out or run.folder / f"evaluation-{args.split}"
    out.mkdir(parents=True, exist_ok=True)
    write_table(evaluation.table(), out / "images.csv")
    counted = (run.folder / "counts.npz").is_file()  # perhaps by another processor
    if args.split == "test" and not args.data and not counted:
        save_counts(count_tables(evaluation.masks, data, run.config), run.folder)
    evaluation_panels(evaluation, out, args.panels)
    print(f"mean IoU {evaluation.iou:.3f} on {len(data)} images of {data.name}: {out}")


# -- what is made from the records ------------------------------------------------------------


def _records(args: Namespace):
    from seghw.report.results import Records

    return Records(args.runs or config.RUNS, args.profile, args.sam)


@verb(folder("--runs"), *RECORDS[1:])
def claims(args: Namespace) -> None:
    """each sentence of the report, measured"""
    from seghw.report import claims

    asked = args.runs or args.sam or args.profile != "laptop"
    if not asked and claims.CSV.is_file():
        print(claims.as_text(claims.read_claims()))
        print(f"\nread from {claims.CSV}; --runs {config.RUNS} measures anew")
        return
    records = _records(args)
    if records.runs.empty:
        raise BadInput(f"{records.folder / args.profile} holds no runs; `sweep` trains them")
    print(claims.as_text(claims.measure(records)))


@verb(
    *RECORDS,
    number("--images", default=60, help="of each test set"),
    folder("--out", metavar="CSV", help="also write every number there"),
)
def sam(args: Namespace) -> None:
    """a promptable segmenter and our network, compared"""
    import pandas as pd

    from seghw.report import claims, sam_comparison
    from seghw.report.results import write_table

    records = _records(args)
    records.sam_images = args.images
    name = records.segmenter.name  # opened first: without it there is nothing to compare
    print(sam_comparison.__doc__)
    comparisons = [*map(records.sam_comparison, config.DRAWN)]
    for comparison in comparisons:
        print(f"{name} and our network on {len(comparison.data)} images of {comparison.data.name}")
        for protocol in ("objects", "classes", "automatic"):
            print(f"\n{protocol}\n\n{comparison.table(protocol).to_string()}")
        print()
    if args.out:
        write_table(pd.concat([comparison.rows for comparison in comparisons]), args.out)
        print(args.out)
    keys = ("sam_complete", "sam_boundaries", "sam_aggressive")
    print(claims.as_text(claims.measure(records, keys)))


@verb(
    *RECORDS,
    option("--only", help="numbers and ranges, such as 17-19,45"),
    folder("--out", default=config.FIGURES),
)
def figures(args: Namespace) -> None:
    """draw the report's figures from the records"""
    from seghw.data.splits import describe_data
    from seghw.report.figures import make_figures

    records = _records(args)
    print(*(describe_data(records.dataset(family)) for family in config.DRAWN), sep="\n")
    made = make_figures(args.only, out=args.out, records=records)
    print(f"{sum(path.suffix == '.png' for path in made)} figures: {args.out}")


@verb(*RECORDS, folder("--out", default=config.ROOT / "dist/report"))
def report(args: Namespace) -> None:
    """write the report as a page and a PDF"""
    from seghw.report.page import build_report

    print(f"report.html and report.pdf: {build_report(_records(args), args.out)}")


# -- the assignment ---------------------------------------------------------------------------


@verb(folder("--out", default=config.ROOT / "dist/assignment"))
def assignment(args: Namespace) -> None:
    """write the students' edition"""
    _refuse_in_edition()
    from seghw.assignment.edition import make_edition

    print(make_edition(args.out))


@verb(
    option("--name", required=True, help="yours, as the course knows it"),
    folder("--notebooks", help="default: the edition's"),
)
def submission(args: Namespace) -> None:
    """check an edition's tasks, and zip them"""
    from seghw.assignment.assess import submit

    made = config.ROOT / "dist/assignment/notebooks"
    notebooks = args.notebooks or (made if made.is_dir() else config.ROOT / "notebooks")
    print(f"hand in {submit(args.name, notebooks)}")


@verb(
    folder("submissions", help="folder: one zip or folder per student"),
    folder("--out", default=config.ROOT / "dist/grades"),
    option("--seconds", type=float, default=10.0, help="that a task may take"),
    option("-j", "--jobs", type=int, default=1, help="submissions side by side"),
    option("--partial", action="store_true", help="points for a part of the ideas"),
)
def grade(args: Namespace) -> None:
    """grade a folder of submissions"""
    _refuse_in_edition()
    from seghw.assignment.grade import grade

    options = {"seconds": args.seconds, "jobs": args.jobs, "partial": args.partial}
    print(grade(args.submissions, args.out, **options))


def _refuse_in_edition() -> None:
    if not (config.ROOT / "seghw/assignment/questions.py").is_file():
        raise BadInput("this is a student's edition: the teacher's project has this command")
