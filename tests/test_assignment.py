"""The grader grades: the reference has 100 points, and planted mistakes are caught."""

import json
import re
import shutil
import zipfile

import pytest

from seghw.assignment import CHECKS, fault, reference
from seghw.assignment.edition import NOTEBOOKS, make_edition, read_notebook, source_of, tasks
from seghw.assignment.grade import grade, read_submission, run_tasks, submit
from seghw.assignment.runner import _PRELUDE
from seghw.config import ROOT
from seghw.errors import BadInput

# pycocotools 2.0 returns arrays by an interface that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
TASKS = {task.name: task for task in tasks()}
#: Task, what the mistake is, and the change of the reference solution that makes it.
MISTAKES = [
    ("residual", "no shortcut", "return x + out", "return out"),
    ("residual", "no ReLU", "F.relu(norm2(conv2(out)))", "norm2(conv2(out))"),
    ("residual", "no normalization", "norm1(conv1(x))", "conv1(x)"),
    ("residual", "ReLU before the norm", "F.relu(norm1(conv1(x)))", "norm1(F.relu(conv1(x)))"),
    ("residual", "second half left out", "out = F.relu(norm2(conv2(out)))", "pass"),
    ("reach", "taps counted without the gaps", "rate * (kernel - 1) + 1", "kernel"),
    ("reach", "one cell short", "rate * (kernel - 1) + 1", "rate * (kernel - 1)"),
    ("reach", "rate times kernel", "rate * (kernel - 1) + 1", "rate * kernel"),
    ("aspp_forward", "no merge", "merge(torch.cat(maps, dim=1))", "torch.cat(maps, dim=1)"),
    ("aspp_forward", "branches added", "merge(torch.cat(maps, dim=1))", "sum(maps)"),
    ("aspp_forward", "1 x 1 last", "[point(x)] + [branch(x) for branch in atrous]",
     "[branch(x) for branch in atrous] + [point(x)]"),
    ("aspp_forward", "branches fed by the 1 x 1", "branch(x) for", "branch(point(x)) for"),
    ("taps_on_map", "not squared", "** 2", "** 1"),
    ("taps_on_map", "one outer tap", "1 + 2 * outer", "1 + outer"),
    ("taps_on_map", "negative overlap", "max(side - rate, 0)", "(side - rate)"),
    ("written_rows", "dilation forgotten", "dilation * k", "k"),
    ("written_rows", "padding added", "- padding", "+ padding"),
    ("written_rows", "rows outside kept", "if 0 <= row < rows", ""),
    ("written_rows", "stride forgotten", "stride * i", "i"),
    ("dense_head", "the dotted head", "classes, 4, stride=2, padding=1",
     "classes, 3, stride=2, dilation=2, padding=2, output_padding=1"),
    ("dense_head", "kernel 3", "classes, 4, stride=2, padding=1",
     "classes, 3, stride=2, padding=1, output_padding=1"),
    ("dense_head", "kernel 1", "classes, 4, stride=2, padding=1",
     "classes, 1, stride=2, output_padding=1"),
    ("dense_head", "no enlargement", "classes, 4, stride=2, padding=1", "classes, 3, padding=1"),
    ("printed_dice", "factor 2", "1 - ab /", "1 - 2 * ab /"),
    ("printed_dice", "mean for sum", ".sum()\n", ".mean()\n"),
    ("printed_dice", "whole batch at once", ".sum((2, 3))", ".sum()"),
    ("printed_dice", "squares forgotten", "pred.square()", "pred"),
    ("printed_dice", "score for loss", "(1 - ab / (aa + bb + 1e-6))", "(ab / (aa + bb + 1e-6))"),
    ("dice", "missing factor 2", "2 * ab", "ab"),
    ("dice", "summed", ".mean()", ".sum()"),
    ("dice", "absent class unpunished", "aa / (aa + 0.3 * pred[0, 0].numel())",
     "torch.ones_like(aa)"),
    ("dice", "absent class left out", "aa / (aa + 0.3 * pred[0, 0].numel())", "0 * aa"),
    ("dice", "area of the whole batch", "pred[0, 0].numel()", "pred.numel()"),
    ("dice_gradient", "sign", "4 * ab * pred / s**2 - 2 * target / s",
     "2 * target / s - 4 * ab * pred / s**2"),
    ("dice_gradient", "half of the quotient rule", "4 * ab * pred / s**2 - 2", "-2"),
    ("dice_gradient", "factor 2 forgotten", "4 * ab * pred / s**2", "2 * ab * pred / s**2"),
    ("gradient_norm", "mean absolute value", "gradient.norm()", "gradient.abs().mean()"),
    ("gradient_norm", "caller's tensor changed", "pred.detach().requires_grad_(True)",
     "pred.requires_grad_(True)"),
    ("gradient_norm", "value of the loss", "gradient.norm()", "loss(leaf, target)"),
    ("combined", "coefficient on the MSE", "F.mse_loss(pred, target) + coefficient *",
     "coefficient * F.mse_loss(pred, target) +"),
    ("combined", "coefficient forgotten", "coefficient * dice", "dice"),
    ("combined", "detached", "dice(pred, target)", "dice(pred, target).item()"),
    ("learning_rate", "no warm-up", "min(1.0, 10 * share) * ", ""),
    ("learning_rate", "cosine to minus one", "(1 + np.cos(np.pi * share)) / 2",
     "np.cos(np.pi * share)"),
    ("learning_rate", "warm-up over everything", "10 * share", "share"),
    ("training_step", "gradient not cleared", "optimizer.zero_grad()", "pass"),
    ("training_step", "evaluation mode", "model.train()", "model.eval()"),
    ("training_step", "no step", "optimizer.step()", "pass"),
    ("training_step", "cleared before the step", "optimizer.step()",
     "optimizer.zero_grad()\n    optimizer.step()"),
    ("training_step", "a tensor returned", "value.item()", "value"),
    ("to_train", "failed runs given up", '(None, "failed")', "(None,)"),
    ("to_train", "diverged runs repeated", '(None, "failed")', '(None, "failed", "diverged")'),
    ("to_train", "everything again", '(None, "failed")', '(None, "failed", "finished")'),
    ("resume", "without the optimizer", 'optimizer.load_state_dict(checkpoint["optimizer"])', ""),
    ("resume", "without the weights", 'model.load_state_dict(checkpoint["model"])', ""),
    ("resume", "the last epoch again", '["epoch"] + 1', '["epoch"]'),
    ("best_run", "by loss", 'run["epochs"][-1]["validation_iou"]', '-run["loss"]'),
    ("best_run", "by its best epoch", 'run["epochs"][-1]["validation_iou"]',
     'max(e["validation_iou"] for e in run["epochs"])'),
    ("best_run", "diverged runs count", "if finished else -np.inf", ""),
    ("best_run", "the worst", "max(runs", "min(runs"),
    ("balancing_coefficient", "upside down", "np.asarray(mse_norms) / np.asarray(dice_norms)",
     "np.asarray(dice_norms) / np.asarray(mse_norms)"),
    ("balancing_coefficient", "mean", "np.median", "np.mean"),
    ("paired_interval", "ddof 0", "ddof=1", "ddof=0"),
    ("paired_interval", "normal quantile", "t_quantile(n - 1)", "1.959964"),
    ("paired_interval", "no square root", "np.sqrt(n)", "n"),
    ("verdict", "margin ignored", "if -margin < low and high < margin:", "if False:"),
    ("verdict", "touching counts", "if low > 0", "if low >= 0"),
    ("verdict", "difference first", "if -margin < low and high < margin:",
     "if -margin < low < 0 < high < margin:"),
    ("wanted", "one side is enough", 'min(objects[0]["bbox"][2:])', 'max(objects[0]["bbox"][2:])'),
    ("wanted", "several objects", "len(objects) == 1", "len(objects) >= 1"),
    ("wanted", "crowds count", ' and not a["iscrowd"]', ""),
    ("wanted", "xyxy for xywh", '["bbox"][2:]', '["bbox"][:2]'),
    ("wanted", "strictly larger", ">= least", "> least"),
    ("polygon_mask", "first part only", "frPyObjects(parts,", "frPyObjects(parts[:1],"),
    ("polygon_mask", "height and width swapped", "height, width))", "width, height))"),
    ("polygon_mask", "numbers for bool", ".astype(bool)", ""),
    ("decode_bands", "closed below", "(output > low)", "(output >= low)"),
    ("decode_bands", "any band", "(output > low) & (output < high)",
     "((output[..., None] > low.ravel()) & (output[..., None] < high.ravel())).any(-1)"),
    ("decode_bands", "no upper end", " & (output < high)", ""),
    ("iou_from_counts", "Dice", "tp / union", "2 * tp / (union + tp)"),
    ("iou_from_counts", "1 where nothing is", "else np.nan", "else 1.0"),
    ("iou_from_counts", "recall", "union = tp + fp + fn", "union = tp + fn"),
    ("boundary_f", "areas", "mask & ~binary_erosion(mask)", "mask"),
    ("boundary_f", "arithmetic mean", "2 * exact * complete / (exact + complete)",
     "(exact + complete) / 2"),
    ("boundary_f", "one way", "near(lines[1], lines[0])", "near(lines[0], lines[1])"),
    ("boundary_f", "strictly nearer", "<= tolerance", "< tolerance"),
    ("bootstrap", "without replacement", "rng.integers(n, size=n)", "rng.permutation(n)"),
    ("bootstrap", "half of the images", "rng.integers(n, size=n)", "rng.integers(n, size=n // 4)"),
    ("bootstrap", "wrong tails", "(0.025, 0.975)", "(0.25, 0.75)"),
    ("bootstrap", "many more draws each", "rng.integers(n, size=n)", "rng.integers(n, size=9 * n)"),
    ("box_of", "rows for columns", "columns.min(), rows.min(), columns.max(), rows.max()",
     "rows.min(), columns.min(), rows.max(), columns.max()"),
    ("box_of", "xywh for xyxy", "columns.max(), rows.max()",
     "np.ptp(columns) + 1, np.ptp(rows) + 1"),
    ("box_of", "one beyond", "columns.max(), rows.max()", "columns.max() + 1, rows.max() + 1"),
    ("first_click", "the click in a corner", "depth.argmax()", "mask.argmax()"),
    ("first_click", "row first", "return column, row", "return row, column"),
    ("first_click", "no padding", "distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]",
     "distance_transform_edt(mask)"),
    ("first_click", "center of mass", "np.unravel_index(depth.argmax(), mask.shape)",
     "(int(v.mean()) for v in np.nonzero(mask))"),
    ("match", "first come", "linear_sum_assignment(-iou)",
     "(np.arange(len(iou)), iou.argmax(1))"),
    ("match", "worst pairs", "linear_sum_assignment(-iou)", "linear_sum_assignment(iou)"),
    ("match", "no overlap is a match", "> 0", ">= 0"),
]  # fmt: skip


def defined(name, source):
    space = {}
    exec(_PRELUDE, space)
    exec(source, space)
    return space[name]


def test_the_tasks_add_up_to_100_points_and_all_have_checks_and_a_package_version():
    assert len(TASKS) >= 24
    assert sum(task.points for task in TASKS.values()) == 100
    assert TASKS.keys() == CHECKS.keys()
    for name, task in TASKS.items():
        assert hasattr(reference, name)
        body = [ln for ln in task.source.split("### BEGIN SOLUTION")[1].splitlines() if ln.strip()]
        assert 1 <= len(body) - 1 <= 20, f"{name}: 1 to 20 lines of solution"


@pytest.mark.parametrize("name", TASKS)
def test_the_solution_and_the_package_both_pass_and_nothing_does_not(name):
    for seed in range(4):
        assert fault(name, defined(name, TASKS[name].source), seed) is None
        assert fault(name, getattr(reference, name), seed) is None
    assert fault(name, lambda *_, **__: None) is not None


@pytest.mark.parametrize(("name", "mistake", "old", "new"), MISTAKES, ids=lambda v: str(v)[:30])
def test_a_planted_mistake_is_caught_by_its_task(name, mistake, old, new):
    source = TASKS[name].source
    assert old in source, f"{mistake}: the solution has no {old!r}"
    wrong = defined(name, source.replace(old, new))
    found = [fault(name, wrong, seed) for seed in (0, 1, 2)]
    assert any(found), f"{mistake} was not caught"


def test_there_are_mistakes_enough():
    assert len(MISTAKES) >= 60
    assert {name for name, *_ in MISTAKES} == TASKS.keys()


def test_another_right_way_of_writing_it_passes():
    other = """
def residual(tensor, conv_a, norm_a, conv_b, norm_b):
    y = norm_a(conv_a(tensor)).clamp(min=0)
    return tensor + norm_b(conv_b(y)).clamp(min=0)
"""
    assert fault("residual", defined("residual", other)) is None


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    return make_edition(tmp_path_factory.mktemp("dist") / "assignment")


def test_links_of_the_edition_lead_somewhere(edition):
    """As it lies in dist/assignment; the report's page is not built for this."""
    place, found = ROOT / "dist/assignment", set()
    for path in edition.glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        found |= set(re.findall(r"\]\((?!https?:)([^)#]+)", text))
    assert found
    for link in found - {"../report/report.html"}:
        target = (place / link).resolve()
        assert target.is_file() or (edition / link).is_file(), link


def test_no_solution_hidden_test_or_output_is_in_the_edition(edition):
    text = "\n".join(path.read_text(encoding="utf-8") for path in edition.iterdir())
    assert "SOLUTION" not in text
    assert "HIDDEN TESTS" not in text
    for path in edition.glob("*.ipynb"):
        cells = read_notebook(path)["cells"]
        assert all(not cell.get("outputs") for cell in cells)
        shown = "\n".join(source_of(cell) for cell in cells)
        assert "<summary>Solution" not in shown
        for task in TASKS.values():
            inside = re.search(r"BEGIN SOLUTION\n(.*?)\n *### END", task.source, re.S)[1]
            lines = [ln.strip() for ln in inside.splitlines() if len(ln.strip()) > 25]
            assert not [ln for ln in lines if task.notebook == path.name and ln in shown], task.name
    notebook = read_notebook(edition / "04_coefficient_analysis.ipynb")
    stubs = [c for c in notebook["cells"] if "raise NotImplementedError()" in source_of(c)]
    assert len(stubs) == 3


def test_the_edition_is_not_written_over_somebodys_work(edition):
    with pytest.raises(FileExistsError, match="already exists"):
        make_edition(edition)


def test_the_untouched_edition_runs_to_its_end(edition):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(edition / "02_losses.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120).execute()
    told = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", ()))
    assert told.count("later cells use the package's version") == 5


def with_cells(folder, **sources):
    """The reference notebooks, handed in with some task cells replaced."""
    shutil.copytree(NOTEBOOKS, folder)
    for path in folder.glob("0*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            about = cell["metadata"].get("nbgrader", {})
            if about.get("grade"):
                cell["source"] = "pass  # the student took the test out"
            elif about.get("grade_id") in sources:
                cell["source"] = sources[about["grade_id"]]
        path.write_text(json.dumps(notebook), encoding="utf-8")
    return folder


HOSTILE = {
    "reach": "def reach(kernel, rate):\n    while True:\n        pass",
    "residual": "import os\nos._exit(0)",
    "combined": "x = [0] * 10**10\ndef combined(*a):\n    return 0",
    "best_run": "import shutil\nshutil.rmtree({victim!r})",
    "box_of": "import os\ndef box_of(mask):\n    os.remove({victim!r} + '/file')",
    "verdict": "open({victim!r} + '/file', 'w').write('changed')",
    "wanted": "import sys\nfor _ in range(2 * 10**6):\n    print('x' * 500)\nwanted = print",
    "to_train": "import subprocess\nsubprocess.run(['touch', {victim!r} + '/made'])",
    "dice": "raise SystemExit",
    "match": "import os\nfor k in range(3, 9):\n    try:\n        os.write(k, b'junk\\n')\n"
    "    except OSError:\n        pass",
}


def test_a_hostile_submission_costs_its_own_points_and_nothing_else(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("kept")
    sources = {k: v.replace("{victim!r}", repr(str(victim))) for k, v in HOSTILE.items()}
    handed_in = with_cells(tmp_path / "handed_in" / "mallory", **sources)
    faults = run_tasks(read_submission(handed_in), seconds=3)
    assert {name for name, found in faults.items() if found} == HOSTILE.keys()
    assert "ran longer" in faults["reach"]
    assert "ended its process" in faults["residual"]
    assert "MemoryError" in faults["combined"]
    assert "not allowed" in faults["best_run"]
    assert faults["match"], "it wrote into the grader's results"
    assert (victim / "file").read_text() == "kept"
    assert [path.name for path in victim.iterdir()] == ["file"]


def test_a_class_is_graded_into_a_csv_and_pages(tmp_path, edition, capsys):
    folder = tmp_path / "handed_in"
    with_cells(folder / "ada", reach="def reach(kernel, rate):\n    return kernel * rate")
    with zipfile.ZipFile(folder / "bob.zip", "w") as archive:
        for path in edition.glob("0*.ipynb"):
            archive.write(path, f"some folder/{path.name}")
    (folder / "eve.zip").write_bytes(b"no zip at all")
    table = grade(folder, tmp_path / "grades").read_text(encoding="utf-8").splitlines()
    head, *rows = [line.split(",") for line in table]
    assert head[:2] == ["student", "points"]
    assert [row[:2] for row in rows] == [["ada", "98"], ["bob", "0"], ["eve", "0"]]
    assert "no zip" in rows[2][-1]
    page = (tmp_path / "grades" / "feedback" / "ada.html").read_text(encoding="utf-8")
    assert "98 of 100 points" in page
    assert "spans" in page, "the idea that failed"


def test_a_submission_is_a_zip_that_can_be_graded(edition, capsys):
    made = submit("Ada Lovelace", edition)
    assert made.name == "submission-Ada-Lovelace.zip"
    assert read_submission(made).keys() == TASKS.keys()
    assert capsys.readouterr().out.count("not solved yet") == len(TASKS)
    with pytest.raises(BadInput, match="needs your name"):
        submit("  ", edition)


def test_what_is_no_submission_is_refused_in_one_line(tmp_path):
    for make, told in ((lambda p: p.mkdir(), "no notebook"), (lambda p: p.touch(), "no zip")):
        path = tmp_path / f"x{told[-3:]}"
        make(path)
        with pytest.raises(BadInput, match=told):
            read_submission(path)
    with pytest.raises(BadInput, match="no zip and no folder"):
        grade(tmp_path / "nowhere", tmp_path / "out")
