"""What a run depends on: a data set's classes, a recipe, a profile, and a ``TrainConfig`` of them.

The recipe ``report`` is the report, faithfully; ``corrected`` is the same network, data and
losses with each diagnosed fault corrected.
"""

import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seghw.errors import BadInput, whole_number

if TYPE_CHECKING:
    from torch import Tensor

#: The checkout. ``SEGHW_HOME`` moves it, for a package that is installed away from its checkout.
ROOT = Path(os.environ.get("SEGHW_HOME", Path(__file__).resolve().parent.parent))
DATA = ROOT / "data"  # sets, drawn or brought
CACHE = DATA / "cache"  # what can be made again; never committed
RUNS = DATA / "runs"  # records: <profile>/<run id>/
FIGURES = ROOT / "figures"  # report/, corrected/, beyond/
#: Exit status of ``python -m seghw train`` for a run that another process is training.
ELSEWHERE = 75


@dataclass(frozen=True)
class ClassSpec:
    """One class of a data set."""

    name: str  # as the annotations spell it
    value: int  # its mask value in the report's coding: 50, 100, ...
    band: tuple[float, float]  # open interval of outputs that Listing 4 decodes as this class
    color: tuple[int, int, int]  # RGB, 0..255, told apart by color-blind readers


# Okabe and Ito's palette ("Color Universal Design", 2008), without its black and gray.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)
# The bands are DLStudio's; neighbors overlap (65..85, 115..135, ...) and the last is open.
_BANDS = ((25, 85), (65, 135), (115, 185), (165, 230), (210, math.inf))


def class_specs(names: Sequence[str]) -> tuple[ClassSpec, ...]:
    """Specs for ``names`` in order: values 50, 100, ..., DLStudio's bands, distinct colors."""
    return tuple(
        ClassSpec(
            name,
            value=50 * (i + 1),
            # Beyond DLStudio's five, a band keeps the width of its middle ones.
            band=_BANDS[i] if i < len(_BANDS) else (50 * i + 15, 50 * i + 85),
            color=PALETTE[i % len(PALETTE)],
        )
        for i, name in enumerate(names)
    )


SHAPES5 = class_specs(("rectangle", "triangle", "disk", "oval", "star"))
COCO3 = class_specs(("pizza", "cat", "bus"))

#: Data sets by the name that begins a run's id; the first of each family needs no download.
DATASETS = {
    "shapes5": SHAPES5,  # drawn look-alike of PurdueShapes5MultiObject
    "purdue5": SHAPES5,  # the course's official archive
    "scenes3": COCO3,  # drawn pizzas, cats and buses in COCO's format
    "coco3": COCO3,  # real COCO images
}
#: The data set of each family that needs no download.
DRAWN = {"shapes": "shapes5", "coco": "scenes3"}
#: Training images train, validation images choose, test images judge.
SPLITS = ("train", "validation", "test")
#: Seeds of the grid, which choose learning rates and settings; further seeds judge them.
SEEDS = (0, 1, 2)
#: What the report minimizes, and what it is called.
REPORT_LOSSES = {"mse": "MSE", "dice": "Dice", "mse_dice": "MSE + coefficient x Dice"}
#: All that may be minimized: also binary cross-entropy per class, which takes the outputs as
#: logits and so stands for ``corrected`` only.
LOSS_NAMES = {
    **REPORT_LOSSES,
    "bce": "cross-entropy",
    "bce_dice": "cross-entropy + coefficient x Dice",
}
#: DLStudio's mUNet, and a plain U-Net, as large as that of the laptop's profile.
NETWORKS = ("munet", "unet")
#: How mUNet enlarges its feature maps again; see ``network``.
HEADS = ("report", "dense", "resize", "subpixel")
#: Of the Dice term by family, as the report's section 3 and figures have them (section 2: 50, 80,
#: 100).
COEFFICIENTS = {"shapes": (20, 40, 60), "coco": (60, 80, 100)}
#: Those at which both terms' gradients at the output have the same norm, measured on the laptop's
#: runs.
BALANCED = {
    "report": {"shapes": 120.0, "coco": 730.0},
    "corrected": {"shapes": 0.1, "coco": 0.76},
}


def classes_of(dataset: str) -> tuple[ClassSpec, ...]:
    """The classes of a data set by its name, one of ``DATASETS`` or ``"own+cake+dog"``.

    Raises:
        BadInput: there is no such data set.
    """
    if dataset in DATASETS:
        return DATASETS[dataset]
    own, *names = str(dataset).split("+")
    if own != "own" or not all(map(can_name, names)) or not 0 < len(names) == len(set(names)):
        known = f"{tuple(DATASETS)}, nor own+ and the classes of a set of one's own"
        raise BadInput(f"dataset {dataset!r} is not one of {known}")
    return class_specs(names)


def can_name(name: str) -> bool:
    """Whether a class may be called so: a run's folder bears its classes' names."""
    return bool(name) and name.isprintable() and not {*name} & {*'/\\:*?"<>|+'}


def dataset_of(names: Sequence[str]) -> str:
    """What a set with these classes is called in a run: shapes5, coco3, own+..."""
    for dataset in ("shapes5", "coco3"):
        if [spec.name for spec in DATASETS[dataset]] == list(names):
            return dataset
    return "+".join(("own", *names))


def family_of(dataset: str) -> str:
    """``"shapes"`` or ``"coco"``: which of the report's two sets a data set is or stands for."""
    return "shapes" if classes_of(dataset) is SHAPES5 else "coco"


@dataclass(frozen=True)
class Recipe:
    """How images become inputs, masks targets, and outputs masks again."""

    name: str
    head: str  # how mUNet enlarges its feature maps, one of HEADS
    valued_masks: bool  # targets are mask x class value, not mask
    raw_shapes: bool  # shapes enter as 0..255; everything else enters as -1..1
    threshold: float | None  # outputs above it are the mask; None: the value bands of Listing 4
    optimizer: str  # "sgd" (momentum 0.9), "adamw" or "muon"
    batch_size: int
    learning_rates: tuple[float, ...]  # of the grid
    warm_up: float | None  # share of the iterations; see train.learning_rate; None: constant

    def inputs(self, images: np.ndarray, dataset: str) -> "Tensor":
        """uint8 (N, 3, H, W) to what the network is fed, float32 of the same shape."""
        import torch

        x = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
        return x if self.raw_shapes and family_of(dataset) == "shapes" else x / 127.5 - 1

    def targets(self, masks: np.ndarray, classes: tuple[ClassSpec, ...]) -> "Tensor":
        """bool (N, C, H, W) to what the network is to regress, float32 of the same shape."""
        import torch

        target = torch.from_numpy(np.ascontiguousarray(masks, dtype=np.float32))
        values = torch.tensor([float(c.value) for c in classes])[:, None, None]
        return target * values if self.valued_masks else target

    def decode(self, output: "Tensor", classes: tuple[ClassSpec, ...]) -> "Tensor":
        """The network's output, float (N, C, H, W), to bool masks of the same shape.

        Each channel is compared with its own class's band, an open interval.
        """
        if self.threshold is not None:
            return output > self.threshold
        low, high = output.new_tensor([c.band for c in classes]).T[..., None, None]
        return (output > low) & (output < high)


REPORT = Recipe(
    name="report",
    head="report",
    valued_masks=True,
    raw_shapes=True,
    threshold=None,
    optimizer="sgd",
    batch_size=4,
    learning_rates=(1e-3, 1e-4, 1e-5),
    warm_up=None,
)
CORRECTED = Recipe(
    name="corrected",
    head="dense",
    valued_masks=False,
    raw_shapes=False,
    threshold=0.5,
    optimizer="adamw",
    batch_size=8,
    learning_rates=(1.6e-2, 4e-3, 1e-3),
    warm_up=0.1,
)
RECIPES = {recipe.name: recipe for recipe in (REPORT, CORRECTED)}
#: ``corrected`` in the profile ``live``: another optimizer reaches the same score sooner.
CORRECTED_LIVE = replace(
    CORRECTED, optimizer="muon", batch_size=32, learning_rates=(2e-2,), warm_up=0.2
)


def settings_of(recipe: str, profile: str) -> Recipe:
    """The recipe as a profile trains it."""
    return CORRECTED_LIVE if (recipe, profile) == ("corrected", "live") else RECIPES[recipe]


@dataclass(frozen=True)
class Profile:
    """How much is computed: ``smoke`` tests, ``live`` is watched, ``full`` is the report's size."""

    name: str
    width: int  # of the network
    depth: int  # of the network
    scene_size: int  # side of the scenes and COCO images; the shapes are 64 always
    train_count: int  # images, likewise below; a smaller real set gives what it has
    validation_count: int
    test_count: int
    report_epochs: int  # the report trained for 6
    corrected_epochs: int  # its learning rate falls to zero over them
    log_every: int  # iterations averaged into one row of the history

    def epochs(self, recipe: str) -> int:
        """How long a run of ``recipe`` trains."""
        return self.report_epochs if recipe == "report" else self.corrected_epochs


# Network: width, depth. Side of the scenes. Images: to train, validate, test. Epochs: report,
# corrected. Iterations a row of the history.
SMOKE = Profile("smoke", 8, 4, 64, 64, 32, 32, 2, 2, 4)
LAPTOP = Profile("laptop", 16, 4, 64, 4000, 300, 500, 6, 10, 50)
LIVE = Profile("live", 16, 4, 64, 15_500, 500, 500, 1, 1, 10)
FULL = Profile("full", 64, 16, 256, 10_000, 500, 1000, 6, 6, 500)
PHOTOGRAPHS = Profile("photographs", 16, 4, 64, 1000, 200, 500, 40, 40, 50)
PHOTOGRAPHS128 = replace(PHOTOGRAPHS, name="photographs128", scene_size=128)
PROFILES = {
    profile.name: profile for profile in (SMOKE, LIVE, LAPTOP, FULL, PHOTOGRAPHS, PHOTOGRAPHS128)
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on."""

    dataset: str  # key of DATASETS, or "own+" and the classes of a set of one's own
    recipe: str  # key of RECIPES
    loss: str  # key of LOSS_NAMES
    learning_rate: float
    coefficient: float | None = None  # weight of the Dice term; None for a loss without one
    seed: int = 0  # of the initial weights and the order of the images
    profile: str = "laptop"  # key of PROFILES
    epochs: int | None = None  # None trains as long as the profile says
    aspp_rates: tuple[int, ...] | None = (2, 4, 6)
    skip_connections: bool = True
    copy_across: bool = True
    head: str | None = None  # one of HEADS; None is the recipe's
    augment: bool = False  # change the training images at random
    network: str = "munet"  # one of NETWORKS
    start: str | None = None  # "<profile>/<run id>" of the run whose weights it starts from

    def __post_init__(self) -> None:
        classes_of(self.dataset)
        choices = {"recipe": RECIPES, "loss": LOSS_NAMES, "profile": PROFILES, "network": NETWORKS}
        for field, known in {**choices, "head": (None, *HEADS)}.items():
            if getattr(self, field) not in known:
                raise BadInput(f"{field} {getattr(self, field)!r} is not one of {tuple(known)}")
        # As JSON gives them back, which knows lists only and no numbers of NumPy's.
        plain = {
            "learning_rate": float,
            "coefficient": float,
            "seed": partial(whole_number, "seed", least=0),
            "epochs": partial(whole_number, "epochs", least=1),
            "aspp_rates": lambda rates: tuple(map(index, rates)),
        }
        for field, make in plain.items():
            if (value := getattr(self, field)) is not None:
                object.__setattr__(self, field, make(value))
        rate, c, loss = self.learning_rate, self.coefficient, self.loss
        of_munet = self.aspp_rates, self.skip_connections, self.copy_across, self.head
        problems = [
            (not 0 < rate < math.inf, f"learning_rate must be positive, got {rate}"),
            (self.seed >= 2**63, f"seed must be below 2^63, got {self.seed}"),
            (
                (c is not None) != loss.endswith("_dice"),
                f"loss {loss!r} with coefficient {c}: give a coefficient with mse_dice and "
                "bce_dice, and only there",
            ),
            (
                self.logits and self.recipe != "corrected",
                f"loss {loss!r} needs masks of 0 and 1: use --recipe corrected",
            ),
            (not 0 <= (c or 0) < math.inf, f"coefficient must be finite, 0 or more, got {c}"),
            (
                self.aspp_rates is not None and min(self.aspp_rates, default=0) < 1,
                f"aspp_rates must be None or hold rates from 1 on, got {self.aspp_rates}",
            ),
            (not isinstance(self.start, str | None), f"start must be a text, got {self.start!r}"),
            (
                self.network == "unet" and of_munet != ((2, 4, 6), True, True, None),
                f"a U-Net has no parts of mUNet to change, got {of_munet}: leave them out",
            ),
        ]
        for is_so, message in problems:
            if is_so:
                raise BadInput(message)

    @property
    def run_id(self) -> str:
        """A readable name: two configurations of one profile differ in it."""
        rates = "_".join(map(str, self.aspp_rates or ["none"]))
        parts = {
            f"{self.dataset}-{self.recipe}-{self.loss}": True,
            f"lr{_exact(self.learning_rate, '.0e')}": True,
            f"lambda{_exact(self.coefficient or 0.0, 'g')}": self.coefficient is not None,
            f"aspp{rates}": self.aspp_rates != (2, 4, 6),
            f"epochs{self.epochs}": self.epochs is not None,
            "noskip": not self.skip_connections,
            "nocopies": not self.copy_across,
            f"{self.head}": self.head is not None,
            "augmented": self.augment,
            self.network: self.network != "munet",
            f"after{zlib.crc32((self.start or '').encode()):08x}": self.start is not None,
            f"seed{self.seed}": True,
        }
        return "-".join(part for part, is_said in parts.items() if is_said)

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        return classes_of(self.dataset)

    @property
    def planned_epochs(self) -> int:
        return self.epochs or PROFILES[self.profile].epochs(self.recipe)

    @property
    def logits(self) -> bool:
        """The outputs are logits: their sigmoid is the probability of the class."""
        return self.loss.startswith("bce")

    @property
    def settings(self) -> Recipe:
        """The recipe as the profile trains it; a probability of 0.5 is a logit of 0."""
        recipe = settings_of(self.recipe, self.profile)
        return replace(recipe, threshold=0.0) if self.logits else recipe

    def to_dict(self) -> dict:
        return asdict(self)


def _exact(value: float, short: str) -> str:
    """The number in the short format where that loses nothing, else all of its digits."""
    text = format(value, short)
    return text if float(text) == value else repr(float(value))
