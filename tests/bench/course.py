"""DLStudio as the yardstick: its own data set, loops and display, on drawn images."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from seghw.data.dataset import SegmentationSet
from seghw.data.purdue import write_archive
from seghw.errors import BadInput

ARCHIVE = "shapes.gz"  # any name but the course's own, which DLStudio caches beside it


@dataclass(frozen=True)
class Course:
    """DLStudio set up as in the course, on an archive in a temporary current folder."""

    archive: Path
    studio: Any  # DLStudio
    segmenter: Any  # its SemanticSegmentation
    dataset: Any  # its PurdueShapes5MultiObjectDataset

    def collate(self, indices: np.ndarray) -> dict[str, Tensor]:
        """A batch as DLStudio's loader makes it: float32 images, uint8 masks, float32 boxes."""
        return default_collate([self.dataset[i] for i in indices])


@contextmanager
def dlstudio_on(data: SegmentationSet, batch_size: int = 4) -> Iterator[Course]:
    """DLStudio on the CPU with ``data`` as its archive, in a temporary current folder, quiet.

    Raises:
        BadInput: DLStudio or something that it imports is not installed.
    """
    temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with temporary as folder, chdir(folder), redirect_stdout(StringIO()), warnings.catch_warnings():
        # Of what it imports for other lessons, of a file left open, of more workers than cores.
        warnings.simplefilter("ignore")
        try:
            from DLStudio import DLStudio
        except ImportError as error:
            raise BadInput(
                f"DLStudio, which the benches measure against, cannot be imported ({error}); "
                "install it with: pip install -e '.[bench]'"
            ) from error
        write_archive(data, ARCHIVE)
        studio = DLStudio(
            dataroot=f"{folder}/",
            image_size=list(data.images.shape[2:]),
            path_saved_model=str(Path(folder, "net.pt")),
            momentum=0.9,
            learning_rate=1e-4,
            epochs=1,
            batch_size=batch_size,
            classes=tuple(spec.name for spec in data.classes),
        )
        segmenter = DLStudio.SemanticSegmentation(studio, max_num_objects=len(data.classes))
        dataset = segmenter.PurdueShapes5MultiObjectDataset(studio, segmenter, "train", ARCHIVE)
        yield Course(Path(folder, ARCHIVE), studio, segmenter, dataset)
