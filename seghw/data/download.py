"""Fetch COCO's annotations and then only the images that are wanted: hundreds of MB, not 25 GB.

Pooch (https://www.fatiando.org/pooch) does the work: a file gets its name when it is whole, and a
second call fetches what is still missing.
"""

import logging
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pooch
from PIL import Image
from tqdm.auto import tqdm

from seghw.data.coco import list_left_out
from seghw.errors import BadInput

BASE_URL = "http://images.cocodataset.org"
ARCHIVE = "annotations_trainval2017.zip"
#: As other projects' download scripts have it.
ARCHIVE_HASH = "md5:f4bbac642086de4f52a3fdda2de5fa2c"
RETRIES = 4  # of an image, after a timeout or a broken connection
_FAILURES_IN_A_ROW = 20  # then the server or the line is down
pooch.get_logger().setLevel(logging.ERROR)  # bars and warnings say the rest


def fetch_annotations(out: str | Path, split: str) -> Path:
    """``out/annotations/instances_<split>.json``, fetched with the archive (some 240 MB) if needed.

    ``split`` is "train2017" or "val2017". ``BadInput`` if the archive cannot be had or is not
    COCO's; it stays in ``out``.
    """
    path = Path(out, "annotations", f"instances_{split}.json")
    if not path.is_file():
        unzip = pooch.Unzip([f"annotations/{path.name}"], extract_dir=".")
        downloader = pooch.HTTPDownloader(progressbar=True, timeout=30)
        url = f"{BASE_URL}/annotations/{ARCHIVE}"
        try:
            pooch.retrieve(url, ARCHIVE_HASH, ARCHIVE, out, processor=unzip, downloader=downloader)
        except Exception as error:  # whatever the network and the archive come up with
            raise BadInput(
                f"cannot fetch {ARCHIVE} from {BASE_URL} ({error}); check the network and the "
                f"address, remove {Path(out, ARCHIVE)} if it is damaged, and run it again"
            ) from error
    return path


def fetch_images(out: str | Path, split: str, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Fetch images to ``out/<split>/``; those that are there already are checked and stay.

    ``sizes`` says file name and (width, height), as annotated. One warning counts the images that
    could not be had; ``BadInput`` after 20 failures in a row.
    """
    url, names = f"{BASE_URL}/{split}/", dict.fromkeys(sizes)
    source = pooch.create(Path(out, split), url, registry=names, retry_if_failed=RETRIES)
    left_out: dict[str, str] = {}
    in_a_row, pool = 0, ThreadPoolExecutor(8)
    try:
        futures = {pool.submit(_fetch_image, source, name, sizes[name]): name for name in sizes}
        for future in tqdm(as_completed(futures), "COCO images", len(futures), unit="image"):
            error = future.exception()  # whatever the network and the decoder come up with
            in_a_row = in_a_row + 1 if error else 0
            if error:
                left_out[futures[future]] = f"{type(error).__name__}: {error}"
            if in_a_row == _FAILURES_IN_A_ROW:
                raise BadInput(
                    f"{in_a_row} images in a row failed at {BASE_URL} (the last: {error}); "
                    "run it again later: what has come stays"
                )
    finally:
        pool.shutdown(cancel_futures=True)
    if left_out:
        warnings.warn(list_left_out(left_out, len(sizes)), stacklevel=2)


def _fetch_image(source: pooch.Pooch, name: str, size: tuple[int, int]) -> None:
    """Fetch an image; remove it, and say why, if it is not a whole JPEG of that size."""
    path = Path(source.fetch(name, downloader=pooch.HTTPDownloader(timeout=30)))
    try:
        with Image.open(path, formats=("JPEG",)) as image:
            if image.size != size:
                raise ValueError(f"is {image.size}, annotated as {size}")
            image.load()
    except Exception:
        path.unlink(missing_ok=True)
        raise
