"""What each command of ``python -m seghw`` does; its arguments stand in ``__main__``.

Every one is a thin call into the package, imported when it is used, so that ``--help`` is quick.
"""

import argparse
from pathlib import Path

from seghw.errors import BadInput


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
    from seghw.ablation import ablation
    from seghw.executors import dask_cluster
    from seghw.recipes import RECIPES
    from seghw.sources import default_dataset, describe_data
    from seghw.sweep import grid, outcome_table, run_sweep

    datasets = args.dataset or [default_dataset(family) for family in ("shapes", "coco")]
    configs = (
        ablation(range(args.seeds), args.profile)
        if args.ablation
        else [
            config
            for seed in range(args.seeds)  # outermost, so that what is there is comparable early
            for dataset in datasets
            for recipe in args.recipe or RECIPES
            for config in grid(
                dataset, recipe, profile=args.profile, seeds=[seed], variant=args.coefficients
            )
        ]
    )
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
    made = make_figures(args.only, out=args.out, records=records)
    print(f"{sum(path.suffix == '.png' for path in made)} figures: {args.out}")


def claims(args: argparse.Namespace) -> None:
    from importlib.util import find_spec

    from seghw.claim_sam import sam_effects
    from seghw.claims import check_claims
    from seghw.claims_table import claims_table
    from seghw.records import Records

    records = Records(args.runs, args.profile, args.sam)
    # Without transformers the sentences about SAM stay open, unless a SAM was asked for.
    can_segment = args.sam or find_spec("transformers")
    results = check_claims(records, sam_effects(records) if can_segment else ())
    print(claims_table(results, markdown=args.markdown))


def compare_with_sam(args: argparse.Namespace) -> None:
    from seghw import sam_protocol
    from seghw.records import DRAWN, Records

    records = Records(args.runs, args.profile, args.sam)
    name = records.segmenter.name  # opened first: without it there is nothing to compare
    print(sam_protocol.__doc__)
    rows = {}
    for family in DRAWN:
        found = records.sam_comparison(family)
        rows[found.data.name] = list(found.rows())
        print(f"{name} and our network on {len(found.data)} images of {found.data.name}\n")
        for protocol, table in sam_protocol.tables(rows[found.data.name]).items():
            print(f"{protocol}\n\n{table}\n")
    if args.out:
        sam_protocol.write_rows(rows, name, args.out)
        print(args.out)
