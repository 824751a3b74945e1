"""``python tests/execute_notebooks.py [NOTEBOOK ...]``: run notebooks in place, as committed.

``jupyter execute`` would also save when each cell ran and the state of every widget, which is
wrong as soon as a kernel restarts.
"""

import runpy
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from seghw.io import atomic_write

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"

runpy.run_path(str(FOLDER / "conftest.py"))
for path in map(Path, sys.argv[1:] or sorted(FOLDER.glob("*.ipynb"))):
    print(path.name, flush=True)
    notebook = nbformat.read(path, as_version=4)
    options = {"record_timing": False, "timeout": 600}
    NotebookClient(notebook, resources={"metadata": {"path": FOLDER}}, **options).execute()
    notebook.metadata.pop("widgets", None)  # the state of widgets whose kernel is gone
    with atomic_write(path) as temporary:
        nbformat.write(notebook, temporary)
