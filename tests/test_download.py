"""Against a server on this machine that misbehaves as a real one can."""

import gc
import io
import json
import threading
import warnings
import zipfile
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from seghw.data.download import ARCHIVE, fetch_annotations, fetch_images
from seghw.errors import BadInput

# Requests leaves sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SIZE = (64, 48)
SPLIT = "val2017"


def jpeg(seed, size=SIZE):
    noise = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def archive():
    """The bytes of COCO's annotation archive, with members that nobody asked for."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("../escaped.txt", "out of the folder")
        zipped.writestr("annotations/captions_val2017.json", "{}")
        zipped.writestr("annotations/instances_val2017.json", json.dumps({"images": []}))
    return file.getvalue()


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``tricks[path]`` lists what to do at its first requests instead."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.tricks, self.asked = {}, defaultdict(list), Counter()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that has given up is what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked[self.path] += 1
        tricks = self.server.tricks[self.path]
        trick = tricks.pop(0) if tricks else None
        body = self.server.files.get(self.path)
        status = trick if isinstance(trick, int) else 404 if body is None else 200
        body = b"" if status != 200 else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if trick == "close early" else body)


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    gc.collect()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """No waiting between two tries."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def images(server, count):
    """Put so many images on the server; their sizes by file name."""
    for i in range(count):
        server.files[f"/{SPLIT}/{i}.jpg"] = jpeg(i)
    return {f"{i}.jpg": SIZE for i in range(count)}


def fetch(server, sizes, out, **options):
    return fetch_images(out, SPLIT, sizes, base_url=server.url, **options)


def test_annotations_come_out_of_the_archive(server, tmp_path):
    server.files[f"/annotations/{ARCHIVE}"] = archive()
    for _ in range(2):
        path = fetch_annotations(tmp_path, SPLIT, base_url=server.url, known_hash=None)
        assert json.loads(path.read_text()) == {"images": []}
    assert path == tmp_path / "annotations" / "instances_val2017.json"
    assert server.asked[f"/annotations/{ARCHIVE}"] == 1
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [ARCHIVE, path.name]
    assert not (tmp_path.parent / "escaped.txt").exists()


@pytest.mark.parametrize("body", [None, b"<html>please log in</html>", archive()[:200]])
def test_an_archive_that_is_none_is_one_line(server, tmp_path, body):
    server.files[f"/annotations/{ARCHIVE}"] = body
    with pytest.raises(BadInput, match=r"cannot fetch annotations_trainval2017\.zip") as refused:
        fetch_annotations(tmp_path, SPLIT, base_url=server.url, known_hash=None)
    assert server.url in str(refused.value)
    server.files[f"/annotations/{ARCHIVE}"] = archive()
    (tmp_path / ARCHIVE).unlink(missing_ok=True)
    with pytest.raises(BadInput, match="hash"):
        fetch_annotations(tmp_path, SPLIT, base_url=server.url)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_only_what_is_missing_is_fetched_and_a_broken_line_tried_again(server, tmp_path):
    sizes = images(server, 12)
    assert fetch(server, dict(list(sizes.items())[:5]), tmp_path) == {}
    tricks = {f"/{SPLIT}/{i}.jpg": trick for i, trick in ((9, "close early"), (10, 500), (11, 503))}
    server.tricks |= {path: [trick, trick] for path, trick in tricks.items()}
    assert fetch(server, sizes, tmp_path) == {}
    assert server.asked == {path: 3 if path in tricks else 1 for path in server.files}
    for name in sizes:
        assert (tmp_path / SPLIT / name).read_bytes() == server.files[f"/{SPLIT}/{name}"]


def test_what_cannot_be_had_is_left_out_and_named(server, tmp_path):
    sizes = images(server, 4)
    del server.files[f"/{SPLIT}/0.jpg"]
    server.files[f"/{SPLIT}/1.jpg"] = b"<html>please log in</html>"
    server.files[f"/{SPLIT}/2.jpg"] = jpeg(2, (10, 10))
    with pytest.warns(UserWarning, match="3 of 4 images left out"):
        fetch(server, sizes, tmp_path, retries=1)
    assert set(left_out) == {"0.jpg", "1.jpg", "2.jpg"}
    assert "UnidentifiedImageError" in left_out["1.jpg"]
    assert "annotated as (64, 48)" in left_out["2.jpg"]
    assert [p.name for p in (tmp_path / SPLIT).iterdir()] == ["3.jpg"]


def test_a_server_that_is_down_is_not_asked_for_everything(server, tmp_path):
    sizes = dict.fromkeys((f"{i}.jpg" for i in range(2000)), SIZE)
    with pytest.raises(BadInput, match="20 images in a row failed"), warnings.catch_warnings():
        fetch(server, sizes, tmp_path, retries=0)
    assert sum(server.asked.values()) < 2000
