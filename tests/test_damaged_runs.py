"""Damaged records, weights and checkpoints: one line says what to do."""

import shutil
from itertools import product

import pytest

from seghw.cli import main
from seghw.config import TrainConfig
from seghw.data import shapes
from seghw.errors import BadInput
from seghw.runs import history, load_counts, load_runs, read_run
from seghw.train import load_network, train


@pytest.fixture
def run_folder(smoke_run, tmp_path):
    """A copy whose files a test may damage."""
    return shutil.copytree(smoke_run, tmp_path / "smoke" / smoke_run.name)


FILES = ["run.json", "history.csv", "counts.npz", "model.safetensors"]
DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "other": lambda content: b"\xff\0" + content[2:],
    "of another kind": lambda content: b"[1]",
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(each for each in product(FILES, DAMAGES.values()) if each != (FILES[1], DAMAGES["cut"])),
        *(
            (FILES[0], lambda content, key=key: content.replace(b'"%s"' % key, b'"other"'))
            for key in (b"config", b"epochs", b"data", b"dataset", b"validation_iou")
        ),
    ],
)
def test_a_damaged_file_of_a_run(run_folder, name, damage):
    [run] = load_runs("smoke", run_folder.parents[1]).itertuples()
    path = run_folder / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInput, match=f"{name} is damaged .*train the run again") as error:
        (read_run(run_folder), history(run), load_counts(run), load_network(run_folder))
    assert len(str(error.value).splitlines()) == 1


def test_what_is_missing_or_elsewhere_is_named(run_folder, tmp_path):
    (run_folder / "model.safetensors").unlink()
    (run_folder / "counts.npz").unlink()
    [run] = load_runs("smoke", tmp_path).itertuples()
    with pytest.raises(BadInput, match=f"{run.run_id} has no weights"):
        load_network(run_folder)
    with pytest.raises(BadInput, match="seghw evaluate"):
        load_counts(run)
    with pytest.raises(BadInput, match=r"run\.json is missing"):
        read_run(tmp_path / "nowhere")
    run_folder.rename(tmp_path / "renamed")
    with pytest.raises(BadInput, match=f"is the record of {run.run_id}"):
        read_run(tmp_path / "renamed")


def test_a_checkpoint_that_is_cut_or_of_other_data(tmp_path):
    config = TrainConfig("shapes5", "corrected", "mse", 4e-3, profile="smoke", epochs=2)

    def start(seed, watch):
        sets = (shapes.generate(8, seed, 32), shapes.generate(2, 9, 32))
        train(config, sets, runs=tmp_path, progress=False, watch=watch)

    with pytest.raises(ZeroDivisionError):
        start(0, lambda run: run.epochs and 1 / 0)  # after the first epoch
    with pytest.raises(BadInput, match="begun on other data"):
        start(1, None)
    [path] = tmp_path.glob("smoke/*/checkpoint.pt")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"checkpoint\.pt is damaged"):
        start(0, None)


def test_one_damaged_record_among_many_is_left_out_and_the_advice_works(
    smoke_runs, tmp_path, capsys
):
    runs = shutil.copytree(smoke_runs, tmp_path / "runs")
    [bad] = (runs / "smoke").glob("*-report-*")
    (bad / "run.json").write_text("{", encoding="utf-8")
    with pytest.warns(UserWarning, match=f"left out: .*{bad.name}.*remove its folder and train"):
        table = load_runs("smoke", runs)
    assert table.recipe.tolist() == ["corrected"]
    train = ["train", "--dataset", "shapes5", "--recipe", "report", "--profile", "smoke"]
    train += ["--loss", "mse_dice", "--coefficient", "20", "--runs", str(runs), "--quiet"]
    for command in (["evaluate", str(bad)], train):
        assert main(command) == 2
        assert "damaged" in capsys.readouterr().err
    shutil.rmtree(bad)
    assert main(train) == 0
    assert len(load_runs("smoke", runs)) == 2
