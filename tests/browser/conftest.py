"""A real JupyterLab with the project's notebooks, and a browser that looks at it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import nbformat
import pytest

from seghw.config import ROOT

#: Notebooks of one cell, by name.
CELLS = {
    "canvas": """
from seghw.report.results import Records
from seghw.widgets import PromptCanvas
records = Records()
data = records.test_set("shapes").subset([2])
canvas = PromptCanvas(records.segmenter, data.images[0], data)
canvas
""",
    "outputs": """
import numpy as np
from seghw.config import COCO3
from seghw.widgets import OutputCanvas
output = np.arange(3 * 8 * 12, dtype=np.float32).reshape(3, 8, 12) - 0.5
OutputCanvas(np.zeros((3, 8, 12), np.uint8), output, COCO3)
""",
}


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """The address of a JupyterLab that serves copies of the chapters and of CELLS."""
    folder = tmp_path_factory.mktemp("lab")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, folder)
    for name, source in CELLS.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += [f"--port={port}", "--IdentityProvider.token=t", f"--notebook-dir={folder}"]
    command += ["--LabApp.expose_app_in_browser=True"]
    command += [f"--LabApp.app_settings_dir={ROOT / 'notebooks' / '.lab'}"]
    home = {"HOME": str(folder), "JUPYTER_CONFIG_DIR": str(folder / "config")}
    environment = {**os.environ, **home, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with suppress(OSError):
                urllib.request.urlopen(f"{address}/api?token=t", timeout=5).close()
                break
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):  # seen: it waits for a thread of its own
            server.wait(timeout=30)
        server.kill()
        server.wait()


def open_notebook(browser, address, name, **look):
    """A page with the notebook and a kernel that waits, and the list of what its console says."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, **look)
    said = []
    page.on("console", lambda message: said.append((message.type, message.text)))
    workspace = name.removesuffix(".ipynb")  # of its own, so that no other notebook is restored
    page.goto(f"{address}/lab/workspaces/{workspace}/tree/{name}?token=t")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    return page, said


def run_first_cell(page):
    page.locator(".jp-Notebook .jp-Cell").first.click()
    page.keyboard.press("Control+Enter")
