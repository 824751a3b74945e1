"""What figures are drawn from: run records, test sets, scores, and images chosen by rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seghw import metrics
from seghw.config import COEFFICIENTS, DRAWN, RECIPES, RUNS, SEEDS, family_of
from seghw.data.dataset import SegmentationSet
from seghw.data.splits import default_dataset, describe_data, open_split
from seghw.errors import BadInput
from seghw.evaluate import Evaluation, predict
from seghw.train.runs import Run, best, best_setting, by_setting, load_runs, select

if TYPE_CHECKING:
    from seghw.sam.compare import SamComparison


@dataclass(frozen=True, eq=False)
class RunEvaluation(Evaluation):
    """A run's masks on a set, held against the truth."""

    run: Run


def evaluate_run(run: Run, data: SegmentationSet) -> RunEvaluation:
    """Hold a run's masks on ``data`` against the truth.

    Raises:
        BadInput: the run's weights are missing, or the set has other classes than the run.
    """
    names, found = (
        [spec.name for spec in classes] for classes in (run.config.classes, data.classes)
    )
    if names != found:
        raise BadInput(f"{run.run_id} knows the classes {names}, {data.name!r} has {found}")
    masks = predict(run.network(), data.images, run.recipe, run.config.dataset)
    return RunEvaluation(data, masks, metrics.count(masks, data.masks), run)


class Records:
    """Opened when first needed, and then kept: a full set of figures asks for each many times.

    Args:
        folder: of the run records.
        profile: of the runs.
        sam: model id or folder for the segmenter; None takes the one that needs no download.
    """

    def __init__(
        self, folder: str | Path = RUNS, profile: str = "laptop", sam: str | None = None
    ) -> None:
        self.folder = Path(folder)
        self.profile = profile
        self.sam = sam
        self.runs = cache(self._runs)
        self.evaluate = cache(self._evaluate)
        self.test_set = cache(self._test_set)
        self.evaluation = cache(self._evaluation)
        self.evaluations = cache(self._evaluations)
        self.sam_comparison = cache(self._sam_comparison)
        self.chosen_images = cache(self._chosen_images)

    @cached_property
    def recorded(self) -> list[Run]:
        """Every run of the profile, whatever its seed, ordered by id."""
        return load_runs(self.profile, self.folder)

    @cached_property
    def all_runs(self) -> list[Run]:
        """Those with one of ``config.SEEDS``."""
        return [run for run in self.recorded if run.config.seed in SEEDS]

    def with_runs(self, runs: Sequence[Run]) -> "Records":
        """The same test sets and scores, with these of the recorded runs as ``all_runs``."""
        other = Records(self.folder, self.profile, self.sam)
        other.all_runs = list(runs)
        other.evaluate, other.test_set = self.evaluate, self.test_set
        return other

    def _runs(
        self, family: str, recipe: str, loss: str, coefficients: tuple[float, ...] = ()
    ) -> list[Run]:
        """The grid's runs of a loss on a family's data, ``"shapes"`` or ``"coco"``.

        Runs with another network, another length or other ``coefficients`` than these, by default
        the report's, are left aside, and so are those that failed.
        """
        coefficients = coefficients or (None, *COEFFICIENTS["section3"][family])
        for dataset in dict.fromkeys((default_dataset(family), DRAWN[family])):
            found = select(
                self.all_runs,
                dataset=dataset,
                recipe=recipe,
                loss=loss,
                aspp_rates=(2, 4, 6),
                skip_connections=True,
                copy_across=True,
                head=None,
                augment=False,
                epochs=None,
            )
            found = [
                run
                for run in found
                if run.config.coefficient in coefficients and run.status != "failed"
            ]
            if found:
                return found
        raise BadInput(
            f"{self.folder / self.profile} holds no runs for {family}, {recipe}, {loss}; "
            "`python -m seghw sweep` trains them"
        )

    def describe_data(self, family: str) -> str:
        """One line on where the images behind a family's figures come from."""
        try:
            dataset = self.runs(family, "corrected", "mse_dice")[0].config.dataset
        except BadInput:  # no runs: what they would see
            dataset = default_dataset(family)
        return describe_data(dataset)

    def siblings(self, run: Run, family: str) -> list[Run]:
        """The same configuration with other seeds."""
        return [
            other
            for other in self.runs(family, run.config.recipe, run.config.loss)
            if other is not run and other.config.with_seed(run.config.seed) == run.config
        ]

    def ablated(self, family: str, recipe: str, change: Mapping[str, Any]) -> list[tuple[Run, Run]]:
        """Finished runs of the grid's MSE + Dice, each with its twin that has the network changed.

        Args:
            family: ``"shapes"`` or ``"coco"``.
            recipe: key of ``RECIPES``.
            change: fields of the configuration in which the twin differs, and their values.

        Returns:
            Pairs of one seed; of several settings with twins, the one with the most pairs.

        Raises:
            BadInput: there are no such runs of the grid.
        """
        finished = {run.config: run for run in self.all_runs if run.status == "finished"}
        twins = {
            run: twin
            for run in self.runs(family, recipe, "mse_dice")
            if run.status == "finished" and (twin := finished.get(replace(run.config, **change)))
        }
        settings = by_setting(twins).values()
        return [(run, twins[run]) for run in max(settings, key=len, default=[])]

    def _test_set(self, family: str) -> SegmentationSet:
        return open_split(self.runs(family, "corrected", "mse_dice")[0].config, "test")

    def _evaluate(self, run: Run) -> RunEvaluation:
        """A run held against its family's test set.

        Raises:
            BadInput: its weights are missing.
        """
        return evaluate_run(run, self.test_set(family_of(run.config.dataset)))

    def _evaluation(self, family: str, recipe: str, loss: str) -> RunEvaluation:
        """The best run of a loss, held against the family's test set.

        Raises:
            BadInput: its weights are missing.
        """
        return self.evaluate(best(self.runs(family, recipe, loss)))

    def _evaluations(self, family: str, recipe: str, loss: str) -> list[RunEvaluation]:
        """The seeds of a loss's best setting, held against the test set; those with weights."""
        runs = best_setting(self.runs(family, recipe, loss))
        return [self.evaluate(run) for run in runs if run.has_weights()]

    def _chosen_images(self, family: str, percentiles: tuple[int, ...]) -> list[int]:
        """Test images at percentiles of the per-image IoU of the best corrected MSE + Dice run.

        One reference for both recipes and all losses, so that the same images lie side by side.
        """
        scores = self.evaluation(family, "corrected", "mse_dice").image_iou
        order = np.argsort(scores, kind="stable")  # NaN, where IoU does not apply, comes last
        known = np.count_nonzero(~np.isnan(scores))
        return [int(order[round(p / 100 * (known - 1))]) for p in percentiles]

    def _sam_comparison(self, family: str) -> "SamComparison":
        """The segmenter and the best MSE + Dice runs on a sample of the family's test set."""
        from seghw.sam.compare import SamComparison, sample

        picked = sample(self.test_set(family))
        ours = {
            recipe: self.evaluation(family, recipe, "mse_dice").masks[picked] for recipe in RECIPES
        }
        return SamComparison(self.segmenter, self.test_set(family).subset(picked), ours, picked)

    @cached_property
    def segmenter(self):
        """What ``sam.load_sam`` gives."""
        from seghw.sam.predictor import load_sam

        # Naming a model is asking for it; the default is on this machine already.
        return load_sam(self.sam, download=self.sam is not None)
