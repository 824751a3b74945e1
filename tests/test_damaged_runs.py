"""Damaged records, weights and checkpoints: read as they were, or one line says what to do."""

import contextlib
import copy
import hashlib
import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seghw.cli import main
from seghw.errors import BadInput
from seghw.runs import history, load_counts, load_runs, read_run
from seghw.train import load_network
from seghw.train.records import load_checkpoint, save_checkpoint


@st.composite
def damage(draw, content: bytes) -> bytes:
    """Cut, flipped, replaced or inserted bytes."""
    out = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(out) - 1)))
        kind = draw(st.sampled_from(["cut", "flip", "replace", "insert", "drop"]))
        piece = draw(st.binary(min_size=1, max_size=8))
        if kind == "cut":
            del out[at:]
        elif kind == "flip" and out:
            out[at] ^= 1 << draw(st.integers(0, 7))
        elif kind in ("replace", "insert"):
            out[at : at + len(piece) * (kind == "replace")] = piece
        else:
            del out[at : at + draw(st.integers(1, 40))]
    return bytes(out)


ODD = [None, True, "", "1", "../../x", [], ["x"], {}, -1, 0, 1.5, 1e308, 10**30, float("nan")]


@st.composite
def other_values(draw, content: bytes) -> bytes:
    """JSON in which a value is of another kind, or missing."""
    record = json.loads(content)
    place, inner = record, record
    while isinstance(inner, dict | list) and inner and draw(st.integers(0, 4)):
        place, key = (
            inner,
            draw(st.sampled_from([*inner] if isinstance(inner, dict) else range(len(inner)))),
        )
        inner = place[key]
    if place is not inner:
        if draw(st.booleans()):
            place[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
        else:
            del place[key]
    return json.dumps(record).encode()


def fingerprints(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in files}


@contextlib.contextmanager
def one_line_at_most(folder):
    """BadInput of one line is fine; another exception or a changed file is not."""
    before, message = fingerprints(folder), "-"
    try:
        yield
    except BadInput as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    assert fingerprints(folder) == before


@pytest.fixture
def run_folder(smoke_run, tmp_path):
    """A copy whose files a test may damage."""
    return shutil.copytree(smoke_run, tmp_path / "smoke" / smoke_run.name)


def read_all(folder):
    [run] = [*load_runs("smoke", folder.parents[1]).itertuples()] or [None]
    if run is not None:
        assert run.run_id == folder.name
        history(run)
        load_counts(run)
    load_network(folder)


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize("name", ["run.json", "history.csv", "counts.npz", "model.safetensors"])
def test_a_damaged_file_of_a_run(run_folder, name):
    path = run_folder / name
    content = path.read_bytes()
    # Of weights the header is what can go wrong; any number after it is a weight, unless it is cut.
    head = content[: 8 + int.from_bytes(content[:8], "little")] if "model" in name else content
    damaged = damage(head)
    if name == "run.json":
        damaged |= other_values(content)

    @settings(max_examples=100)
    @given(damaged, st.integers(0, len(content) - len(head)))
    def check(start, rest):
        path.write_bytes(start + content[len(head) :][:rest])
        with one_line_at_most(run_folder):
            read_all(run_folder)

    check()


@pytest.mark.usefixtures("seeded")
def test_a_damaged_checkpoint(tmp_path):
    path, model = tmp_path / "checkpoint.pt", torch.nn.Conv2d(1, 1, 1)
    adam = torch.optim.AdamW(model.parameters())
    save_checkpoint(path, model, adam, {"digest": "a", "history": [(1, 2.0)]})
    content, weights = path.read_bytes(), copy.deepcopy(model.state_dict())

    @settings(max_examples=150)
    @given(damage(content))
    def check(damaged):
        path.write_bytes(damaged)
        with one_line_at_most(tmp_path):
            assert load_checkpoint(path, model, adam, {"digest": "a"})["history"] == [(1, 2.0)]
            assert all(torch.equal(value, weights[k]) for k, value in model.state_dict().items())

    check()
    path.write_bytes(content)
    with pytest.raises(BadInput, match="begun with digest 'a', not 'b'"):
        load_checkpoint(path, model, adam, {"digest": "b"})


def test_what_is_missing_or_elsewhere_is_named(run_folder, tmp_path):
    (run_folder / "model.safetensors").rename(tmp_path / "weights")
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


def test_one_damaged_record_among_many_is_left_out_and_the_advice_works(
    smoke_runs, tmp_path, capsys
):
    runs = shutil.copytree(smoke_runs, tmp_path / "runs")
    [bad] = (runs / "smoke").glob("*-report-*")
    (bad / "run.json").write_text("{", encoding="utf-8")
    with pytest.warns(UserWarning, match=f"left out: .*{bad.name}.*remove its folder and train"):
        table = load_runs("smoke", runs)
    assert table.recipe.tolist() == ["corrected"]
    assert main(["evaluate", str(bad)]) == 2
    assert "damaged" in capsys.readouterr().err
    train = ["train", "--dataset", "shapes5", "--recipe", "report", "--profile", "smoke"]
    train += ["--loss", "mse_dice", "--coefficient", "20", "--runs", str(runs), "--quiet"]
    assert main(train) == 2
    assert "damaged" in capsys.readouterr().err
    shutil.rmtree(bad)
    assert main(train) == 0
    assert len(load_runs("smoke", runs)) == 2
