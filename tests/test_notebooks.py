"""The notebooks are committed executed, short-celled, and small; nbval compares their outputs."""

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def cells(path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code(cells: list[dict]) -> list[dict]:
    return [c for c in cells if c["cell_type"] == "code" and "".join(c["source"]).strip()]


def test_it_was_executed_from_top_to_bottom(cells):
    counts = [cell["execution_count"] for cell in code(cells)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_cell_failed_warned_or_left_a_bar(cells):
    for cell in code(cells):
        for output in cell["outputs"]:
            assert output["output_type"] != "error", "".join(cell["source"])
            assert output.get("name") != "stderr", "".join(output["text"])
            text = "".join(output.get("data", {}).get("text/plain", ""))
            assert "%|" not in text, "".join(cell["source"])


def test_cells_are_short(cells):
    """15 lines at most, blank ones aside; a network or a loop that is one whole has 25."""
    for cell in code(cells):
        most = 25 if "whole" in cell["metadata"].get("tags", []) else 15
        lines = [line for line in "".join(cell["source"]).splitlines() if line.strip()]
        assert len(lines) <= most, lines[0]


def test_it_has_one_title_and_ends_with_exercises(cells):
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert len(re.findall(r"^# ", text, flags=re.MULTILINE)) == 1
    assert re.search(r"^## Summary", text, flags=re.MULTILINE)
    assert re.search(r"^## Exercises", text, flags=re.MULTILINE)


def test_it_is_small_and_names_no_folder_of_its_author(path):
    assert path.stat().st_size < 1_000_000
    found = re.search(r"/(home|root|Users|tmp|work)/[\w./-]+", path.read_text(encoding="utf-8"))
    assert not found, found


def run_in_kernel(startup: Path, *sources: str) -> tuple[list[str], list[str]]:
    """What cells print or show in a kernel with that startup file, and their errors."""
    notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, sources)])
    client = NotebookClient(notebook, allow_errors=True, timeout=300)
    client.execute(env={**os.environ, "PYTHONSTARTUP": str(startup)})
    shown = [output for cell in notebook.cells for output in cell.outputs]
    texts = [o.get("text") or o.data["text/plain"] for o in shown if {"text", "data"} & {*o}]
    return texts, [output.evalue for output in shown if "evalue" in output]


def test_make_lab_s_kernels_say_what_to_run_before_the_first_cell_has_run():
    path = FOLDER / ".lab/startup.py"
    printed, missing = run_in_kernel(path, "records.runs", "explain_in")
    assert printed == ["If a cell above has not run yet: Run > Run All Above Selected Cell.\n"] * 2
    assert missing == [f"name {name!r} is not defined" for name in ("records", "explain_in")]


def test_no_bar_of_any_kind_reaches_an_output():
    """Text or widget, by whichever door of tqdm's; a chapter still begins with nothing defined."""
    bar = "for _ in {}(range(3), disable=False): pass"
    doors = ("tqdm.tqdm", "tqdm.auto.tqdm", "tqdm.notebook.tqdm")
    cells = ["assert 'tqdm' not in globals(), 'the startup file leaves a name'"]
    cells += ["import tqdm, tqdm.auto, tqdm.notebook", *map(bar.format, doors)]
    startup = Path(__file__).with_name("kernel_startup.py")
    assert run_in_kernel(startup, *cells) == ([], [])
