"""The command line: argparse only, every verb a thin call into the package.

Bad input ends with one line and exit status 2, as argparse's own errors do.
"""

import argparse
import sys
from pathlib import Path

from seghw import commands
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


# -- arguments ------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m seghw", description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_data(verbs.add_parser("data", help="draw, read or write data sets"))
    _add_train(verbs.add_parser("train", help="train one run"))
    _add_sweep(verbs.add_parser("sweep", help="train the report's grid, resumably"))
    _add_evaluate(verbs.add_parser("evaluate", help="score a run and draw its panels"))
    _add_claims(verbs.add_parser("claims", help="each sentence of the report, measured"))
    _add_sam(verbs.add_parser("sam", help="a promptable segmenter and our network, compared"))
    _add_bench(verbs.add_parser("bench", help="measure speed and memory"))
    _add_figures(verbs.add_parser("figures", help="draw the report's figures from the records"))
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="SET")

    shapes = kinds.add_parser("shapes", help="draw a PurdueShapes5 look-alike")
    shapes.add_argument("--count", type=int, default=1000)
    shapes.add_argument("--seed", type=int, default=0)
    shapes.add_argument("--size", type=int, default=64)
    shapes.add_argument("--out", type=Path, required=True)
    shapes.set_defaults(run=commands.data_shapes)

    scenes = kinds.add_parser("scenes", help="draw pizzas, cats and buses in COCO's format")
    scenes.add_argument("--count", type=int, default=1000)
    scenes.add_argument("--seed", type=int, default=0)
    scenes.add_argument("--out", type=Path, required=True)
    scenes.set_defaults(run=commands.data_scenes)

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
    coco.set_defaults(run=commands.data_coco)

    export = kinds.add_parser("export-dlstudio", help="write drawn shapes as the course's archive")
    export.add_argument("--count", type=int, default=10_000)
    export.add_argument("--seed", type=int, default=0)
    export.add_argument("out", type=Path, metavar="OUT.gz")
    export.set_defaults(run=commands.data_export)


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
    parser.set_defaults(run=commands.train_one)


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
    parser.add_argument(
        "--ablation",
        action="store_true",
        help="instead of the grid, the best laptop runs on the shapes without the network's parts",
    )
    parser.add_argument("--jobs", type=int, help="runs side by side, default one a core")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that trains them")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where the records go")
    parser.set_defaults(run=commands.sweep_all)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    from seghw.sources import SPLITS

    parser.add_argument("run_folder", type=Path, metavar="RUN", help="a folder with a run.json")
    parser.add_argument("--data", type=Path, help="a set made by `data ...`")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--panels", type=int, default=3, help="how many images to draw")
    parser.add_argument("--out", type=Path, help="default: a folder inside the run's")
    parser.set_defaults(run=commands.evaluate_run)


def _add_claims(parser: argparse.ArgumentParser) -> None:
    _add_records(parser)
    parser.add_argument("--markdown", action="store_true")
    parser.set_defaults(run=commands.claims)


def _add_sam(parser: argparse.ArgumentParser) -> None:
    _add_records(parser)
    parser.add_argument("--out", type=Path, metavar="CSV", help="also write every number there")
    parser.set_defaults(run=commands.compare_with_sam)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("data", "train", "evaluate", "losses", "sam"))
    parser.add_argument("--tried", action="store_true", help="train: what might be faster, too")
    parser.set_defaults(run=commands.bench)


def _add_figures(parser: argparse.ArgumentParser) -> None:
    _add_records(parser)
    parser.add_argument("--only", help="numbers and ranges, such as 17-19,45")
    parser.add_argument("--out", type=Path, default=FIGURES)
    parser.set_defaults(run=commands.draw_figures)


def _add_records(parser: argparse.ArgumentParser) -> None:
    from seghw.recipes import PROFILES

    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--profile", choices=PROFILES, help="default: full if trained, else laptop")
    parser.add_argument(
        "--sam", metavar="MODEL", help="a folder, or a Hugging Face id, fetched if it is not here"
    )


if __name__ == "__main__":
    sys.exit(main())
