"""The ablation: one change at a time, paired by seed, and no verdict where the interval holds 0."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from seghw.claims.ablation import BASES, FIXES, PARTS, Change, ablation, changes, measure
from seghw.claims.plan import plan
from seghw.network import MUNet
from seghw.report.claims_figures import draw_ablation as draw
from seghw.results import Records


def test_each_run_differs_from_its_base_in_one_thing_and_its_seed():
    configs = ablation()
    assert len({config.run_id for config in configs}) == 3 * (2 * len(PARTS) + len(FIXES))
    for config in configs:
        base = asdict(BASES[config.recipe])
        differing = {name for name, value in asdict(config).items() if base[name] != value}
        assert len(differing - {"seed"}) == 1


@torch.no_grad()
def test_every_change_gives_another_network():
    def output(**change):
        torch.manual_seed(0)
        net = MUNet(5, **{"width": 4, "depth": 4, "head": "dense"} | change).eval()
        torch.manual_seed(0)
        return net(torch.randn(1, 3, 64, 64))

    for change in (*PARTS.values(), *FIXES.values()):
        assert not torch.equal(output(**change), output()), change


class Scored:
    def __init__(self, score: float) -> None:
        self.score = score


def change(*pairs: tuple[float, float]) -> Change:
    return Change("report", "no ASPP", tuple((Scored(a), Scored(b)) for a, b in pairs))


def test_differences_interval_and_verdict_by_hand():
    found = change((0.50, 0.51), (0.50, 0.52), (0.50, 0.53))
    assert found.differences == pytest.approx([0.01, 0.02, 0.03])
    # mean 0.02, standard error 0.01 / sqrt(3), t of two degrees of freedom 4.303
    ends = (found.effect.low, found.effect.high)
    assert ends == pytest.approx((0.02 - 0.02484, 0.02 + 0.02484), abs=1e-4)
    assert found.verdict == "undecided"
    assert change((0.5, 0.520), (0.5, 0.521), (0.5, 0.522)).verdict == "better"
    assert change((0.5, 0.480), (0.5, 0.479), (0.5, 0.478)).verdict == "worse"
    assert change((0.5, 0.6)).verdict == "undecided", "one seed establishes nothing"
    assert np.isnan(change((0.5, 0.6)).effect.low)
    assert change((0.5, 0.6), (0.5, 0.6)).verdict == "undecided", "nor do two"


def test_without_ablations_nothing_is_measured_and_the_figure_says_so(smoke_runs):
    measured = measure(Records(smoke_runs, "smoke"))
    assert len(measured) == 2 * len(PARTS) + len(FIXES)
    assert all(not found.pairs for found in measured)
    texts = [text.get_text() for ax in draw(measured).axes for text in ax.texts]
    assert texts == ["no runs: python -m seghw sweep --ablation"] * 2


def test_the_committed_ablations_are_paired_with_the_grid():
    for found in measure(Records(profile="laptop")):
        assert found.pairs, found.name
        for base, changed in found.pairs:
            twin = replace(base.config, **changes(found.recipe)[found.name])
            assert changed.config == twin
            assert base.config == replace(BASES[found.recipe], seed=base.config.seed)


def test_the_plan_holds_every_seed_once_and_the_grid_within_it():
    runs = plan()
    assert len({run.run_id for run in runs}) == len(runs)
    assert {run.seed for run in runs if (run.dataset, run.recipe) == ("shapes5", "report")} == set(
        range(16)
    )
    assert set(ablation(range(8))) < set(runs)
    # settings x seeds: shapes and scenes under either recipe, ablation, equal budget
    assert len(runs) == 6 * 16 + 8 * 13 + 48 + 48 + 80 + 16
