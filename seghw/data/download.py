"""Fetch COCO's annotations and then only the images that are wanted: hundreds of MB, not 25 GB.

Pooch does the work: a file gets its name when it is whole, the archive's hash is checked, and a
second call fetches what is still missing. https://www.fatiando.org/pooch
"""

import logging
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from PIL import Image
from tqdm.auto import tqdm

from seghw.errors import BadInput

BASE_URL = "http://images.cocodataset.org"
ARCHIVE = "annotations_trainval2017.zip"
#: As other projects' download scripts have it.
ARCHIVE_HASH = "md5:f4bbac642086de4f52a3fdda2de5fa2c"
# A server or a line that is down fails every image; do not try thousands of them in vain.
_FAILURES_IN_A_ROW = 20


def fetch_annotations(
    out: str | Path, split: str, *, base_url: str = BASE_URL, known_hash: str | None = ARCHIVE_HASH
) -> Path:
    """``out/annotations/instances_<split>.json``, fetched with the archive (some 240 MB) if needed.

    Args:
        out: folder to fill; the archive stays in it and may be deleted.
        split: "train2017" or "val2017".
        base_url: where COCO is served.
        known_hash: of the archive, as pooch writes it; None checks nothing.

    Raises:
        BadInput: the archive cannot be had or is not COCO's.
    """
    import pooch

    out = Path(out)
    member = f"annotations/instances_{split}.json"
    if (out / member).is_file():
        return out / member
    try:
        pooch.get_logger().setLevel(logging.ERROR)
        pooch.retrieve(
            f"{base_url}/annotations/{ARCHIVE}",
            known_hash,
            ARCHIVE,
            out,
            processor=pooch.Unzip([member], extract_dir="."),
            downloader=pooch.HTTPDownloader(progressbar=True, timeout=30),
        )
    except Exception as error:  # whatever the network and the archive come up with
        raise BadInput(
            f"cannot fetch {ARCHIVE} from {base_url} ({error}); check the network and the address, "
            f"remove {out / ARCHIVE} if it is damaged, and run it again"
        ) from error
    return out / member


def fetch_images(
    out: str | Path,
    split: str,
    sizes: Mapping[str, tuple[int, int]],
    *,
    base_url: str = BASE_URL,
    workers: int = 8,
    retries: int = 4,
) -> dict[str, str]:
    """Fetch images to ``out/<split>/``; those that are there already are checked and kept.

    Args:
        out: folder to fill.
        split: "train2017" or "val2017".
        sizes: file name to (width, height), as annotated.
        base_url: where COCO is served.
        workers: images fetched at a time.
        retries: further tries of each after a timeout or a broken connection.

    Returns:
        File name to the reason, of those that could not be had; one warning counts them.

    Raises:
        BadInput: 20 images in a row failed. What is finished is kept.
    """
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    folder = Path(out, split)
    source = pooch.create(
        folder, f"{base_url}/{split}/", registry=dict.fromkeys(sizes), retry_if_failed=retries
    )
    downloader = pooch.HTTPDownloader(timeout=30)
    left_out: dict[str, str] = {}
    in_a_row = 0
    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(source.fetch, name, downloader=downloader): name for name in sizes}
        for future in tqdm(as_completed(futures), "COCO images", len(futures), unit="image"):
            name = futures[future]
            try:
                reason = _damage(Path(future.result()), sizes[name])
            except Exception as error:  # whatever the network comes up with
                reason = f"{type(error).__name__}: {error}"
            if reason:
                left_out[name] = reason
            in_a_row = in_a_row + 1 if reason else 0
            if in_a_row == _FAILURES_IN_A_ROW:
                raise BadInput(
                    f"{in_a_row} images in a row failed at {base_url} (the last: {reason}); "
                    "run it again later: what has come is kept"
                )
    finally:
        pool.shutdown(cancel_futures=True)
    if left_out:
        named = ", ".join(f"{name} ({reason})" for name, reason in list(left_out.items())[:5])
        warnings.warn(f"{len(left_out)} of {len(sizes)} images left out: {named}", stacklevel=2)
    return left_out


def _damage(path: Path, size: tuple[int, int]) -> str:
    """What is wrong with a fetched image, which is then removed; "" if nothing is."""
    reason = ""
    try:
        with Image.open(path, formats=("JPEG",)) as image:
            if image.size != size:
                reason = f"is {image.size}, annotated as {size}"
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = f"does not decode: {error}"
    if reason:
        path.unlink(missing_ok=True)
    return reason
