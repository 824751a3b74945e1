"""The archive: what Python 2 and 3 write of it, DLStudio's own reading, nothing hostile."""

import codecs
import contextlib
import gzip
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seghw.cli import main
from seghw.config import SHAPES5, class_specs
from seghw.data import purdue
from seghw.data.dataset import SegmentationSet
from seghw.data.purdue import read_archive, write_archive
from seghw.data.shapes import generate
from seghw.errors import BadInput
from tests.bench.dlstudio import dlstudio_on

LABEL_MAP = {"rectangle": 50, "triangle": 100, "disk": 150, "oval": 200, "star": 250}


@pytest.fixture(scope="module")
def drawn():
    return generate(6, seed=3)


def official_items(data, key=lambda index: index):
    """The items of the official format, built here without the code under test."""
    items = []
    for image, masks, boxes in zip(data.images, data.masks, data.boxes, strict=True):
        planes = np.zeros(masks.shape, np.uint8)
        for c in range(5):
            planes[c][masks[c]] = 50 * (c + 1)
        box_map = {key(c): [corners for k, *corners in boxes if k == c] for c in range(5)}
        items.append([*(channel.ravel().tolist() for channel in image), planes, box_map])
    return items


def put(path, content, protocol=4):
    """A gzip file of ``content``, pickled unless it is bytes already."""
    if not isinstance(content, bytes):
        content = pickle.dumps(content, protocol)
    path.write_bytes(gzip.compress(content, 1))
    return path


def assert_same(read, data):
    assert np.array_equal(read.images, data.images)
    assert np.array_equal(read.masks, data.masks)
    assert read.boxes == [sorted(boxes, key=lambda box: box[0]) for boxes in data.boxes]
    assert read.classes == SHAPES5


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_any_pixels_and_masks_survive_in_the_official_format(tmp_path_factory, seed, density):
    """Overlapping masks as well, which the drawn sets never have; the same set, the same bytes."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, 3, 64, 64), np.uint8)
    masks = rng.random((3, 5, 64, 64)) < density
    boxes = [[], [(4, 0, 0, 63, 63), (0, 5, 6, 5, 6)], [(2, 1, 2, 3, 4)] * 3]
    data, folder = SegmentationSet(images, masks, boxes, SHAPES5), tmp_path_factory.mktemp("any")
    for name in ("a.gz", "b.gz"):
        write_archive(data, folder / name)
    assert_same(read_archive(folder / "a.gz"), data)
    content = (folder / "a.gz").read_bytes()
    assert content == (folder / "b.gz").read_bytes()
    items, label_map = pickle.loads(gzip.decompress(content))
    assert label_map == LABEL_MAP
    for item, expected in zip(items, official_items(data), strict=True):
        assert (item[:3], item[4]) == (expected[:3], expected[4])
        assert {type(value) for channel in item[:3] for value in channel} == {int}
        assert item[3].dtype == np.uint8
        assert np.array_equal(item[3], expected[3])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "key", [lambda c: c, lambda c: 50 * (c + 1), lambda c: np.int64(50 * c + 50)]
)
def test_all_key_styles_in_every_protocol(drawn, tmp_path, protocol, key):
    """By NumPy 1 and 2, which name their modules differently; arrays and NumPy's numbers too."""
    items = official_items(drawn, key)
    items[0][0] = np.array(items[0][0])
    items[1][3] = np.asfortranarray(items[1][3].astype(">i8"))
    content = pickle.dumps(([*items, items[0]], LABEL_MAP), protocol)
    for new in (content, content.replace(b"numpy._core.", b"numpy.core.")):
        if protocol < 4 or new is content:  # later ones write the length of a name
            read = read_archive(put(tmp_path / "a.gz", new))
            assert_same(read, drawn.subset([0, 1, 2, 3, 4, 5, 0]))


# As Python 2 wrote it: one 2 x 2 image, protocol 0. A red pixel at the top left is a triangle,
# a blue one at the bottom right a star.
PYTHON_2 = rb"""((lp0 (lp1 (lp2 I255 aI0 aI0 aI0 aa(lp3 I0 aI0 aI0 aI0 aa(lp4 I0 aI0 aI0 aI7
aacnumpy.core.multiarray _reconstruct p5 (cnumpy ndarray p6 (I0 tp7 S'b' p8 tp9 Rp10 (I1 (I5 I2
I2 tp11 cnumpy dtype p12 (S'u1' p13 I0 I1 tp14 Rp15 (I3 S'|' p16 NNNI-1 I-1 I0 tp17 bI00
S'\x00\x00\x00\x00d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xfa' p18 tp19
ba(dp20 I100 (lp21 (lp22 I0 aI0 aI0 aI0 aasI250 (lp23 (lp24 I1 aI1 aI1 aI1 aasaa(dp25
S'rectangle' p26 I50 sS'triangle' p27 I100 sS'disk' p28 I150 sS'oval' p29 I200 sS'star' p30 I250
stp31 .
""".strip().replace(b" ", b"\n")
SMALL = pickle.dumps(
    ([[[1] * 4, [2] * 4, [3] * 4, np.zeros((5, 2, 2), np.uint8), {0: [[0, 0, 1, 1]]}]], LABEL_MAP)
)


def test_an_archive_from_python_2(tmp_path):
    read = read_archive(put(tmp_path / "a.gz", PYTHON_2))
    assert read.images.tolist() == [[[[255, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 7]]]]
    assert np.argwhere(read.masks).tolist() == [[0, 1, 0, 0], [0, 4, 1, 1]]
    assert read.boxes == [[(1, 0, 0, 0, 0), (4, 1, 1, 1, 1)]]


class Calls:
    """Pickled, it is a call of anything."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


STRAY = np.zeros((5, 64, 64), np.uint8)
STRAY[0, 0, 0] = 100  # a triangle's value in the mask of rectangles
WRONG_PARTS = (
    (0, [0] * 4095, "cannot reshape"),
    (0, [256] * 4096, r"range\(0, 256\)"),
    (1, [0.5] * 4096, "float"),
    (2, "x" * 4096, "str"),
    (3, np.zeros((1, 64, 64), np.uint8), r"\(1, 64, 64\)"),
    (3, np.full((5, 64, 64), np.nan), "other values"),
    (3, STRAY, "other values"),
    (3, Calls(print, ("called",)), "it wants to call 'builtins.print'"),
    (3, Calls(np.load, ("x",)), "it wants to call 'numpy.load'"),
    (3, Calls(codecs.encode, ("a", "rot13")), ""),  # from here on names on the list
    (3, Calls(np.ndarray, ((1 << 40,),)), "no arguments"),
    (3, np.array([None]), r"dtype.*'O"),
    (4, {5: [[1, 1, 2, 2]]}, r"box \(5, 1, 1, 2, 2\) of image 1 is not"),
    (4, {"star": []}, "str"),
    (4, {0: [[1, 2, 3]]}, r"box \(0, 1, 2, 3\) of image 1 is not"),
    (4, {0: [[3, 2, 1, 4]]}, r"box \(0, 3, 2, 1, 4\) of image 1 is not"),
    (4, {0: [[1.0, 2, 3, 4]]}, "float"),
)


@pytest.mark.parametrize(("part", "value", "complaint"), WRONG_PARTS)
def test_a_wrong_part_is_named_and_nothing_is_called(
    drawn, tmp_path, capsys, part, value, complaint
):
    items = official_items(drawn)
    items[1][part] = value
    path = put(tmp_path / "a.gz", (items, LABEL_MAP))
    with pytest.raises(BadInput, match=f"^{path} .*{complaint}") as caught:
        read_archive(path)
    assert len(str(caught.value).splitlines()) == 1
    assert capsys.readouterr().out == ""


def test_what_is_no_archive_is_refused(drawn, tmp_path, monkeypatch):
    path = tmp_path / "a.gz"
    write_archive(drawn, path)
    content, items = path.read_bytes(), official_items(drawn)
    wrong_checksum = content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]
    contents = [b"", content[:1000], content[:-1], wrong_checksum, b"no gzip"]
    # It may set attributes of what it names.
    contents.append(gzip.compress(b"cnumpy._core.numeric\n_frombuffer\n(N}(S'x'\nS'x'\nutb."))
    others = [None, ([], LABEL_MAP), ([1], np.zeros(5)), ([[0.0]], LABEL_MAP), (items,)]
    others += [(items, LABEL_MAP | {"star": 251}), ([[*items[0], 0]], LABEL_MAP)]
    contents += [gzip.compress(pickle.dumps(other)) for other in others]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(BadInput, match="cannot be read as"):
            read_archive(path)
    assert not hasattr(np._core.numeric._frombuffer, "x")
    # Each further reference to an item takes two bytes of the file.
    monkeypatch.setattr(purdue, "MAX_ARCHIVE_BYTES", 20_000)
    (item,), _ = pickle.loads(SMALL)
    assert len(read_archive(put(path, ([item] * 500, LABEL_MAP)))) == 500
    with pytest.raises(BadInput, match="refers to its images 1000 times"):
        read_archive(put(path, ([item] * 1000, LABEL_MAP)))
    with pytest.raises(BadInput, match="unpacks to more than 20,000 bytes"):
        read_archive(put(path, bytes(20_001)))


@settings(max_examples=150)
@given(st.sampled_from([PYTHON_2, SMALL]), st.lists(st.tuples(st.floats(0, 0.999), st.binary())))
def test_a_damaged_archive_gives_a_set_or_bad_input(tmp_path_factory, content, changes):
    for place, piece in changes:
        at = int(place * len(content))
        content = content[:at] + piece + content[at + len(piece) :]
    with contextlib.suppress(BadInput):
        assert len(read_archive(put(tmp_path_factory.mktemp("damaged") / "a.gz", content))) >= 1


def test_what_the_format_cannot_hold_is_not_written(drawn, tmp_path):
    others = class_specs(("triangle", "rectangle", "disk", "oval", "star"))
    for data, complaint in (
        (generate(2, 0, size=32), r"64 x 64 .*\(2, 3, 32, 32\)"),
        (drawn.subset([]), r"at least one, got \(0, 3, 64, 64\)"),
        (replace(drawn, classes=others), "SHAPES5, got triangle, rectangle"),
    ):
        with pytest.raises(BadInput, match=complaint):
            write_archive(data, tmp_path / "a.gz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("dlstudio")
def test_dlstudio_loads_what_the_command_writes(tmp_path):
    out, data = tmp_path / "shapes-8-train.gz", generate(8, seed=11)
    assert main(["data", "export-dlstudio", "--count", "8", "--seed", "11", str(out)]) == 0
    with dlstudio_on(data) as course:
        assert course.archive.read_bytes() == out.read_bytes()
        samples = [course.dataset[n] for n in range(8)]
    for i, sample in enumerate(samples):
        assert np.array_equal(sample["image"].numpy(), data.images[i])
        values = np.arange(50, 251, 50)[:, None, None]
        assert np.array_equal(sample["mask_tensor"].numpy(), data.masks[i] * values)
        for c in range(5):
            own = [list(corners) for k, *corners in data.boxes[i] if k == c]
            # DLStudio pads with zeros to as many boxes as the image has rows.
            assert sample["bbox_tensor"][: len(own), c].tolist() == own
            assert not sample["bbox_tensor"][len(own) :, c].any()
