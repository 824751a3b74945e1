"""The numbers of the text: each is computed from the records and says where it came from."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from seghw import metrics
from seghw.claims.facts import bottom_of_the_u, dice_floor, taps_inside
from seghw.claims.images import paintable
from seghw.claims.kept import kept
from seghw.claims.plan import planned
from seghw.claims.stats import NO_DIFFERENCE, UNDECIDED, Result, by_claim, sentence_verdict
from seghw.claims.table import effect_text
from seghw.config import DATASETS, DRAWN, FULL, LOSS_NAMES, RECIPES, family_of
from seghw.errors import BadInput
from seghw.network import MUNet
from seghw.results import Records
from seghw.train.runs import Run, best_by_coefficient, best_setting, by_setting


@dataclass(frozen=True)
class Source:
    """Where a number of the text came from."""

    text: str  # the number as printed
    meaning: str
    function: str  # that computed it, as a dotted name
    records: tuple[Path, ...]  # files that it was computed from; none for what the code itself is


#: A number: what it is, the function that it rests on, and how to compute and print it.
Fact = tuple[str, str, Callable[[Records], tuple[str, Iterable[Run]]]]


class Numbers:
    """Called from the text's template; collects the sources in the order of their first use."""

    def __init__(self, records: Records, results: Sequence[Result]) -> None:
        self.records = records
        self.claims = {rows[0].claim.key: rows for rows in by_claim(results)}
        self.sources: list[Source] = []

    def number(self, name: str) -> str:
        """The fact of that name, as a link in Markdown."""
        if name in ("comparisons", "open comparisons"):
            return self._comparisons(name == "open comparisons")
        meaning, function, compute = FACTS[name]
        try:
            text, runs = compute(self.records)
        except BadInput as error:  # records that are missing leave a gap, not a crash
            text, runs, meaning = "(no runs)", (), f"{meaning}: {error}"
        return self._link(text, meaning, function, runs)

    def iou(self, family: str, recipe: str, loss: str) -> str:
        """Mean IoU on the test set, mean over the seeds of the loss's best setting."""
        function = "seghw.results.Records.evaluations"
        meaning = f"test mean IoU, {DRAWN[family]}, recipe {recipe}, {loss}, mean over its seeds"

        def score() -> dict[str, float]:
            found = self.records.evaluations(family, recipe, loss)
            return {evaluation.run.run_id: evaluation.iou for evaluation in found}

        try:
            found = kept(self.records, f"iou-{family}-{recipe}-{loss}", score)
        except BadInput as error:
            return self._link("(no runs)", f"{meaning}: {error}", function, ())
        text = f"{np.mean([*found.values()]):.2f}" if found else "(no weights)"
        runs = [run for run in self.records.all_runs if run.run_id in found]
        return self._link(text, meaning, function, runs)

    def effect(self, key: str, family: str = "shapes", recipe: str = "report", row: int = 0) -> str:
        """One row of a claim for that family's data and recipe, with its interval."""
        rows = [
            found
            for found in self.claims[key]
            if found.effect.recipe == recipe
            and found.effect.dataset in DATASETS  # else it has no runs
            and family_of(found.effect.dataset) == family
        ]
        if len(rows) <= row:
            return self._link("(not measured)", key, "seghw.claims.check_claims", ())
        effect, measure = rows[row].effect, rows[row].claim.measure
        meaning = f"{effect.reading}, {effect.dataset}, recipe {recipe}, {effect.seeds} seeds"
        function = f"{measure.__module__}.{measure.__name__}"
        return self._link(effect_text(effect), meaning, function, ())

    def verdicts(self, word: str) -> str:
        """How many of the report's sentences have a verdict that begins with this."""
        found = sum(sentence_verdict(rows).startswith(word) for rows in self.claims.values())
        meaning, function = f"sentences with the verdict {word}", "seghw.claims.check_claims"
        return self._link(str(found), meaning, function, ())

    def _comparisons(self, is_open: bool) -> str:
        deciding = [
            row.verdict
            for rows in self.claims.values()
            for row in rows
            if row.decides and not row.effect.exact and row.effect.seeds
        ]
        found = [v for v in deciding if not is_open or v in (UNDECIDED, NO_DIFFERENCE)]
        meaning = "rows over seeds that decide" + ", undecided or no difference" * is_open
        return self._link(str(len(found)), meaning, "seghw.claims.check_claims", ())

    def _link(self, text: str, meaning: str, function: str, runs: Iterable[Run]) -> str:
        files = tuple(run.folder / "run.json" for run in runs)
        source = Source(text, meaning, function, files)
        if source not in self.sources:
            self.sources.append(source)
        return f"[{text}](#number-{self.sources.index(source) + 1})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _never_painted(records: Records):
    data = records.test_set("shapes")
    run = records.runs("shapes", "report", "mse_dice")[0]
    grid = paintable(run.config, data.images.shape[-1])
    return _percent(1 - len(grid.rows) * len(grid.columns) / data.images[0, 0].size), ()


def _ceiling(family: str):
    def compute(records: Records):
        data = records.test_set(family)
        run = records.runs(family, "report", "mse_dice")[0]
        grid = paintable(run.config, data.images.shape[-1])
        painted = np.zeros_like(data.masks)
        place = np.ix_(range(len(data)), range(data.masks.shape[1]), grid.rows, grid.columns)
        painted[place] = data.masks[place]
        return f"{metrics.mean_score(metrics.iou(metrics.count(painted, data.masks))).mean:.2f}", ()

    return compute


def _without_gradient(_: Records):
    model = MUNet(len(DATASETS["shapes5"]), width=FULL.width, depth=FULL.depth)
    model(torch.zeros(1, 3, 64, 64)).sum().backward()
    idle = sum(p.numel() for p in model.parameters() if p.grad is None)
    return _percent(idle / sum(p.numel() for p in model.parameters())), ()


def _parameters(_: Records):
    model = MUNet(len(DATASETS["shapes5"]), width=FULL.width, depth=FULL.depth)
    return f"{sum(p.numel() for p in model.parameters()):,}", ()


def _floor(records: Records):
    data = records.test_set("shapes")
    shares = data.masks.mean(axis=(2, 3))
    floors = [dice_floor(share, dotted=True) if share else 1.0 for share in shares.ravel()]
    return f"{np.mean(floors) * RECIPES['report'].batch_size * shares.shape[1]:.1f}", ()


def _most(_: Records):
    return str(RECIPES["report"].batch_size * len(DATASETS["shapes5"])), ()


def _absent(records: Records):
    return _percent(1 - records.test_set("shapes").masks.any(axis=(2, 3)).mean()), ()


def _value_weight(_: Records):
    values = [spec.value for spec in DATASETS["shapes5"]]
    return f"{(max(values) / min(values)) ** 2:g}", ()


def _taps(_: Records):
    side, branches = bottom_of_the_u(64)
    return f"{taps_inside(branches[-1], side):.1f}", ()


def _bottom(_: Records):
    return str(bottom_of_the_u(64)[0]), ()


def _runs(records: Records):
    return str(len(planned(records).all_runs)), ()


def _seeds(records: Records):
    settings = by_setting(planned(records).all_runs).values()
    return " to ".join(map(str, sorted({min(map(len, settings)), max(map(len, settings))}))), ()


def _test_images(records: Records):
    return str(len(records.test_set("shapes"))), ()


def _spread(records: Records):
    found = best_by_coefficient(records.runs("shapes", "report", "mse_dice")).values()
    scores = [[run.score for run in runs] for runs in found]
    spread = max(max(each) - min(each) for each in scores)
    return f"{spread:.3f}", [run for runs in found for run in runs]


def _apart(groups: Iterable[Sequence[Run]]):
    groups = list(groups)
    means = [np.mean([run.score for run in runs]) for runs in groups]
    return f"{max(means) - min(means):.3f}", [run for runs in groups for run in runs]


def _between_coefficients(records: Records):
    return _apart(best_by_coefficient(records.runs("shapes", "report", "mse_dice")).values())


def _between_losses(records: Records):
    return _apart(best_setting(records.runs("shapes", "report", loss)) for loss in LOSS_NAMES)


def _gain(family: str, profile: str | None = None):
    def compute(records: Records):
        sized = Records(records.folder, profile) if profile else records
        # The rate first: only the best rate has all seeds at that size.
        rates = best_by_coefficient(sized.runs(family, "report", "mse_dice")).values()
        both = best_setting([run for runs in rates for run in runs])
        mse = best_setting(sized.runs(family, "report", "mse"))
        means = [np.mean([run.score for run in runs]) for runs in (both, mse)]
        return f"{means[0] - means[1]:+.3f}", both + mse

    return compute


def _dice_stays(records: Records):
    runs = best_setting(records.runs("shapes", "report", "dice"))
    return f"{np.mean([run.history['dice'][-1] for run in runs]):.1f}", runs


FACTS: dict[str, Fact] = {
    "runs": ("run records used", "seghw.results.Records.all_runs", _runs),
    "seeds": ("seeds of the runs", "seghw.results.Records.all_runs", _seeds),
    "test images": ("test images of the shapes", "seghw.results.Records.test_set", _test_images),
    "never painted": (
        "share of the pixels that hold the output layer's bias whatever the image is",
        "seghw.claims.images.paintable",
        _never_painted,
    ),
    "ceiling": (
        "mean IoU of the true masks of the shapes, kept on the pixels that can be painted",
        "seghw.claims.images.paintable",
        _ceiling("shapes"),
    ),
    "ceiling scenes": (
        "mean IoU of the true masks of the scenes, kept on the pixels that can be painted",
        "seghw.claims.images.paintable",
        _ceiling("coco"),
    ),
    "parameters": ("parameters at the report's size", "seghw.network.MUNet", _parameters),
    "without gradient": (
        "share of the parameters that no gradient ever reaches",
        "seghw.network.MUNet",
        _without_gradient,
    ),
    "floor": (
        "least value of the report's Dice loss with the dotted head, mean of the drawn test set",
        "seghw.claims.facts.dice_floor",
        _floor,
    ),
    "most": ("largest value of the report's Dice loss", "seghw.losses.report_dice_loss", _most),
    "dice stays": (
        "Dice loss at the end of the best runs with Dice alone, mean over seeds",
        "seghw.train.runs.best_setting",
        _dice_stays,
    ),
    "between coefficients": (
        "largest difference of mean validation IoU between two coefficients, shapes, report",
        "seghw.train.runs.best_by_coefficient",
        _between_coefficients,
    ),
    "between losses": (
        "difference of mean validation IoU between the best and the worst loss, shapes, report",
        "seghw.train.runs.best_setting",
        _between_losses,
    ),
    "gain": (
        "validation IoU of the best MSE + Dice minus that of the best MSE, shapes, report",
        "seghw.train.runs.best_setting",
        _gain("shapes"),
    ),
    "gain full": (
        "the same difference at the report's own size",
        "seghw.train.runs.best_setting",
        _gain("shapes", "full"),
    ),
    "gain scenes": (
        "validation IoU of the best MSE + Dice minus that of the best MSE, scenes, report",
        "seghw.train.runs.best_setting",
        _gain("coco"),
    ),
    "gain scenes full": (
        "the same difference at the report's own size",
        "seghw.train.runs.best_setting",
        _gain("coco", "full"),
    ),
    "absent": (
        "share of the pairs of image and class where the class is absent",
        "seghw.data.shapes.generate",
        _absent,
    ),
    "value weight": (
        "weight of an error on the star over one on the rectangle: the mask values' ratio, squared",
        "seghw.config.class_specs",
        _value_weight,
    ),
    "bottom": ("side of the map under the ASPP", "seghw.claims.facts.bottom_of_the_u", _bottom),
    "taps": (
        "taps of nine inside the map at the largest rate, mean over its cells",
        "seghw.claims.facts.taps_inside",
        _taps,
    ),
    "spread": (
        "largest difference of validation IoU between two seeds of one setting, shapes",
        "seghw.train.runs.best_by_coefficient",
        _spread,
    ),
}
