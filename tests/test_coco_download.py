"""Against a server on this machine that misbehaves in every way a real one can."""

import io
import json
import threading
import zipfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from seghw.data import coco
from seghw.data import download as coco_download
from seghw.errors import BadInput

SIZE = (64, 48)
ARCHIVE = "/annotations/annotations_trainval2017.zip"


def jpeg(seed, size=SIZE):
    noise = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def instances(ids):
    """An annotation file with one big cat on every image."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": SIZE[0], "height": SIZE[1]} for i in ids
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [8, 8, 40, 32], "iscrowd": 0}
            | {"segmentation": [[8, 8, 48, 8, 48, 40, 8, 40]]}
            for i in ids
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }


def archive(train, val=()):
    """The bytes of COCO's annotation archive, with members that nobody asked for."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("../escaped.txt", "out of the folder")
        zipped.writestr("annotations/captions_train2017.json", "{}")
        zipped.writestr("annotations/instances_train2017.json", json.dumps(instances(train)))
        if val:
            zipped.writestr("annotations/instances_val2017.json", json.dumps(instances(val)))
    return file.getvalue()


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``tricks[path]`` lists what to do at its first requests instead."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.tricks = defaultdict(list)
        self.asked = Counter()
        self.ranges = []
        self.resumes = True
        self.over = threading.Event()
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that has given up is what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length != "unknown":
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        server, path = self.server, self.path
        server.asked[path] += 1
        if "Range" in self.headers:
            server.ranges.append(self.headers["Range"])
        trick = server.tricks[path].pop(0) if server.tricks[path] else None
        body = server.files.get(path)
        if trick == "stall":
            server.over.wait(5)
        elif trick == "hold":
            server.released.wait(60)
            self.reply(200, body)
        elif trick == "drip":
            self.reply(200, body[:10], len(body))
            for _ in range(100):  # a client without a deadline would take them all
                if server.over.wait(0.05):
                    return
                self.wfile.write(b"x")
            server.asked["dripped to the end"] += 1
        elif trick == "close early":
            self.reply(200, body[: len(body) // 2], len(body))
        elif trick == "truncate":
            self.reply(200, body[: len(body) // 2])
        elif trick == "end without a length":
            self.reply(200, body[: len(body) // 2], "unknown")
        elif trick == "page":
            self.reply(200, b"<html>please log in</html>")
        elif trick is not None:
            self.reply(trick)
        elif body is None:
            self.reply(404)
        elif server.resumes and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.reply(416, Content_Range=f"bytes */{len(body)}")
            else:
                last = len(body) - 1
                content_range = f"bytes {start}-{last}/{last + 1}"
                self.reply(206, body[start:], Content_Range=content_range)
        else:
            self.reply(200, body)


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def serve(server, train, val=()):
    server.files[ARCHIVE] = archive(train, val)
    for split, ids in (("train2017", train), ("val2017", val)):
        server.files |= {f"/{split}/{i}.jpg": jpeg(i) for i in ids}


def get(server, out, splits=("train2017",), **options):
    options = {"timeout": 0.5, "retries": 2, "backoff": 0.001, "workers": 4} | options
    return coco.download(out, ("cat",), 32, splits=splits, base_url=server.url + "/", **options)


def everything_below(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_it_fetches_just_the_wanted_images(server, tmp_path):
    serve(server, [1, 2], [3])
    server.files["/train2017/9.jpg"] = jpeg(9)
    out = tmp_path / "coco"
    done = get(server, out, ("train2017", "val2017"))
    assert everything_below(tmp_path) == [
        "coco/annotations/instances_train2017.json",
        "coco/annotations/instances_val2017.json",
        "coco/annotations_trainval2017.zip",
        "coco/train2017/1.jpg",
        "coco/train2017/2.jpg",
        "coco/val2017/3.jpg",
    ]
    assert done.images == [out / "train2017/1.jpg", out / "train2017/2.jpg", out / "val2017/3.jpg"]
    assert done.left_out == {}
    assert (out / "train2017/1.jpg").read_bytes() == jpeg(1)
    assert server.asked[ARCHIVE] == 1
    data = coco.build(done.annotations[0], out, ("cat",), size=8, min_box=32)
    assert len(data) == 2


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    serve(server, [1, 2])
    get(server, tmp_path)
    (tmp_path / "train2017" / "2.jpg").write_bytes(jpeg(2)[:500])  # by other hands
    server.asked.clear()
    get(server, tmp_path)
    assert server.asked == {"/train2017/2.jpg": 1}
    assert (tmp_path / "train2017" / "2.jpg").read_bytes() == jpeg(2)


@pytest.mark.parametrize("trick", [503, 429, "stall", "close early", "truncate", "page", "drip"])
def test_a_passing_trouble_is_got_over(server, tmp_path, trick):
    serve(server, [1, 2])
    server.tricks["/train2017/1.jpg"] = [trick]
    done = get(server, tmp_path, timeout=0.15 if trick == "drip" else 0.4, retries=4)
    assert (tmp_path / "train2017" / "1.jpg").read_bytes() == jpeg(1)
    assert done.left_out == {}
    assert server.asked["/train2017/1.jpg"] >= 2
    assert server.asked["dripped to the end"] == 0


@pytest.mark.parametrize(
    ("trick", "reason", "requests"),
    [
        (404, "HTTP 404", 1),
        (403, "HTTP 403", 1),
        (500, "HTTP 500", 3),
        ("stall", "ReadTimeout", 3),
        ("close early", "RemoteProtocolError", 3),
        ("truncate", "does not decode", 3),
        ("end without a length", "does not decode", 3),
        ("page", "does not decode", 3),
    ],
)
def test_a_lasting_trouble_leaves_nothing_broken(server, tmp_path, trick, reason, requests):
    serve(server, [1, 2, 3])
    server.tricks["/train2017/2.jpg"] = [trick] * 9
    with pytest.warns(UserWarning, match=rf"1 of 3 images left out: 2.jpg \({reason}"):
        done = get(server, tmp_path)
    assert list(done.left_out) == ["2.jpg"]
    assert [path.name for path in done.images] == ["1.jpg", "3.jpg"]
    assert everything_below(tmp_path / "train2017") == ["1.jpg", "3.jpg"]
    assert server.asked["/train2017/2.jpg"] == requests


def test_an_image_of_another_size_is_not_kept(server, tmp_path):
    serve(server, [1, 2])
    server.files["/train2017/1.jpg"] = jpeg(1, (32, 24))
    with pytest.warns(UserWarning, match=r"1.jpg \(is \(32, 24\), annotated as \(64, 48\)\)"):
        get(server, tmp_path)
    assert everything_below(tmp_path / "train2017") == ["2.jpg"]
    assert server.asked["/train2017/1.jpg"] == 1


def test_ctrl_c_keeps_what_is_finished(server, tmp_path, monkeypatch):
    serve(server, range(1, 9))
    server.tricks["/train2017/5.jpg"] = ["hold"]  # in flight when the key is pressed

    def interrupted(futures, real=coco_download.as_completed):
        for n, future in enumerate(real(futures), 1):
            if n == 4:
                raise KeyboardInterrupt
            yield future

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait=True, **options):
            super().shutdown(wait=False, **options)
            server.released.set()  # only now, so that no clock decides what was in flight
            super().shutdown(wait=wait)

    monkeypatch.setattr(coco_download, "as_completed", interrupted)
    monkeypatch.setattr(coco_download, "ThreadPoolExecutor", Pool)
    with pytest.raises(KeyboardInterrupt):
        get(server, tmp_path, workers=1, timeout=30)
    assert everything_below(tmp_path / "train2017") == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert not any(server.asked[f"/train2017/{i}.jpg"] for i in (6, 7, 8))
    monkeypatch.undo()
    server.asked.clear()
    assert len(get(server, tmp_path, timeout=30).images) == 8
    assert server.asked == {f"/train2017/{i}.jpg": 1 for i in (5, 6, 7, 8)}


def test_a_server_that_is_down_is_not_asked_for_every_image(server, tmp_path):
    serve(server, range(60))
    for i in range(60):
        server.tricks[f"/train2017/{i}.jpg"] = [500] * 9
    with pytest.raises(BadInput, match="20 images in a row failed"):
        get(server, tmp_path, retries=0, workers=1, timeout=5)
    assert sum(server.asked.values()) < 40


def test_many_images_that_are_gone_do_not_stop_it(server, tmp_path):
    serve(server, range(40))
    for i in range(39):
        del server.files[f"/train2017/{i}.jpg"]
    with pytest.warns(UserWarning, match=r"39 of 40 images .* and 34 more"):
        assert len(get(server, tmp_path).images) == 1


@pytest.mark.parametrize("resumes", [True, False])
def test_the_archive_is_resumed_where_it_broke_off(server, tmp_path, resumes):
    serve(server, range(50))
    server.resumes = resumes
    server.tricks[ARCHIVE] = ["close early"]
    done = get(server, tmp_path)
    assert len(done.images) == 50
    (asked,) = server.ranges
    assert 0 < int(asked[6:-1]) <= len(server.files[ARCHIVE]) // 2
    assert (tmp_path / "annotations_trainval2017.zip").read_bytes() == server.files[ARCHIVE]


def test_the_archive_is_resumed_by_the_next_call(server, tmp_path):
    serve(server, [1])
    whole = server.files[ARCHIVE]
    part = tmp_path / "annotations_trainval2017.zip.part"
    part.write_bytes(whole[:100])
    get(server, tmp_path)
    assert server.ranges == ["bytes=100-"]
    assert (tmp_path / "annotations_trainval2017.zip").read_bytes() == whole
    assert not part.exists()


@pytest.mark.parametrize("surplus", [0, 70_000])
def test_a_part_as_long_as_the_archive_or_longer(server, tmp_path, surplus):
    serve(server, [1])
    part = tmp_path / "annotations_trainval2017.zip.part"
    part.write_bytes(server.files[ARCHIVE] + bytes(surplus))
    assert len(get(server, tmp_path).images) == 1
    assert server.asked[ARCHIVE] == (2 if surplus else 1)


@pytest.mark.parametrize("trick", [503, "stall", "page", "end without a length"])
def test_the_archive_gets_over_a_passing_trouble(server, tmp_path, trick):
    serve(server, [1])
    server.tricks[ARCHIVE] = [trick]
    assert len(get(server, tmp_path).images) == 1


def test_an_archive_that_cannot_be_had(server, tmp_path):
    with pytest.raises(BadInput, match=r"cannot fetch annotations_trainval2017.zip .*HTTP 404"):
        get(server, tmp_path)
    assert server.asked[ARCHIVE] == 1


def test_a_damaged_archive_is_removed(server, tmp_path):
    serve(server, [1])
    whole = bytearray(server.files[ARCHIVE])
    place = whole.index(b"instances_train2017.json") + 60
    whole[place : place + 20] = bytes(20)
    server.files[ARCHIVE] = bytes(whole)
    with pytest.raises(BadInput, match="was damaged"):
        get(server, tmp_path)
    assert everything_below(tmp_path) == []


def test_an_archive_without_the_split(server, tmp_path):
    serve(server, [1])
    with pytest.raises(BadInput, match=r"no annotations/instances_val2017.json"):
        get(server, tmp_path, ("val2017",))


@pytest.mark.parametrize("split", ["train2014", "../train2017"])
def test_an_unknown_split(tmp_path, split):
    with pytest.raises(BadInput, match=f"'{split}' is not one of train2017, val2017"):
        coco.download(tmp_path / "out", splits=(split,), base_url="http://127.0.0.1:9")
    assert not (tmp_path / "out").exists()


def test_an_address_without_http(tmp_path):
    with pytest.raises(BadInput, match=r"must start with http.*'ftp://"):
        coco.download(tmp_path / "out", base_url="ftp://example.org")


def test_nobody_listens(tmp_path):
    with pytest.raises(BadInput, match="ConnectError"):
        coco.download(tmp_path, base_url="http://127.0.0.1:9", retries=0)
