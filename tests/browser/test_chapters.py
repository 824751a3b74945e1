"""The six chapters in a real JupyterLab: all cells run, every widget is there and answers."""

import pytest
from conftest import open_notebook

from seghw.config import ROOT

CHAPTERS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOK = "window.jupyterapp.shell.currentWidget"
#: By chapter: the widgets that its explorers and its canvas are made of.
WIDGETS = {
    "01_aspp_model.ipynb": ".widget-slider",
    "02_losses.ipynb": ".widget-slider",
    "04_coefficient_analysis.ipynb": ".widget-dropdown",
    "05_evaluation.ipynb": ".widget-slider",
    "06_sam_extra_credit.ipynb": ".seghw-canvas canvas",
}


@pytest.fixture(scope="module", params=CHAPTERS)
def chapter(request, lab, browser):
    """A chapter after "run all cells", with what its browser's console said."""
    page, said = open_notebook(browser, lab, request.param)
    page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.set_default_timeout(400_000)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(
        f"{NOTEBOOK}.content.model.toJSON().cells.filter(c => c.cell_type === 'code')"
        ".every(c => c.execution_count)"
    )
    page.get_by_text("| Idle").wait_for()
    yield request.param, page, said
    page.evaluate(f"{NOTEBOOK}.sessionContext.shutdown()")
    page.close()


def test_every_cell_runs_and_every_widget_is_there(chapter):
    name, page, said = chapter
    cells = page.evaluate(f"{NOTEBOOK}.content.model.toJSON().cells")
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert outputs
    assert [o for o in outputs if o["output_type"] == "error"] == []
    errors = [o["text"] for o in outputs if o.get("name") == "stderr"]
    assert errors == []
    if name in WIDGETS:
        show(page, name)
        page.locator(WIDGETS[name]).first.wait_for(timeout=30_000)
    assert page.get_by_text("Error displaying widget").count() == 0
    ours = [text for kind, text in said if kind == "error" and "seghw" in text]
    assert ours == []


def show(page, name):
    """Scroll to the cell with the widget; JupyterLab draws only what is in sight."""
    word = "Canvas(" if "canvas" in WIDGETS[name] else "widgets.explore"
    cells = page.evaluate(f"{NOTEBOOK}.content.model.toJSON().cells")
    sources = ["".join(c["source"]) if c["cell_type"] == "code" else "" for c in cells]
    [place] = [k for k, source in enumerate(sources) if word in source]
    page.evaluate(f"{NOTEBOOK}.content.scrollToItem({place}, 'center')")


def test_an_explorer_answers_with_a_new_picture_beside_its_controls(chapter):
    """In a narrow dark window too: 800 pixels with the side bar open."""
    name, page, _ = chapter
    kind = WIDGETS.get(name, "")
    if not kind.startswith(".widget"):
        pytest.skip(f"{name} has no explorer of this kind")
    control, picture = page.locator(kind).first, page.locator(".jupyter-widgets img").first
    for key, option in (("ArrowRight", 5), ("ArrowLeft", 0)):
        show(page, name)
        picture.wait_for(timeout=30_000)
        before = picture.get_attribute("src")
        if kind == ".widget-slider":
            value = control.inner_text()
            control.locator(".noUi-handle").first.focus()
            page.keyboard.press(key)
        else:  # arrows are JupyterLab's own here: they would move to another cell
            control.locator("select").select_option(index=option)
        page.wait_for_function(
            "([img, old]) => document.querySelector(img)?.src !== old",
            arg=[".jupyter-widgets img", before],
            timeout=20_000,
        )
        assert kind != ".widget-slider" or control.inner_text() != value
        a, b = control.bounding_box(), picture.bounding_box()
        beside = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
        assert beside or a["y"] + a["height"] <= b["y"] or b["y"] + b["height"] <= a["y"]
        theme = "commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
        page.evaluate(f"window.jupyterapp.{theme}")
        page.set_viewport_size({"width": 800, "height": 900})
    page.set_viewport_size({"width": 1200, "height": 900})
