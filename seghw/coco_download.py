"""Fetch COCO's annotations and then only the images that are wanted: hundreds of MB, not 25 GB.

Whatever is finished stays: a second call, after Ctrl-C or a broken line, goes on where the first
one stopped. Nothing broken is kept: an image is decoded before it gets its name.
"""

import shutil
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from tqdm.auto import tqdm

from seghw.coco_annotations import CLASSES, Instances, describe_left_out, select
from seghw.errors import BadInput
from seghw.fetch import Fetcher, UnavailableError
from seghw.files import whole_file

BASE_URL = "http://images.cocodataset.org"
ARCHIVE = "annotations_trainval2017.zip"
SPLITS = ("train2017", "val2017")
# A server or a line that is down fails every image; do not try thousands of them in vain.
_FAILURES_IN_A_ROW = 20


class Downloaded(NamedTuple):
    """What ``download`` left on disk."""

    annotations: list[Path]  # one ``instances_<split>.json`` a split
    images: list[Path]  # the wanted images that are there now, whole
    left_out: dict[str, str]  # file name to the reason


def download(
    out: str | Path,
    classes: Sequence[str] = CLASSES,
    min_box: float = 200,
    instances: Instances = "single",
    splits: Sequence[str] = SPLITS,
    *,
    base_url: str = BASE_URL,
    workers: int = 8,
    timeout: float = 30,
    retries: int = 4,
    backoff: float = 1,
) -> Downloaded:
    """Download the annotations and the images that ``select`` chooses from them.

    Writes ``annotations/instances_<split>.json`` and ``<split>/<image>.jpg`` below ``out``, so
    that ``build(out / "annotations" / "instances_train2017.json", out)`` finds everything. The
    archive (some 240 MB) stays there too and may be deleted once all splits are unpacked.

    Args:
        out: folder to fill; images that it holds already are checked and not fetched again.
        classes, min_box, instances: the rule of ``select``.
        splits: "train2017", "val2017" or both.
        base_url: where COCO is served.
        workers: images fetched at a time.
        timeout: seconds without a byte before a try is given up; a whole image may take ten
            times that.
        retries: further tries after a timeout, a broken connection, a status of 408, 429 or
            5xx, or an image that does not decode.
        backoff: seconds before the first retry; doubled before each further one.

    Returns:
        What is there now. Images that could not be had are in ``left_out`` and in one warning.

    Raises:
        BadInput: the archive cannot be had or is not COCO's, no image is selected, or 20 images
            in a row fail. What is finished is kept.
    """
    import httpx

    out = Path(out)
    for split in splits:
        if split not in SPLITS:
            raise BadInput(f"split {split!r} is not one of {', '.join(SPLITS)}")
    if not base_url.startswith(("http://", "https://")):
        raise BadInput(f"base_url must start with http:// or https://, got {base_url!r}")
    # Compressed on the way, the bytes of a resumed file would not line up.
    headers = {"Accept-Encoding": "identity"}
    with httpx.Client(timeout=timeout, headers=headers, follow_redirects=True) as client:
        fetcher = Fetcher(client, base_url.rstrip("/"), retries, backoff, 10 * timeout)
        annotations = [_fetch_annotations(fetcher, out, split) for split in splits]
        wanted = {
            out / split / PureWindowsPath(image.file_name).name: image.size
            for split, path in zip(splits, annotations, strict=True)
            for image in select(path, classes, min_box, instances)
        }
        left_out = _fetch_images(fetcher, wanted, workers)
    if left_out:
        warnings.warn(describe_left_out(left_out, len(wanted)), stacklevel=2)
    return Downloaded(annotations, [path for path in wanted if path.name not in left_out], left_out)


def _fetch_annotations(fetcher: Fetcher, out: Path, split: str) -> Path:
    """``instances_<split>.json``, the one member of the archive that is unpacked."""
    path = out / "annotations" / f"instances_{split}.json"
    if path.is_file():
        return path
    archive = out / ARCHIVE
    try:
        if not archive.is_file():
            fetcher.archive(archive)
        with (
            zipfile.ZipFile(archive) as zipped,
            zipped.open(f"annotations/{path.name}") as source,
            whole_file(path) as temporary,
            temporary.open("wb") as target,
        ):
            shutil.copyfileobj(source, target)
    except UnavailableError as error:
        raise BadInput(
            f"cannot fetch {ARCHIVE} from {fetcher.base_url} ({error}); check the network and "
            "the address and run it again: what has come is kept"
        ) from error
    except KeyError as error:
        raise BadInput(f"{archive} holds no annotations/{path.name}; remove it") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        archive.unlink()
        raise BadInput(f"{archive} was damaged ({error}) and is removed; run it again") from error
    return path


def _fetch_images(
    fetcher: Fetcher, wanted: Mapping[Path, tuple[int, int]], workers: int
) -> dict[str, str]:
    """Fetch what is not there yet; returns the file names of the others with the reason."""
    left_out: dict[str, str] = {}
    in_a_row = 0
    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(fetcher.image, path, size): path for path, size in wanted.items()}
        for future in tqdm(as_completed(futures), "COCO images", len(futures), unit="image"):
            try:
                future.result()
                in_a_row = 0
            except UnavailableError as error:
                left_out[futures[future].name] = str(error)
                in_a_row = 0 if error.final else in_a_row + 1
            if in_a_row == _FAILURES_IN_A_ROW:
                raise BadInput(
                    f"{in_a_row} images in a row failed at {fetcher.base_url} (the last: "
                    f"{left_out[futures[future].name]}); run it again later: what has come is kept"
                )
    finally:
        fetcher.stop.set()
        pool.shutdown(cancel_futures=True)
    return left_out
