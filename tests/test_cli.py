"""The command line: what works, and one line with status 2 for what cannot."""

import os
import subprocess
import sys

import pytest

from seghw.cli import main
from seghw.config import class_specs
from seghw.data import SegmentationSet, shapes

TRAIN = ["train", "--profile", "smoke", "--epochs", "1", "--loss", "mse", "--quiet"]


def refused(capsys, *arguments: str) -> str:
    """Run a command that must be refused; returns its only line on stderr."""
    assert main([*map(str, arguments)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("seghw: ")
    return line


@pytest.fixture
def own_set(tmp_path):
    """A folder with a set of two classes of one's own."""
    data = shapes.generate(14, 0, 32)
    boxes = [[box for box in boxes if box[0] < 2] for boxes in data.boxes]
    specs = class_specs(["hot dog", "chou fleur"])
    SegmentationSet(data.images, data.masks[:, :2], boxes, specs, "food").save(tmp_path / "food")
    return tmp_path / "food"


def test_a_set_of_ones_own_is_trained_and_scored(own_set, tmp_path, capsys):
    runs = tmp_path / "my rüns"
    assert main([*TRAIN, "--data", str(own_set), "--runs", str(runs)]) == 0
    [folder] = (runs / "smoke").iterdir()
    assert folder.name == "own+hot dog+chou fleur-corrected-mse-lr4e-03-epochs1-seed0"
    assert main(["evaluate", str(folder), "--data", str(own_set), "--panels", "2"]) == 0
    assert "on 2 images of food" in capsys.readouterr().out
    made = sorted(path.name for path in (folder / "evaluation-test").glob("image*"))
    assert len(made) == 3
    assert made[-1] == "images.csv"
    assert "give its folder with --data" in refused(capsys, "evaluate", folder)
    other = ["--data", own_set, "--dataset", "coco3", "--runs", runs]
    assert "['hot dog', 'chou fleur'], coco3 needs" in refused(capsys, *TRAIN, *other)


def test_without_a_loss_the_terms_are_balanced(tmp_path, capsys):
    command = ["train", "--dataset", "shapes5", "--profile", "smoke", "--epochs", "1"]
    assert main([*command, "--runs", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "shapes5-corrected-mse_dice-lr4e-03-lambda0.1-epochs1-seed0" in output
    assert "drawn look-alikes of PurdueShapes5MultiObject" in output


def test_an_empty_set_is_refused(tmp_path, capsys):
    shapes.generate(1, 0).subset([]).save(tmp_path / "set")
    assert "too few" in refused(capsys, *TRAIN, "--data", tmp_path / "set", "--runs", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "quoted"),
    [
        (["figures", "--only", "46"], "'46'"),
        (["figures", "--only", "1", "--runs", "nowhere"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
        (["train", "--loss", "mse", "--data", "nowhere"], "nowhere"),
        *((["train", "--config", text], text) for text in ("{", "[1]", "{}", '{"dataset": 3}')),
        (["sweep", "--seeds", "0"], "--seeds"),
        (["sweep", "--ablation", "--recipe", "report"], "leave --dataset and --recipe out"),
        (["sweep", "--seeds", "1001"], "1001"),
        (["sweep", "--dataset", "shapes5", "--jobs", "0", "--runs", "x"], "got 0"),
        (["data", "shapes", "--count", "1", "--size", "60", "--out", "x"], "60"),
        (["data", "shapes", "--count", "1", "--out", "."], "already exists"),
        (["data", "scenes", "--count", "1", "--out", "."], "already exists"),
        (["data", "coco", "--out", "x"], "--annotations"),
        (["data", "coco", "--download", "x", "--size", "100", "--out", "y"], "of 8"),
        (["submission", "--name", "  "], "needs your name"),
        (["data", "coco", "--annotations", "a.json", "--images", "x", "--out", "x"], "a.json"),
    ],
)
def test_bad_input_gets_one_line(arguments, quoted, capsys, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    assert quoted in refused(capsys, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("command", ["sweep --seed 5", "train --dat x", "data coco --min 5"])
def test_no_option_is_taken_for_another(command, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(command.split())
    assert "unrecognized arguments" in capsys.readouterr().err


def test_a_home_folder_is_meant_behind_an_equals_sign_too(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert main(["data", "shapes", "--count", "3", "--seed", "1", "--out=~/a set"]) == 0
    assert len(SegmentationSet.load(tmp_path / "a set")) == 3
    assert capsys.readouterr().out.startswith("3 images of 64 x 64 (")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size")
def test_a_full_disk_is_one_line_in_any_encoding_and_leaves_nothing_behind(tmp_path):
    """A limit on the size of files stands in for it: a checkpoint does not fit, a record does."""
    code = (
        "import resource, sys\n"
        "from seghw.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    runs, narrow = tmp_path / "my Ω", {**os.environ, "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-c", code, *TRAIN, "--dataset", "shapes5", "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, check=False, env=narrow)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.splitlines() == [b"seghw: File too large"]
    assert [path.name for path in runs.rglob("*") if path.is_file()] == [".lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_nohup_keeps_its_word():
    code = "from signal import *; from seghw.cli import main; signal(SIGHUP, SIG_IGN)\n"
    code += "main(['evaluate', 'nowhere']); assert getsignal(SIGHUP) is SIG_IGN"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
