"""Claims and scores that take long, computed once for the same records, data and code."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import seghw
from seghw.claims.claims import CLAIMS, check_claims
from seghw.claims.sam import sam_effects
from seghw.claims.stats import Effect, Result
from seghw.config import CACHE, DRAWN
from seghw.data.splits import digest
from seghw.errors import BadInput
from seghw.io import atomic_write
from seghw.metrics import Interval
from seghw.results import Records
from seghw.sam.predictor import SAM_TINY
from seghw.train.runs import versions

_RECORD_FILES = ("run.json", "history.csv", "model.safetensors")


def all_results(records: Records) -> list[Result]:
    """What ``check_claims`` gives for every claim, those about SAM included.

    It takes a minute, so it is computed once (``kept``). With a segmenter that was asked for by
    name it is computed anew each time.

    Raises:
        BadInput: a record is damaged, or there is no segmenter.
    """
    if records.sam is not None:
        return check_claims(records, _sam(records))
    known = {claim.key: claim for claim in CLAIMS}

    def rows() -> list[tuple[str, dict]]:
        results = check_claims(records, _sam(records))
        return [(result.claim.key, asdict(result.effect)) for result in results]

    return [Result(known[key], _effect(fields)) for key, fields in kept(records, "claims", rows)]


def kept(records: Records, name: str, compute: Callable[[], Any]) -> Any:
    """What ``compute`` gives, as JSON holds it, from ``data/cache/claims`` if nothing changed.

    The file's name is a fingerprint of whatever the value depends on.
    """
    path = CACHE / "claims" / f"{name}-{_fingerprint(records)}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or damaged
        text = json.dumps(compute())
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return json.loads(text)


def _sam(records: Records) -> list[tuple[str, Effect]]:
    try:
        return sam_effects(records)
    except BadInput:  # no weights of our network to compare with
        return []


def _effect(fields: dict) -> Effect:
    joint = fields.pop("joint")
    return Effect(**fields, joint=joint and Interval(*joint))


@cache
def _fingerprint(records: Records) -> str:
    """Of the records, the test sets, SAM-tiny, this package's code and the libraries."""
    sha = hashlib.sha256(json.dumps([records.profile, versions()], sort_keys=True).encode())
    profiles = (records.profile, "full")  # whose runs the claims mention
    files = {p for q in profiles for n in _RECORD_FILES for p in records.folder.glob(f"{q}/*/{n}")}
    code = Path(seghw.__file__).parent.rglob("*.py")
    for path in [*sorted(files), *sorted(code), SAM_TINY / "model.safetensors"]:
        if path.is_file():
            sha.update(f"{path.parent.name}/{path.name}\n".encode())
            sha.update(hashlib.sha256(path.read_bytes()).digest())
    for family in DRAWN:
        try:
            sha.update(digest(records.test_set(family)).encode())
        except BadInput:  # no runs for this family, so no set
            continue
    return sha.hexdigest()[:24]
