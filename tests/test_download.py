"""Against a server of files on this machine."""

import io
import json
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from seghw.data import download
from seghw.data.download import ARCHIVE, fetch_annotations, fetch_images
from seghw.errors import BadInput

# Requests leaves sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SIZE, SPLIT = (64, 48), "val2017"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that is served in COCO's place; hashes are not checked, nothing is tried again."""
    monkeypatch.setattr(download, "ARCHIVE_HASH", None)
    monkeypatch.setattr(download, "RETRIES", 0)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    folder = tmp_path / "server"
    for name in (SPLIT, "annotations"):
        (folder / name).mkdir(parents=True)
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        monkeypatch.setattr(download, "BASE_URL", f"http://127.0.0.1:{httpd.server_port}")
        yield folder
        httpd.shutdown()
        thread.join()


def jpeg(path, seed, size=SIZE):
    noise = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8)
    Image.fromarray(noise).save(path)


def archive():
    """The bytes of COCO's annotation archive, with members that nobody asked for."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("../escaped.txt", "out of the folder")
        zipped.writestr("annotations/instances_val2017.json", json.dumps({"images": []}))
    return file.getvalue()


def test_annotations_come_out_of_the_archive(server, tmp_path):
    (server / "annotations" / ARCHIVE).write_bytes(archive())
    for _ in range(2):
        path = fetch_annotations(tmp_path / "out", SPLIT)
        assert json.loads(path.read_text()) == {"images": []}
        (server / "annotations" / ARCHIVE).unlink(missing_ok=True)  # the second time it is there
    assert not (tmp_path / "escaped.txt").exists()


@pytest.mark.parametrize("body", [b"", b"<html>please log in</html>", archive()[:200], archive()])
def test_an_archive_that_is_none_is_one_line(server, tmp_path, monkeypatch, body):
    """By its hash, which is another one's, or while nothing is checked."""
    if body:
        (server / "annotations" / ARCHIVE).write_bytes(body)
    if len(body) > 200:
        monkeypatch.setattr(download, "ARCHIVE_HASH", f"md5:{'0' * 32}")
    with pytest.raises(
        BadInput, match=r"cannot fetch annotations_trainval2017\.zip from http://127"
    ):
        fetch_annotations(tmp_path / "out", SPLIT)


def test_only_what_is_missing_is_fetched(server, tmp_path):
    sizes = {f"{i}.jpg": SIZE for i in range(12)}
    for i, name in enumerate(sizes):
        jpeg(server / SPLIT / name, i)
    contents = {name: (server / SPLIT / name).read_bytes() for name in sizes}
    for part in (dict(list(sizes.items())[:5]), sizes):
        fetch_images(tmp_path / "out", SPLIT, part)
        for name in part:
            (server / SPLIT / name).unlink(missing_ok=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out" / SPLIT).iterdir()} == contents


def test_what_cannot_be_had_is_left_out_and_named(server, tmp_path):
    (server / SPLIT / "1.jpg").write_bytes(b"<html>please log in</html>")
    jpeg(server / SPLIT / "2.jpg", 2, (10, 10))
    jpeg(server / SPLIT / "3.jpg", 3)
    sizes = {f"{i}.jpg": SIZE for i in range(4)}
    with pytest.warns(UserWarning, match="3 of 4 images left out") as told:
        fetch_images(tmp_path / "out", SPLIT, sizes)
    line = str(told[0].message)
    for words in ("0.jpg (", "1.jpg (UnidentifiedImageError", "annotated as (64, 48)"):
        assert words in line
    assert [p.name for p in (tmp_path / "out" / SPLIT).iterdir()] == ["3.jpg"]


def test_a_server_that_is_down_is_not_asked_for_everything(server, tmp_path):
    sizes = dict.fromkeys((f"{i}.jpg" for i in range(2000)), SIZE)
    with pytest.raises(BadInput, match="20 images in a row failed"):
        fetch_images(tmp_path / "out", SPLIT, sizes)
