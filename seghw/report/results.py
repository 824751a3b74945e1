"""What figures and claims are made from: runs, test sets, masks, and images chosen by rule."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seghw.config import COEFFICIENTS, DRAWN, RECIPES, RUNS, SEEDS, TrainConfig
from seghw.data.dataset import SegmentationSet
from seghw.data.splits import default_dataset, open_split
from seghw.errors import BadInput, whole_number
from seghw.io import atomic_write
from seghw.runs import load_runs

if TYPE_CHECKING:
    from seghw.evaluate import Evaluation


def evaluate_run(run: Any, data: SegmentationSet) -> "Evaluation":
    """The masks of a run, a row of ``runs.load_runs``, on a set.

    ``BadInput`` if the run's weights are missing, or the set has other classes than the run.
    """
    from seghw.evaluate import Evaluation, predict  # here, for a curve is drawn without torch
    from seghw.train.records import load_network

    names, given = ([c.name for c in classes] for classes in (run.config.classes, data.classes))
    if names != given:
        raise BadInput(f"{run.run_id} knows the classes {names}, {data.name!r} has {given}")
    masks = predict(load_network(run.folder), data.images, run.config.settings, run.config.dataset)
    return Evaluation(run, data, masks)


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV, whole: measurements with six digits, scores with four decimals."""
    digits = "%.6g" if "estimate" in table else "%.4f"
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, float_format=digits, lineterminator="\n")


@dataclass(eq=False)
class Records:
    """Opened when first needed, and then remembered: a set of figures asks for each many times."""

    folder: str | Path = RUNS  # of the run records
    profile: str = "laptop"
    sam: str | None = None  # a segmenter's model id or folder; None takes the one that is here
    sam_images: int = 60  # of a test set that the segmenter is asked about

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        for name in ("test_set", "evaluation", "sam_comparison"):
            setattr(self, name, cache(getattr(self, name)))

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Every run of the profile, whatever its seed; see ``runs.load_runs``."""
        return load_runs(self.profile, self.folder)

    @cached_property
    def measurements(self) -> pd.DataFrame:
        """What ``claims.measure`` gives of every sentence."""
        from seghw.report import claims

        return claims.measure(self)

    @cached_property
    def segmenter(self) -> Any:
        """What ``sam.load_sam`` gives."""
        from seghw.sam import load_sam

        # Naming a model is asking for it; the default is on this machine already.
        return load_sam(self.sam, download=self.sam is not None)

    def dataset(self, family: str) -> str:
        """The data set of the family's runs: the real one if there are runs on it, or the drawn."""
        real = default_dataset(family)
        return real if (self.runs.dataset == real).any() else DRAWN[family]

    def grid(self, family: str, recipe: str, loss: str) -> pd.DataFrame:
        """The grid's runs of a loss: the report's coefficients, the first seeds, nothing changed.

        Family is ``"shapes"`` or ``"coco"``; ``BadInput`` if there are none.
        """
        table = self.runs
        of_grid = (table.part == "") & table.coefficient.isin((0, *COEFFICIENTS[family]))
        of_grid &= (table.dataset == self.dataset(family)) & (table.recipe == recipe)
        chosen = table[of_grid & (table.loss == loss) & table.seed.isin(SEEDS)]
        if chosen.empty:
            case = f"{self.folder / self.profile} holds no runs for {family}, {recipe}, {loss}"
            raise BadInput(f"{case}; `python -m seghw sweep` trains them")
        return chosen

    def ranked(self, family: str, recipe: str, loss: str) -> pd.DataFrame:
        """The grid's runs of a loss from the worst to the best.

        Runs that predict nothing share a score of 0; their validation MSE still tells how far each
        came.
        """
        runs = self.grid(family, recipe, loss)
        return runs.sort_values(["score", "validation_mse"], ascending=[True, False], kind="stable")

    def test_set(self, family: str) -> SegmentationSet:
        config = TrainConfig(self.dataset(family), "report", "mse", 1e-3, profile=self.profile)
        return open_split(config, "test")

    def evaluation(self, family: str, recipe: str, loss: str) -> "Evaluation":
        """The best run of a loss on the family's test set; ``BadInput`` without its weights."""
        return evaluate_run(self.ranked(family, recipe, loss).iloc[-1], self.test_set(family))

    def image(self, family: str, percentile: int) -> int:
        """The test image at that percentile of the best corrected MSE + Dice run's scores.

        One reference for both recipes and all losses, so that the same images lie side by side.
        """
        scores = self.evaluation(family, "corrected", "mse_dice").image_iou
        order = np.argsort(scores, kind="stable")  # NaN, where IoU does not apply, comes last
        known = np.count_nonzero(~np.isnan(scores))
        return int(order[round(percentile / 100 * (known - 1))])

    def sam_comparison(self, family: str) -> Any:
        """``sam_comparison.Comparison`` with the best MSE + Dice runs, on some of the test set."""
        from seghw.report.sam_comparison import Comparison

        data = self.test_set(family)
        count = min(whole_number("images", self.sam_images, least=1), len(data))
        picked = np.linspace(0, len(data) - 1, count).round().astype(np.int64)

        def ours() -> dict[str, np.ndarray]:
            return {r: self.evaluation(family, r, "mse_dice").masks[picked] for r in RECIPES}

        return Comparison(self.segmenter, data.subset(picked), picked, ours)
