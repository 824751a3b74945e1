"""The vocabulary of a data set: what its classes are called, coded and coloured as."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ClassSpec:
    """One class of a data set."""

    name: str  # as the annotations spell it
    value: int  # its mask value in the report's coding: 50, 100, ...
    band: tuple[float, float]  # open interval of outputs that Listing 4 decodes as this class
    colour: tuple[int, int, int]  # RGB, 0..255, told apart by colour-blind readers


# Okabe and Ito's palette ("Color Universal Design", 2008), without its black and grey.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)

# The bands are DLStudio's; neighbours overlap (65..85, 115..135, ...) and the last is open.
_BANDS = ((25, 85), (65, 135), (115, 185), (165, 230), (210, math.inf))


def class_specs(names: Sequence[str]) -> tuple[ClassSpec, ...]:
    """Specs for ``names`` in order: values 50, 100, ..., DLStudio's bands, distinct colours."""
    return tuple(
        ClassSpec(
            name,
            value=50 * (i + 1),
            # Beyond DLStudio's five, a band keeps the width of its middle ones.
            band=_BANDS[i] if i < len(_BANDS) else (50 * i + 15, 50 * i + 85),
            colour=PALETTE[i % len(PALETTE)],
        )
        for i, name in enumerate(names)
    )


SHAPES5 = class_specs(("rectangle", "triangle", "disk", "oval", "star"))
COCO3 = class_specs(("pizza", "cat", "bus"))
