"""Each chapter that has knobs, with them turned: nothing breaks, no assertion fails."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
TURNED = {
    "01_aspp_model": {"IMAGES": 40, "SEED": 3},
    "02_losses": {"IMAGES": 32, "SEED": 5},
    "03_training_sweeps": {"COEFFICIENT": 60, "RATE": 2e-3, "BATCH": 6},
    "05_evaluation": {"SCENES": 16, "SEED": 5},
    "06_sam_extra_credit": {"IMAGES": 10, "CLICKS": 6},
}


@pytest.mark.parametrize("name", TURNED)
def test_knobs_can_be_turned(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    [cell] = [c for c in notebook.cells if "# Knobs:" in c.source]
    for knob, value in TURNED[name].items():
        turned = re.sub(rf"^{knob} = \S+", f"{knob} = {value}", cell.source, flags=re.MULTILINE)
        assert turned != cell.source, knob
        cell.source = turned
    options = {"timeout": 240, "resources": {"metadata": {"path": FOLDER}}}
    NotebookClient(notebook, **options).execute()
