"""The command line: ``python -m seghw data|train|sweep|evaluate|claims|sam|figures|report``.

And of the assignment: ``python -m seghw assignment|submission|grade``.

Every command is a thin call into the package, imported when it is used, so that ``--help`` is
quick. Bad input ends with one line and exit status 2, as argparse's own errors do.
"""

import argparse
import sys
import warnings
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

from seghw.config import (
    BALANCED,
    DATA,
    DATASETS,
    DRAWN,
    ELSEWHERE,
    FIGURES,
    LOSS_NAMES,
    NETWORKS,
    PROFILES,
    RECIPES,
    ROOT,
    RUNS,
    SPLITS,
    TrainConfig,
    dataset_of,
    family_of,
    settings_of,
)
from seghw.errors import BadInput, whole_number
from seghw.io import atomic_write


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a narrow code page shows what it can
            stream.reconfigure(errors="replace")
    arguments = _parser().parse_args(argv)
    _end_as_on_ctrl_c()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return arguments.run(arguments) or 0
    except (BadInput, OSError) as error:
        print(f"seghw: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("seghw: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _end_as_on_ctrl_c() -> None:
    """Let SIGTERM and a closed terminal end a command as Ctrl-C does, workers included."""
    import signal
    import threading

    if threading.current_thread() is threading.main_thread():  # else Python refuses
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.default_int_handler)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"seghw: {message}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(str(error).split())


class _Parser(argparse.ArgumentParser):
    """argparse's, which would take ``--seed`` for ``--seeds``."""

    def __init__(self, **options) -> None:
        super().__init__(**options, allow_abbrev=False)


def _path(text: str) -> Path:
    """A path as the shell would have it also behind ``--out=``, and with a name of its own."""
    return Path(text).expanduser().resolve()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m seghw", description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_data(verbs.add_parser("data", help="draw, read or write data sets"))
    _add_train(verbs.add_parser("train", help="train one run"))
    _add_sweep(verbs.add_parser("sweep", help="train the report's grid, resumably"))
    _add_evaluate(verbs.add_parser("evaluate", help="score a run and draw its panels"))
    _add_claims(verbs.add_parser("claims", help="each sentence of the report, measured"))
    _add_sam(verbs.add_parser("sam", help="a promptable segmenter and our network, compared"))
    _add_figures(verbs.add_parser("figures", help="draw the report's figures from the records"))
    _add_report(verbs.add_parser("report", help="write the report as a page and a PDF"))
    _add_assignment(verbs.add_parser("assignment", help="write the students' edition"))
    _add_submission(verbs.add_parser("submission", help="check an edition's tasks, and zip them"))
    _add_grade(verbs.add_parser("grade", help="grade a folder of submissions"))
    return parser


# -- data -------------------------------------------------------------------------------------


def _add_data(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="SET")

    shapes = kinds.add_parser("shapes", help="draw a PurdueShapes5 look-alike")
    shapes.add_argument("--count", type=int, default=1000)
    shapes.add_argument("--seed", type=int, default=0)
    shapes.add_argument("--size", type=int, default=64)
    shapes.add_argument("--out", type=_path, required=True)
    shapes.set_defaults(run=_data_shapes)

    scenes = kinds.add_parser("scenes", help="draw pizzas, cats and buses in COCO's format")
    scenes.add_argument("--count", type=int, default=1000)
    scenes.add_argument("--seed", type=int, default=0)
    scenes.add_argument("--out", type=_path, required=True)
    scenes.set_defaults(run=_data_scenes)

    coco = kinds.add_parser("coco", help="build the pizza/cat/bus set from COCO annotations")
    coco.add_argument("--annotations", type=_path, help="an instances_*.json")
    coco.add_argument("--images", type=_path, help="folder with the images, or with train2017/ ...")
    coco.add_argument("--download", type=_path, metavar="DIR", help="fetch the wanted images first")
    coco.add_argument("--split", choices=("train2017", "val2017"), default="train2017")
    coco.add_argument("--classes", nargs="+", default=["pizza", "cat", "bus"])
    coco.add_argument("--size", type=int, default=256)
    coco.add_argument("--min-box", type=int, default=200, help="least side of the box in pixels")
    coco.add_argument("--min-area", type=int, default=0, help="least area of the mask in pixels")
    coco.add_argument("--instances", choices=("single", "any"), default="single")
    coco.add_argument("--out", type=_path, help="default: data/coco3, or data/own+CLASS+CLASS")
    coco.set_defaults(run=_data_coco)

    export = kinds.add_parser("export-dlstudio", help="write drawn shapes as the course's archive")
    export.add_argument("--count", type=int, default=10_000)
    export.add_argument("--seed", type=int, default=0)
    export.add_argument("out", type=_path, metavar="OUT.gz")
    export.set_defaults(run=_data_export)


def _data_shapes(args: argparse.Namespace) -> None:
    from seghw.data import shapes

    _save(shapes.generate(args.count, args.seed, args.size), args.out)


def _data_scenes(args: argparse.Namespace) -> None:
    from seghw.data.scenes import draw_scenes

    print(f"annotations: {draw_scenes(args.out, args.count, args.seed)}")


def _data_coco(args: argparse.Namespace) -> None:
    from seghw.data import coco
    from seghw.data.download import fetch_annotations, fetch_images

    rule = (args.classes, args.min_box, args.instances, args.min_area)
    annotations, images = args.annotations, args.images
    if args.download:
        annotations, images = fetch_annotations(args.download, args.split), args.download
    if not annotations or not images:
        raise BadInput("data coco needs --annotations and --images, or --download DIR")
    chosen = coco.select(annotations, *rule)
    if args.download:
        records = [image.record for image in chosen]
        sizes = {Path(r["file_name"]).name: (r["width"], r["height"]) for r in records}
        fetch_images(args.download, args.split, sizes)
    name = f"COCO ({annotations.name})"
    data = coco.rasterize(chosen, images, args.classes, args.size, name)
    out = args.out or DATA / dataset_of(args.classes)
    _save(data, out)
    coco.write_manifest(
        out / "manifest.csv", [c for c in chosen if c.record["file_name"] in data.names]
    )


def _data_export(args: argparse.Namespace) -> None:
    from seghw.data import purdue, shapes

    purdue.write_archive(shapes.generate(args.count, args.seed), args.out)
    print(f"{args.count} images in DLStudio's format: {args.out}")


def _save(data, folder: Path) -> None:
    data.save(folder)
    present = data.masks.any(axis=(2, 3)).sum(axis=0)
    per_class = ", ".join(f"{n} {spec.name}" for n, spec in zip(present, data.classes, strict=True))
    height, width = data.images.shape[2:]
    print(f"{len(data)} images of {height} x {width} ({per_class}): {folder}")


# -- train, sweep, evaluate -----------------------------------------------------------------------


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", choices=DATASETS, help="default: purdue5 if there, or shapes5")
    parser.add_argument("--data", type=_path, help="a set of your own, split 70/15/15")
    parser.add_argument("--recipe", choices=RECIPES, default="corrected")
    parser.add_argument(
        "--loss", choices=LOSS_NAMES, help="default: mse_dice, gradients of equal norm"
    )
    parser.add_argument("--coefficient", type=float, help="weight of the Dice term")
    parser.add_argument("--learning-rate", type=float, help="default: the recipe's middle one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", choices=PROFILES, default="laptop")
    parser.add_argument("--epochs", type=int, help="default: the profile's")
    parser.add_argument("--augment", action="store_true", help="flip, scale and recolor the images")
    parser.add_argument("--network", choices=NETWORKS, default="munet")
    parser.add_argument("--config", metavar="JSON", help="all of the above, as run.json has it")
    parser.add_argument("--runs", type=_path, default=RUNS, help="where the record goes")
    parser.add_argument("--quiet", action="store_true", help="no bar")
    parser.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> int:
    from seghw.data.dataset import SegmentationSet
    from seghw.data.splits import default_dataset, describe_data, split_real

    data = SegmentationSet.load(args.data) if args.data else None
    own = None if data is None else dataset_of([spec.name for spec in data.classes])
    dataset = args.dataset or own or default_dataset("shapes")
    config = _read_config(args.config) if args.config else _config(args, dataset)
    # Not by truth: a set without images is refused by its split.
    sets = None if data is None else [split_real(data, split) for split in SPLITS]
    if not args.quiet:
        print(f"own set: {args.data}" if args.data else describe_data(config.dataset))
    from filelock import Timeout

    from seghw.runs import read_run
    from seghw.train import train  # loads torch, which what is refused need not wait for

    try:
        run = train(config, sets, runs=args.runs, progress=not args.quiet, wait=not args.config)
    except Timeout:
        return ELSEWHERE
    row = read_run(run)
    if row["status"] == "diverged":
        raise BadInput(row["error"])
    if not args.quiet:
        print(f"validation mean IoU {row['score']:.3f}: {run}")
    return 0


def _config(args: argparse.Namespace, dataset: str) -> TrainConfig:
    rates = settings_of(args.recipe, args.profile).learning_rates
    coefficient = args.coefficient
    if args.loss is coefficient is None:
        coefficient = BALANCED[args.recipe][family_of(dataset)]
    return TrainConfig(
        dataset,
        args.recipe,
        args.loss or "mse_dice",
        rates[len(rates) // 2] if args.learning_rate is None else args.learning_rate,
        coefficient,
        args.seed,
        args.profile,
        args.epochs,
        augment=args.augment,
        network=args.network,
    )


def _read_config(text: str) -> TrainConfig:
    import json

    try:
        return TrainConfig.from_dict(json.loads(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"--config {text!r:.80} is no configuration: {error}") from error


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", choices=DATASETS, action="append")
    parser.add_argument("--recipe", choices=RECIPES, action="append")
    parser.add_argument("--profile", choices=PROFILES, default="laptop")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument(
        "--ablation",
        action="store_true",
        help="instead of the grid, the best laptop runs on the shapes without the network's parts",
    )
    parser.add_argument("--jobs", type=int, help="runs side by side, default one per core")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that trains them")
    parser.add_argument("--runs", type=_path, default=RUNS, help="where the records go")
    parser.set_defaults(run=_sweep)


def _sweep(args: argparse.Namespace) -> int:
    if whole_number("--seeds", args.seeds, 1) > 1000:
        raise BadInput(f"--seeds {args.seeds} is more than a sweep of 1000 seeds; give fewer")
    from seghw.data.splits import default_dataset, describe_data
    from seghw.train.sweep import ablation, grid, sweep

    datasets = args.dataset or [default_dataset(family) for family in DRAWN]
    # Seeds are the outermost loop, so that what is there is comparable early.
    grids = [
        grid(dataset, recipe, profile=args.profile, seeds=[seed])
        for seed in range(args.seeds)
        for dataset in datasets
        for recipe in args.recipe or RECIPES
    ]
    configs = ablation(range(args.seeds), args.profile) if args.ablation else chain(*grids)
    print(*map(describe_data, datasets), sep="\n")
    outcome = sweep(configs, jobs=args.jobs, runs=args.runs, scheduler=args.scheduler)
    width = max(map(len, outcome), default=0)
    print(*(f"{run_id:{width}}  {result}" for run_id, result in outcome.items()), sep="\n")
    return 0 if set(outcome.values()) <= {"trained", "skipped", "elsewhere"} else 1


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=_path, metavar="RUN", help="a folder with a run.json")
    parser.add_argument("--data", type=_path, help="a set made by `data ...`")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--panels", type=int, default=3, help="how many images to draw")
    parser.add_argument("--out", type=_path, help="default: a folder inside the run's")
    parser.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> None:
    from seghw.data.dataset import SegmentationSet
    from seghw.data.splits import describe_data, open_split, split_real
    from seghw.evaluate import count_tables
    from seghw.report.figures import evaluation_panels
    from seghw.report.results import evaluate_run
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
    with atomic_write(out / "images.csv") as path:
        evaluation.table().to_csv(path, index=False, float_format="%.4f", lineterminator="\n")
    if args.split == "test" and not args.data:
        save_counts(count_tables(evaluation.masks, data, run.config), run.folder)
    evaluation_panels(evaluation, out, args.panels)
    print(f"mean IoU {evaluation.iou:.3f} on {len(data)} images of {data.name}: {out}")


def _add_records(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=_path, default=RUNS)
    parser.add_argument("--profile", choices=PROFILES, default="laptop")
    parser.add_argument(
        "--sam", metavar="MODEL", help="a folder, or a Hugging Face id, fetched if it is not here"
    )


def _records(args: argparse.Namespace):
    from seghw.report.results import Records

    return Records(args.runs, args.profile, args.sam)


def _add_claims(parser: argparse.ArgumentParser) -> None:
    _add_records(parser)
    parser.set_defaults(run=_claims, runs=None)


def _claims(args: argparse.Namespace) -> None:
    from seghw.report import claims

    asked = args.runs or args.sam or args.profile != "laptop"
    if not asked and claims.CSV.is_file():
        print(claims.as_text(claims.read_claims()))
        print(f"\nread from {claims.CSV}; --runs {RUNS} measures anew")
        return
    args.runs = args.runs or RUNS
    records = _records(args)
    if records.runs.empty:
        raise BadInput(f"{args.runs / args.profile} holds no runs; `sweep` trains them")
    print(claims.as_text(claims.measure(records)))


def _add_sam(parser: argparse.ArgumentParser) -> None:
    _add_records(parser)
    parser.add_argument("--images", type=int, default=60, help="of each test set")
    parser.add_argument("--out", type=_path, metavar="CSV", help="also write every number there")
    parser.set_defaults(run=_sam)


def _sam(args: argparse.Namespace) -> None:
    from seghw.report import claims, sam_comparison

    records = _records(args)
    records.sam_images = args.images
    name = records.segmenter.name  # opened first: without it there is nothing to compare
    print(sam_comparison.__doc__)
    comparisons = []
    for family in DRAWN:
        comparison = records.sam_comparison(family)
        comparisons.append(comparison)
        print(f"{name} and our network on {len(comparison.data)} images of {comparison.data.name}")
        for protocol in ("objects", "classes", "automatic"):
            print(f"\n{protocol}\n\n{comparison.table(protocol).to_string()}")
        print()
    if args.out:
        sam_comparison.write_rows(comparisons, args.out)
        print(args.out)
    keys = ("sam_complete", "sam_boundaries", "sam_aggressive")
    print(claims.as_text(claims.measure(records, keys)))


def _add_figures(parser: argparse.ArgumentParser) -> None:
    _add_records(parser)
    parser.add_argument("--only", help="numbers and ranges, such as 17-19,45")
    parser.add_argument("--out", type=_path, default=FIGURES)
    parser.set_defaults(run=_figures)


def _figures(args: argparse.Namespace) -> None:
    from seghw.data.splits import describe_data
    from seghw.report.figures import make_figures

    records = _records(args)
    print(*(describe_data(records.dataset(family)) for family in DRAWN), sep="\n")
    made = make_figures(args.only, out=args.out, records=records)
    print(f"{sum(path.suffix == '.png' for path in made)} figures: {args.out}")


def _add_report(parser: argparse.ArgumentParser) -> None:
    _add_records(parser)
    parser.add_argument("--out", type=_path, default=ROOT / "dist/report")
    parser.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> None:
    from seghw.report.page import build_report

    print(f"report.html and report.pdf: {build_report(_records(args), args.out)}")


# -- the assignment ---------------------------------------------------------------------------


def _add_assignment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=_path, default=ROOT / "dist/assignment")
    parser.set_defaults(run=_assignment)


def _assignment(args: argparse.Namespace) -> None:
    _refuse_in_edition()
    from seghw.assignment.edition import make_edition

    print(make_edition(args.out))


def _add_submission(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="yours, as the course knows it")
    parser.add_argument("--notebooks", type=_path, help="default: the edition's")
    parser.set_defaults(run=_submission)


def _submission(args: argparse.Namespace) -> None:
    from seghw.assignment.assess import submit

    made = ROOT / "dist/assignment/notebooks"
    notebooks = args.notebooks or (made if made.is_dir() else ROOT / "notebooks")
    print(f"hand in {submit(args.name, notebooks)}")


def _add_grade(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("submissions", type=_path, help="folder: one zip or folder per student")
    parser.add_argument("--out", type=_path, default=ROOT / "dist/grades")
    parser.add_argument("--seconds", type=float, default=10.0, help="that a task may take")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="submissions side by side")
    parser.add_argument("--partial", action="store_true", help="points for a part of the questions")
    parser.set_defaults(run=_grade)


def _grade(args: argparse.Namespace) -> None:
    _refuse_in_edition()
    from seghw.assignment.grade import grade

    options = {"seconds": args.seconds, "jobs": args.jobs, "partial": args.partial}
    print(grade(args.submissions, args.out, **options))


def _refuse_in_edition() -> None:
    if not (ROOT / "seghw/assignment/questions.py").is_file():
        raise BadInput("this is a student's edition: the teacher's project has this command")
