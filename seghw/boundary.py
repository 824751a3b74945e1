"""The geometry behind the scores: outlines, what lies near them, and connected components.

Every function takes masks bool (N, C, H, W), treats each plane alone and counts everything
beyond the image as outside the mask. Distances are in pixels, between the centres of pixels.
"""

import numpy as np
from scipy import ndimage

# Neighbours in one plane; along the first two axes (image, class) nothing touches.
_FOUR = ndimage.generate_binary_structure(2, connectivity=1)[None, None]
_EIGHT = ndimage.generate_binary_structure(2, connectivity=2)[None, None]


def boundary(masks: np.ndarray) -> np.ndarray:
    """The mask's pixels that have one of their 4 neighbours outside it: bool (N, C, H, W)."""
    return masks & ~ndimage.binary_erosion(masks, _FOUR)


def inner_band(masks: np.ndarray, width: int) -> np.ndarray:
    """The mask's pixels at most ``width`` steps inside it, diagonal steps included.

    As the authors of boundary IoU compute it (Cheng et al., CVPR 2021, ``mask_to_boundary``).

    Args:
        masks: bool (N, C, H, W).
        width: of the band, in pixels, at least 1.

    Returns:
        bool (N, C, H, W); the whole mask where it is thinner than twice the width.
    """
    return masks & ~ndimage.binary_erosion(masks, _EIGHT, iterations=width)


def within(masks: np.ndarray, distance: float) -> np.ndarray:
    """The pixels at most ``distance`` (Euclidean, in pixels) from a pixel of the mask.

    Args:
        masks: bool (N, C, H, W).
        distance: at least 0; at 0 the result is the mask itself.

    Returns:
        bool (N, C, H, W); all False where the plane is empty.
    """
    near = np.zeros_like(masks)
    # SciPy measures one array at a time, and to an empty plane there is no distance.
    for plane in zip(*np.nonzero(masks.any(axis=(2, 3))), strict=True):
        near[plane] = ndimage.distance_transform_edt(~masks[plane]) <= distance
    return near


def components(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the connected components, 8-connected: a diagonal step joins.

    Args:
        masks: bool (N, C, H, W).

    Returns:
        ``labels`` int (N, C, H, W): 0 outside the masks, 1..K inside, no number used twice.
        ``planes`` int64 (K,): the plane of components 1..K, image index x C + class index.
    """
    structure = np.zeros((3, 3, 3, 3), dtype=bool)
    structure[1, 1] = True
    labels, number = ndimage.label(masks, structure)
    inside = np.flatnonzero(labels)
    planes = np.zeros(number, dtype=np.int64)
    planes[labels.ravel()[inside] - 1] = inside // (masks.shape[2] * masks.shape[3])
    return labels, planes
