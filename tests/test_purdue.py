"""The course's archive: every pickle that Python 2 and 3 write of it, and nothing else."""

import codecs
import contextlib
import gzip
import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seghw.cli import main
from seghw.config import SHAPES5, class_specs
from seghw.data import purdue as shapes_archive
from seghw.data.dataset import SegmentationSet
from seghw.data.purdue import read_archive, write_archive
from seghw.data.shapes import generate
from seghw.errors import BadInput

LABEL_MAP = {"rectangle": 50, "triangle": 100, "disk": 150, "oval": 200, "star": 250}


@pytest.fixture(scope="module")
def drawn():
    return generate(6, seed=3)


def by_class(boxes):
    """The order in which the archive keeps boxes."""
    return [sorted(image_boxes, key=lambda box: box[0]) for image_boxes in boxes]


def official_items(data, key=lambda index: index):
    """The items of the official format, built here without the code under test."""
    items = []
    for image, masks, boxes in zip(data.images, data.masks, data.boxes, strict=True):
        planes = np.zeros(masks.shape, np.uint8)
        for index in range(5):
            planes[index][masks[index]] = 50 * (index + 1)
        box_map = {key(index): [] for index in range(5)}
        for index, *corners in boxes:
            box_map[key(index)].append(corners)
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
    assert read.boxes == by_class(data.boxes)
    assert read.classes == SHAPES5


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_any_pixels_and_masks_survive(tmp_path_factory, seed, density):
    """Overlapping planes as well, which the drawn sets never have."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, 3, 64, 64), np.uint8)
    masks = rng.random((3, 5, 64, 64)) < density
    boxes = [[], [(4, 0, 0, 63, 63), (0, 5, 6, 5, 6)], [(2, 1, 2, 3, 4)] * 3]
    data = SegmentationSet(images, masks, boxes, SHAPES5)
    path = tmp_path_factory.mktemp("any") / "any.gz"
    write_archive(data, path)
    assert_same(read_archive(path), data)


def test_what_is_written_is_the_official_format(drawn, tmp_path):
    write_archive(drawn, tmp_path / "a.gz")
    write_archive(drawn, tmp_path / "b.gz")
    content = (tmp_path / "a.gz").read_bytes()
    assert content == (tmp_path / "b.gz").read_bytes()
    assert content[3:8] == bytes(5)  # gzip's header: no file name, no time
    items, label_map = pickle.loads(gzip.decompress(content))
    assert label_map == LABEL_MAP
    assert len(items) == 6
    for item, expected in zip(items, official_items(drawn), strict=True):
        assert item[:3] == expected[:3]
        assert {type(value) for channel in item[:3] for value in channel} == {int}
        assert item[3].dtype == np.uint8
        assert np.array_equal(item[3], expected[3])
        assert item[4] == expected[4]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("key", [lambda index: index, lambda index: 50 * (index + 1)])
def test_both_key_styles_in_every_protocol(drawn, tmp_path, protocol, key):
    content = (official_items(drawn, key), LABEL_MAP)
    assert_same(read_archive(put(tmp_path / "a.gz", content, protocol)), drawn)


def test_numpy_1_and_2_name_their_modules_differently(drawn, tmp_path):
    content = pickle.dumps((official_items(drawn), LABEL_MAP), 2)
    old = content.replace(b"numpy._core.", b"numpy.core.")
    new = old.replace(b"numpy.core.", b"numpy._core.")
    assert old != new
    for each in (old, new):
        assert_same(read_archive(put(tmp_path / "a.gz", each)), drawn)


def test_numpy_numbers_and_missing_keys_will_do(drawn, tmp_path):
    items = official_items(drawn)
    for item in items:
        item[4] = {
            np.int64(key): [[np.int32(x) for x in box] for box in boxes]
            for key, boxes in item[4].items()
            if boxes
        }
        item[3] = item[3].astype(">i8")
        item[:3] = [np.array(channel) for channel in item[:3]]
    assert_same(read_archive(put(tmp_path / "a.gz", [items, LABEL_MAP])), drawn)


def test_shared_parts_are_understood(drawn, tmp_path):
    """A pickle refers back to lists it has met; here the same item, and the same channel."""
    items = official_items(drawn)[:2]
    items[1][1] = items[1][0] = items[0][0]
    content = ([items[0], items[1], items[0]] * 2, LABEL_MAP)
    read = read_archive(put(tmp_path / "a.gz", content))
    assert len(read) == 6
    assert np.array_equal(read.images[[0, 2, 3, 5]], np.repeat(drawn.images[:1], 4, axis=0))
    assert np.array_equal(read.images[1, 1], drawn.images[0, 0])
    assert np.array_equal(read.images[4, 2], drawn.images[1, 2])
    assert read.boxes[3] == by_class(drawn.boxes)[0]


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


def test_an_archive_from_python_2(tmp_path):
    read = read_archive(put(tmp_path / "a.gz", PYTHON_2))
    assert read.images.tolist() == [[[[255, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 7]]]]
    assert np.argwhere(read.masks).tolist() == [[0, 1, 0, 0], [0, 4, 1, 1]]
    assert read.boxes == [[(1, 0, 0, 0, 0), (4, 1, 1, 1, 1)]]


def changed(data, change):
    items, label_map = official_items(data), dict(LABEL_MAP)
    change(items, label_map)
    return items, label_map


def set_part(image, part, value):
    def change(items, _):
        items[image][part] = value

    return change


def stray_mask_value(items, _):
    items[1][3][0, 0, 0] = 100  # a triangle's value in the plane of rectangles


def another_label_map(_, label_map):
    label_map["star"] = 251


REFUSED = {
    "a short channel": (set_part(0, 0, [0] * 4095), "image 0: cannot reshape"),
    "256": (set_part(4, 1, [256] * 4096), r"image 4: .*range\(0, 256\)"),
    "-1": (set_part(4, 1, [-1] * 4096), r"image 4: .*range\(0, 256\)"),
    "halves": (set_part(1, 2, [0.5] * 4096), "image 1: .*float"),
    "a number": (set_part(1, 2, 4096), "image 1: .*int"),
    "text": (set_part(1, 2, "x" * 4096), "image 1"),
    "a list for a mask": (set_part(0, 3, [0]), "image 0"),
    "four masks": (set_part(0, 3, np.zeros((4, 64, 64), np.uint8)), "image 0"),
    "one mask": (set_part(1, 3, np.zeros((1, 64, 64), np.uint8)), r"image 1: .*\(1, 64, 64\)"),
    "no pixels": (set_part(0, 3, np.zeros((5, 0, 0), np.uint8)), "image 0"),
    "another size": (set_part(2, 3, np.zeros((5, 32, 32), np.uint8)), "image 2"),
    "not a number": (set_part(2, 3, np.full((5, 64, 64), np.nan)), "image 2: .*other values"),
    "another's value": (stray_mask_value, "image 1: .*other values"),
    "a sixth class": (set_part(0, 4, {5: [[1, 1, 2, 2]]}), "image 0: no class 5"),
    "a class by name": (set_part(0, 4, {"star": []}), "image 0: .*str"),
    "three corners": (set_part(0, 4, {0: [[1, 2, 3]]}), "image 0: not enough values"),
    "a box outside": (set_part(0, 4, {0: [[1, 2, 3, 64]]}), r"its box \(1, 2, 3, 64\)"),
    "a box before 0": (set_part(0, 4, {0: [[-1, 2, 3, 4]]}), r"its box \(-1, 2, 3, 4\)"),
    "a box turned": (set_part(0, 4, {0: [[3, 2, 1, 4]]}), r"its box \(3, 2, 1, 4\)"),
    "a box of floats": (set_part(0, 4, {0: [[1.0, 2, 3, 4]]}), "image 0: .*float"),
    "a list of boxes": (set_part(3, 4, [3]), "image 3"),
    "six parts": (lambda items, _: items[2].append(0), "image 2: too many values"),
    "nothing": (lambda items, _: items.clear(), "a list of images"),
    "a float": (lambda items, _: items.append([0.0]), "image 6: not enough values"),
    "other labels": (another_label_map, "its label map is not"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_shape_is_named(drawn, tmp_path, case):
    change, complaint = REFUSED[case]
    path = put(tmp_path / "a.gz", changed(drawn, change))
    with pytest.raises(BadInput, match=complaint) as caught:
        read_archive(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        None,
        7,
        [],
        {},
        [1, 2, 3],
        ([], LABEL_MAP),
        ([1], np.zeros(5)),
        (np.array([None]), LABEL_MAP),
    ],
)
def test_another_pickle_is_refused(tmp_path, content):
    with pytest.raises(BadInput, match="cannot be read as"):
        read_archive(put(tmp_path / "a.gz", content))


class Calls:
    """Pickled, it is a call of anything."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ((print, ("called",)), "'builtins.print'"),
        ((np.load, ("x",)), "'numpy.load'"),
        ((codecs.encode, ("a", "rot13")), "encode"),
        ((np.ndarray, ((1 << 40,),)), "ndarray"),
        ((np.dtype, ("O",)), "dtype"),
    ],
)
def test_nothing_is_called(drawn, tmp_path, capsys, call, complaint):
    """Named where an array or a number may stand; the last three names are on the list."""
    items = official_items(drawn)
    items[0][3] = Calls(*call)
    with pytest.raises(BadInput, match=complaint):
        read_archive(put(tmp_path / "a.gz", (items, LABEL_MAP)))
    assert capsys.readouterr().out == ""


def test_a_pickle_changes_nothing_outside_itself(tmp_path):
    """It may set attributes of what it names: here of NumPy's ``_frombuffer``."""
    content = b"cnumpy._core.numeric\n_frombuffer\n(N}(S'__doc__'\nS'x'\nutb."
    before = np._core.numeric._frombuffer.__doc__
    with pytest.raises(BadInput):
        read_archive(put(tmp_path / "a.gz", content))
    assert np._core.numeric._frombuffer.__doc__ == before


def test_an_archive_cut_short_or_damaged(drawn, tmp_path):
    path = tmp_path / "a.gz"
    write_archive(drawn, path)
    whole = path.read_bytes()
    wrong_checksum = whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]
    cuts = [whole[:n] for n in (0, 5, 15, 1000, len(whole) - 9, len(whole) - 1)]
    for content in [*cuts, wrong_checksum, whole[:10] + b"\xff" * 50 + whole[60:], b"no gzip"]:
        path.write_bytes(content)
        with pytest.raises(BadInput, match="cannot be read as"):
            read_archive(path)
    for missing in (tmp_path / "missing.gz", tmp_path):
        with pytest.raises(BadInput, match="cannot be read as"):
            read_archive(missing)


def test_a_few_bytes_cannot_ask_for_many_images(tmp_path, monkeypatch):
    """Each further reference to an item takes two bytes of the file."""
    monkeypatch.setattr(shapes_archive, "MAX_ARCHIVE_BYTES", 20_000)
    (item,), _ = pickle.loads(SMALL)
    assert len(read_archive(put(tmp_path / "a.gz", ([item] * 500, LABEL_MAP)))) == 500
    with pytest.raises(BadInput, match="refers to its images 1000 times"):
        read_archive(put(tmp_path / "a.gz", ([item] * 1000, LABEL_MAP)))
    with pytest.raises(BadInput, match="unpacks to more than 20,000 bytes"):
        read_archive(put(tmp_path / "b.gz", bytes(20_001)))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_random_bytes_are_refused(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("random")
    (folder / "a.gz").write_bytes(content)
    for path in (folder / "a.gz", put(folder / "b.gz", content)):
        with pytest.raises(BadInput):
            read_archive(path)


# The same cases in every run: an index of the memo may ask for gigabytes.
@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_a_damaged_archive_gives_a_set_or_bad_input(tmp_path_factory, data):
    content = bytearray(PYTHON_2 if data.draw(st.booleans()) else SMALL)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = put(tmp_path_factory.mktemp("damaged") / "a.gz", bytes(content))
    with contextlib.suppress(BadInput):
        assert len(read_archive(path)) >= 1


SMALL = pickle.dumps(
    ([[[1] * 4, [2] * 4, [3] * 4, np.zeros((5, 2, 2), np.uint8), {0: [[0, 0, 1, 1]]}]], LABEL_MAP)
)


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


@pytest.fixture
def segmenter(dlstudio, tmp_path, monkeypatch):
    """DLStudio's own code, to read archives from ``tmp_path`` and train on them."""
    monkeypatch.chdir(tmp_path)  # DLStudio writes into the working folder
    studio = dlstudio(
        dataroot=f"{tmp_path}/",
        image_size=[64, 64],
        path_saved_model=str(tmp_path / "model.pt"),
        momentum=0.9,
        learning_rate=1e-4,
        epochs=1,
        batch_size=4,
        classes=tuple(LABEL_MAP),
        use_gpu=True,  # falls back to the CPU; False would leave it without a device
    )
    return dlstudio.SemanticSegmentation(dl_studio=studio, max_num_objects=5)


def dlstudio_loads(segmenter, name):
    return segmenter.PurdueShapes5MultiObjectDataset(segmenter.dl_studio, segmenter, "train", name)


def test_dlstudio_loads_what_was_written(segmenter, tmp_path):
    data = generate(8, seed=11)
    write_archive(data, tmp_path / "shapes-8-train.gz")
    dataset = dlstudio_loads(segmenter, "shapes-8-train.gz")
    assert len(dataset) == 8
    assert dataset.class_labels == {value: name for name, value in LABEL_MAP.items()}
    for i in range(8):
        sample = dataset[i]
        assert np.array_equal(sample["image"].numpy(), data.images[i])
        values = np.arange(50, 251, 50)[:, None, None]
        assert np.array_equal(sample["mask_tensor"].numpy(), data.masks[i] * values)
        for index in range(5):
            own = [list(corners) for c, *corners in data.boxes[i] if c == index]
            # DLStudio pads with zeros to as many boxes as the image has rows.
            assert sample["bbox_tensor"][: len(own), index].tolist() == own
            assert not sample["bbox_tensor"][len(own) :, index].any()


@pytest.mark.filterwarnings("ignore:unclosed file.*performance_numbers:ResourceWarning")
def test_dlstudio_trains_on_what_the_command_wrote(segmenter, tmp_path, capsys):
    import torch

    out = tmp_path / "shapes-8-train.gz"
    assert main(["data", "export-dlstudio", "--count", "8", "--seed", "11", str(out)]) == 0
    assert capsys.readouterr().out == f"8 images in DLStudio's format: {out}\n"
    assert_same(read_archive(out), generate(8, seed=11))
    dataset = dlstudio_loads(segmenter, out.name)
    segmenter.train_dataloader = torch.utils.data.DataLoader(dataset, batch_size=4)
    torch.manual_seed(0)
    network = segmenter.mUNet(skip_connections=True, depth=4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        segmenter.run_code_for_training_for_semantic_segmentation(network)
    assert "Finished Training" in printed.getvalue()
    after = torch.load(tmp_path / "model.pt", weights_only=True)
    assert not torch.equal(after["conv_in.weight"], before["conv_in.weight"])
    assert all(torch.isfinite(value).all() for value in after.values())
