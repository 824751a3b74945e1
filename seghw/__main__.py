"""The command line: argparse only, every verb a thin call into the package.

Bad input ends with one line and exit status 2, as argparse's own errors do.
"""

import argparse
import sys
from pathlib import Path

from seghw.errors import BadInput
from seghw.paths import DATA, FIGURES, RUNS


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except (BadInput, OSError) as error:
        print(f"seghw: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("seghw: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(str(error).split())


# -- commands -------------------------------------------------------------------------------


def data_shapes(args: argparse.Namespace) -> None:
    from seghw import shapes

    _save(shapes.generate(args.count, args.seed, args.size), args.out)


def data_scenes(args: argparse.Namespace) -> None:
    from seghw import scenes

    print(f"annotations: {scenes.draw_scenes(args.out, args.count, args.seed)}")


def data_coco(args: argparse.Namespace) -> None:
    from seghw import coco

    annotations, images = args.annotations, args.images
    if args.download:
        rule = (args.classes, args.min_box, args.instances)
        [annotations] = coco.download(args.download, *rule, splits=[args.split]).annotations
        images = args.download
    if not annotations or not images:
        raise BadInput("data coco needs --annotations and --images, or --download DIR")
    chosen = coco.select(annotations, args.classes, args.min_box, args.instances)
    made = coco.rasterise(chosen, images, args.classes, args.size, f"COCO ({annotations.name})")
    _save(made.data, args.out)
    coco.write_manifest(args.out / "manifest.csv", made.kept)


def data_export(args: argparse.Namespace) -> None:
    from seghw import shapes

    shapes.write_archive(shapes.generate(args.count, args.seed), args.out)
    print(f"{args.count} images in DLStudio's format: {args.out}")


def _save(data, folder: Path) -> None:
    data.save(folder)
    present = data.masks.any(axis=(2, 3)).sum(axis=0)
    per_class = ", ".join(f"{n} {spec.name}" for n, spec in zip(present, data.classes, strict=True))
    height, width = data.images.shape[2:]
    print(f"{len(data)} images of {height} x {width} ({per_class}): {folder}")


def train_one(args: argparse.Namespace) -> int:
    from seghw.recipes import RECIPES, TrainConfig
    from seghw.sources import describe_data
    from seghw.train import train

    rates = RECIPES[args.recipe].learning_rates
    config = TrainConfig(
        args.dataset,
        args.recipe,
        args.loss,
        args.learning_rate or rates[len(rates) // 2],
        args.coefficient,
        args.seed,
        args.profile,
        args.epochs,
        augment=args.augment,
    )
    print(f"own set: {args.data}" if args.data else describe_data(config.dataset))
    run = train(config, _own_sets(args.data), runs=args.runs)
    if run.status == "diverged":
        raise BadInput(run.record["error"])
    print(f"validation mean IoU {run.score:.3f}: {run.folder}")
    return 0


def _own_sets(folder: Path | None):
    """Training and validation part of a set on disk; None lets the data set's name decide."""
    from seghw.dataset import SegmentationSet
    from seghw.sources import split_real

    if folder is None:
        return None
    data = SegmentationSet.load(folder)
    return split_real(data, "train"), split_real(data, "validation")


def sweep_all(args: argparse.Namespace) -> int:
    from seghw.executors import dask_cluster
    from seghw.recipes import RECIPES
    from seghw.sources import default_dataset, describe_data
    from seghw.sweep import grid, outcome_table, run_sweep

    datasets = args.dataset or [default_dataset(family) for family in ("shapes", "coco")]
    configs = [
        config
        for seed in range(args.seeds)  # outermost, so that what is there is comparable early
        for dataset in datasets
        for recipe in args.recipe or RECIPES
        for config in grid(
            dataset, recipe, profile=args.profile, seeds=[seed], variant=args.coefficients
        )
    ]
    print(*map(describe_data, datasets), sep="\n")
    executor = dask_cluster(args.scheduler) if args.scheduler else None
    outcomes = run_sweep(configs, executor=executor, jobs=args.jobs, runs=args.runs.resolve())
    print(outcome_table(outcomes))
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def evaluate_run(args: argparse.Namespace) -> None:
    from seghw.dataset import SegmentationSet
    from seghw.evaluate import evaluate
    from seghw.figures import evaluation_panels
    from seghw.runs import load_run
    from seghw.sources import describe_data, open_split, split_real

    run = load_run(args.run_folder)
    if args.data:
        data = split_real(SegmentationSet.load(args.data), args.split)
    else:
        data = open_split(run.config, args.split)
        print(describe_data(run.config.dataset))
    found = evaluate(run, data)
    out = args.out or run.folder / f"evaluation-{args.split}"
    found.write_table(out / "images.csv")
    evaluation_panels(found, out, args.panels)
    print(f"mean IoU {found.iou:.3f} on {len(data)} images of {data.name}: {out}")


def bench(args: argparse.Namespace) -> None:
    from importlib import import_module

    options = {"tried": True} if args.tried else {}
    if args.tried and args.what != "train":
        raise BadInput(f"--tried goes with `bench train`, not with {args.what!r}")
    print(getattr(import_module(f"seghw.bench_{args.what}"), f"bench_{args.what}")(**options))


def draw_figures(args: argparse.Namespace) -> None:
    from seghw.figures import make_figures
    from seghw.records import Records

    records = Records(args.runs, args.profile, args.sam)
    print(*(records.describe_data(family) for family in ("shapes", "coco")), sep="\n")
    made = make_figures(args.only, out=args.out, runs=args.runs, profile=args.profile, sam=args.sam)
    print(f"{len(made)} figures: {args.out}")


# -- arguments ------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m seghw", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_data(commands.add_parser("data", help="draw, read or write data sets"))
    _add_train(commands.add_parser("train", help="train one run"))
    _add_sweep(commands.add_parser("sweep", help="train the report's grid, resumably"))
    _add_evaluate(commands.add_parser("evaluate", help="score a run and draw its panels"))
    _add_bench(commands.add_parser("bench", help="measure speed against DLStudio"))
    _add_figures(commands.add_parser("figures", help="draw the report's figures from the records"))
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="SET")

    shapes = kinds.add_parser("shapes", help="draw a PurdueShapes5 look-alike")
    shapes.add_argument("--count", type=int, default=1000)
    shapes.add_argument("--seed", type=int, default=0)
    shapes.add_argument("--size", type=int, default=64)
    shapes.add_argument("--out", type=Path, required=True)
    shapes.set_defaults(run=data_shapes)

    scenes = kinds.add_parser("scenes", help="draw pizzas, cats and buses in COCO's format")
    scenes.add_argument("--count", type=int, default=1000)
    scenes.add_argument("--seed", type=int, default=0)
    scenes.add_argument("--out", type=Path, required=True)
    scenes.set_defaults(run=data_scenes)

    coco = kinds.add_parser("coco", help="build the pizza/cat/bus set from COCO annotations")
    coco.add_argument("--annotations", type=Path, help="an instances_*.json")
    coco.add_argument("--images", type=Path, help="folder with the images, or with train2017/ ...")
    coco.add_argument("--download", type=Path, metavar="DIR", help="fetch the wanted images first")
    coco.add_argument("--split", choices=("train2017", "val2017"), default="train2017")
    coco.add_argument("--classes", nargs="+", default=["pizza", "cat", "bus"])
    coco.add_argument("--size", type=int, default=256)
    coco.add_argument("--min-box", type=int, default=200, help="least side of the box in pixels")
    coco.add_argument("--instances", choices=("single", "any"), default="single")
    coco.add_argument("--out", type=Path, default=DATA / "coco3")
    coco.set_defaults(run=data_coco)

    export = kinds.add_parser("export-dlstudio", help="write drawn shapes as the course's archive")
    export.add_argument("--count", type=int, default=10_000)
    export.add_argument("--seed", type=int, default=0)
    export.add_argument("out", type=Path, metavar="OUT.gz")
    export.set_defaults(run=data_export)


def _add_train(parser: argparse.ArgumentParser) -> None:
    from seghw.recipes import DATASETS, LOSSES, PROFILES, RECIPES
    from seghw.sources import default_dataset

    parser.add_argument("--dataset", choices=DATASETS, default=default_dataset("shapes"))
    parser.add_argument("--data", type=Path, help="a set made by `data ...`, split 70/15/15")
    parser.add_argument("--recipe", choices=RECIPES, default="corrected")
    parser.add_argument("--loss", choices=LOSSES, default="mse_dice")
    parser.add_argument("--coefficient", type=float, help="weight of the Dice term in mse_dice")
    parser.add_argument("--learning-rate", type=float, help="default: the recipe's middle one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", choices=PROFILES, default="laptop")
    parser.add_argument("--epochs", type=int, help="default: the profile's")
    parser.add_argument("--augment", action="store_true", help="flip and scale the images")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where the record goes")
    parser.set_defaults(run=train_one)


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    from seghw.recipes import DATASETS, PROFILES, RECIPES
    from seghw.sweep import COEFFICIENTS

    parser.add_argument("--dataset", choices=DATASETS, action="append")
    parser.add_argument("--recipe", choices=RECIPES, action="append")
    parser.add_argument("--profile", choices=PROFILES, default="laptop")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument(
        "--coefficients",
        choices=COEFFICIENTS,
        default="section3",
        help="which of the report's two lists",
    )
    parser.add_argument("--jobs", type=int, help="runs side by side, default one a core")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that trains them")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where the records go")
    parser.set_defaults(run=sweep_all)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    from seghw.sources import SPLITS

    parser.add_argument("run_folder", type=Path, metavar="RUN", help="a folder with a run.json")
    parser.add_argument("--data", type=Path, help="a set made by `data ...`")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--panels", type=int, default=3, help="how many images to draw")
    parser.add_argument("--out", type=Path, help="default: a folder inside the run's")
    parser.set_defaults(run=evaluate_run)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("data", "train", "evaluate", "losses"))
    parser.add_argument("--tried", action="store_true", help="train: what might be faster, too")
    parser.set_defaults(run=bench)


def _add_figures(parser: argparse.ArgumentParser) -> None:
    from seghw.recipes import PROFILES

    parser.add_argument("--only", help="numbers and ranges, such as 17-19,45")
    parser.add_argument("--out", type=Path, default=FIGURES)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--profile", choices=PROFILES, help="default: full if trained, else laptop")
    parser.add_argument("--sam", metavar="MODEL", help="a Hugging Face id or a folder")
    parser.set_defaults(run=draw_figures)


if __name__ == "__main__":
    sys.exit(main())
