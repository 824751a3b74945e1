"""The command line: what works, and one line with status 2 for what cannot."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from seghw.cli import main
from seghw.data import shapes
from seghw.data.dataset import SegmentationSet


def refused(capsys, *arguments: str) -> str:
    """Run a command that must be refused; returns its only line on stderr."""
    assert main(list(arguments)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("seghw: ")]
    assert len(lines) == 1
    return lines[0]


def test_shapes_are_drawn_to_a_folder(tmp_path, capsys):
    out = tmp_path / "set"
    assert main(["data", "shapes", "--count", "3", "--seed", "1", "--out", str(out)]) == 0
    assert len(SegmentationSet.load(out)) == 3
    assert capsys.readouterr().out.startswith("3 images of 64 x 64 (")


def test_train_then_evaluate_a_set_of_ones_own(tmp_path, capsys):
    out, runs = tmp_path / "set", tmp_path / "runs"
    main(["data", "shapes", "--count", "20", "--out", str(out)])
    common = ["--dataset", "shapes5", "--profile", "smoke", "--epochs", "1", "--loss", "mse"]
    assert main(["train", *common, "--data", str(out), "--runs", str(runs)]) == 0
    [folder] = (runs / "smoke").iterdir()
    assert main(["evaluate", str(folder), "--data", str(out), "--panels", "2"]) == 0
    assert "on 3 images" in capsys.readouterr().out
    made = sorted(path.name for path in (folder / "evaluation-test").iterdir())
    assert len(made) == 3
    assert made[-1] == "images.csv"


def test_classes_of_ones_own_are_trained_and_scored(tmp_path, capsys):
    """Drawn scenes, two of three classes: the run is called after them, another set is refused."""
    scenes, runs = tmp_path / "scenes", str(tmp_path / "runs")
    main(["data", "scenes", "--count", "30", "--out", str(scenes)])
    given = ["--annotations", str(scenes / "annotations" / "instances_scenes.json")]
    given += ["--images", str(scenes), "--size", "64", "--min-box", "10"]
    for classes in (["cat", "bus"], ["bus", "cat"]):
        out = ["--out", str(tmp_path / classes[0])]
        assert main(["data", "coco", *given, "--classes", *classes, *out]) == 0
    train = ["train", "--profile", "smoke", "--epochs", "1", "--loss", "mse", "--runs", runs]
    assert main([*train, "--data", str(tmp_path / "cat")]) == 0
    [folder] = Path(runs, "smoke").iterdir()
    assert folder.name == "own+cat+bus-corrected-mse-lr4e-03-epochs1-seed0"
    assert main(["evaluate", str(folder), "--data", str(tmp_path / "cat")]) == 0
    capsys.readouterr()
    other = refused(capsys, "evaluate", str(folder), "--data", str(tmp_path / "bus"))
    assert "['cat', 'bus']" in other
    assert "['bus', 'cat']" in other
    assert "give its folder with --data" in refused(capsys, "evaluate", str(folder))


def test_an_empty_set_is_refused(tmp_path, capsys):
    shapes.generate(1, 0).subset([]).save(tmp_path / "set")
    command = ("train", "--loss", "mse", "--profile", "smoke", "--data", str(tmp_path / "set"))
    assert "too few" in refused(capsys, *command, "--runs", str(tmp_path / "runs"))


def test_coco_mini_holds_18_images(coco_mini, tmp_path, capsys):
    arguments = ["--annotations", str(coco_mini / "annotations" / "instances_mini.json")]
    arguments += ["--images", str(coco_mini / "images"), "--out", str(tmp_path / "set")]
    assert main(["data", "coco", *arguments, "--size", "64"]) == 0
    line = "18 images of 64 x 64 (5 pizza, 8 cat, 5 bus)"
    assert capsys.readouterr().out.startswith(line)
    assert len((tmp_path / "set" / "manifest.csv").read_text(encoding="utf-8").splitlines()) == 19


@pytest.mark.parametrize(
    ("arguments", "quoted"),
    [
        (["figures", "--only", "46"], "'46'"),
        (["figures", "--only", "1", "--runs", "nowhere"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
        (["train", "--loss", "mse_dice"], "coefficient None"),
        (["train", "--loss", "mse", "--data", "nowhere"], "nowhere"),
        (["data", "shapes", "--count", "0", "--out", "x"], "0"),
        (["data", "coco", "--out", "x"], "--annotations"),
        (["data", "coco", "--annotations", "a.json", "--images", "x", "--out", "x"], "a.json"),
    ],
)
def test_bad_input_gets_one_line(arguments, quoted, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert quoted in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_the_network_cannot_take(tmp_path, capsys):
    out = tmp_path / "set"
    assert "60" in refused(
        capsys, "data", "shapes", "--count", "1", "--size", "60", "--out", str(out)
    )
    assert not out.exists()


def test_figures_where_nothing_can_be_written(tmp_path, capsys, smoke_runs):
    """A file where the folder should be: as good as a read-only folder, for any user."""
    (tmp_path / "figures").write_text("in the way")
    common = ["--profile", "smoke", "--runs", str(smoke_runs), "--only", "5"]
    line = refused(capsys, "figures", *common, "--out", str(tmp_path / "figures"))
    assert "figures" in line
    assert (tmp_path / "figures").read_text() == "in the way"


def test_a_full_disk_leaves_nothing_half_written(tmp_path, capsys, smoke_runs, monkeypatch):
    def full(self, path, **_):
        path.write_bytes(b"half a picture")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Figure, "savefig", full)
    common = ["--profile", "smoke", "--runs", str(smoke_runs), "--only", "5"]
    line = refused(capsys, "figures", *common, "--out", str(tmp_path / "figures"))
    assert "No space left on device" in line
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_every_command_has_help(capsys):
    for command in ("data", "train", "sweep", "evaluate", "claims", "sam", "figures"):
        with pytest.raises(SystemExit) as exit_status:
            main([command, "--help"])
        assert exit_status.value.code == 0
        assert "usage" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size")
def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path):
    """A limit on the size of files stands in for it: a checkpoint does not fit, a record does."""
    code = (
        "import resource, sys\n"
        "from seghw.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = ["train", "--dataset", "shapes5", "--loss", "mse", "--profile", "smoke"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--runs", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )
    assert done.returncode == 2
    assert done.stderr.rstrip().splitlines()[-1] == "seghw: File too large"
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


def test_without_a_loss_the_terms_are_balanced(tmp_path, capsys):
    command = ["train", "--dataset", "shapes5", "--profile", "smoke", "--epochs", "1"]
    assert main([*command, "--runs", str(tmp_path)]) == 0
    assert "shapes5-corrected-mse_dice-lr4e-03-lambda0.1-epochs1-seed0" in capsys.readouterr().out
