"""The prompt canvas in a real JupyterLab, by mouse and keyboard; state is asserted, not pixels."""

import json
import re

import numpy as np
import pytest
from conftest import open_notebook, run_first_cell
from PIL import Image
from pycocotools import mask as coco


@pytest.fixture(scope="module")
def page(lab, browser):
    page, _ = open_notebook(browser, lab, "canvas.ipynb")
    run_first_cell(page)
    page.locator(".seghw-canvas canvas").wait_for(timeout=90_000)
    yield page
    page.close()


@pytest.fixture
def canvas(page):
    """The canvas, before and after a test without any prompt."""
    canvas = page.locator(".seghw-canvas canvas")
    yield canvas
    page.get_by_role("button", name="Clear").click()
    told(page, "Click on an object")


def told(page, pattern):
    """Wait until the caption matches, and return it."""
    output = page.locator(".seghw-canvas output")
    output.filter(has_text=re.compile(pattern)).wait_for(timeout=20_000)
    return output.inner_text()


def score(page):
    return float(re.search(r"IoU with the .*?([0-9][.][0-9]+)", told(page, "predicted IoU"))[1])


def place(canvas, x, y):
    """Position on the canvas of a pixel of the 64 x 64 picture."""
    box = canvas.bounding_box()
    return {"x": (x + 0.5) * box["width"] / 64, "y": (y + 0.5) * box["height"] / 64}


@pytest.fixture(scope="module")
def center():
    """A pixel inside an object of the picture, and its box."""
    from seghw.report.results import Records
    from seghw.sam import first_click, objects_of

    data = Records().test_set("shapes")
    masks, exact = objects_of(data, 2)
    largest = int((masks.sum((1, 2)) * exact).argmax())  # of those that can be scored
    return first_click(masks[largest])[:2], data.boxes[2][largest][1:]


def drag(page, canvas, start, end):
    frame = canvas.bounding_box()
    for act, (x, y) in ((page.mouse.down, start), (page.mouse.up, end)):
        at = place(canvas, x, y)
        page.mouse.move(frame["x"] + at["x"], frame["y"] + at["y"], steps=5)
        act()


def test_a_drag_draws_a_box_and_moves_its_corner(page, canvas, center):
    x0, y0, x1, y1 = center[1]
    canvas.hover()
    page.mouse.down()
    canvas.dispatch_event("pointercancel")
    page.mouse.up()
    told(page, "Click on an object")
    drag(page, canvas, (x0, y0), (x1, y1))
    before = score(page)
    assert before > 0.7
    drag(page, canvas, (x1, y1), ((x0 + x1) / 2, (y0 + y1) / 2))
    page.wait_for_function(
        "before => !document.querySelector('.seghw-canvas output').textContent.includes(before)",
        arg=f"{before:.2f}",
    )
    assert score(page) < before, "half of the object is left out"


def test_the_keyboard_does_it_too(page, canvas, center):
    (x, y), (_, _, x1, y1) = center
    canvas.click(position=place(canvas, x1, y1))  # brings the cross there
    canvas.press("Escape")
    told(page, "Click on an object")
    for key, steps in (("ArrowLeft", x1 - x), ("ArrowUp", y1 - y)):
        for _ in range(int(steps)):
            canvas.press(key)  # from the corner to the middle
    canvas.press("Enter")
    assert score(page) > 0.7


def test_everything_has_a_color_an_object(page, canvas):
    page.get_by_role("button", name="Show everything").click()
    assert int(re.search(r"everything: (\d+) masks", told(page, "everything: "))[1]) >= 1


def test_zoom_keeps_the_pixel_under_the_cross(page, canvas, center):
    picture = "document.querySelector('.seghw-canvas canvas').toDataURL()"
    canvas.click(position=place(canvas, *center[0]))
    assert score(page) > 0.7
    page.get_by_role("button", name="Undo").click()
    told(page, "Click on an object")
    before = page.evaluate(picture)
    canvas.press("+")
    assert page.evaluate(picture) != before, "another part of the picture"
    canvas.click(position=place(canvas, *center[0]))
    assert score(page) > 0.7, "the same pixel lies there"
    canvas.press("-")


def test_what_the_canvas_takes_does_not_reach_jupyterlab(page, canvas):
    """Neither the menu of a right click nor arrows and Enter, which move between cells."""
    canvas.click(button="right", position={"x": 5, "y": 5})
    assert page.locator(".lm-Menu").count() == 0
    told(page, "predicted IoU|empty")
    mode = page.evaluate("document.querySelector('.jp-Notebook').className")
    for key in ("ArrowDown", "ArrowUp", "Enter", "Backspace", "Escape"):
        canvas.press(key)
    assert page.evaluate("document.querySelector('.jp-Notebook').className") == mode
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"


@pytest.mark.filterwarnings("ignore:__array__ impl")  # pycocotools and NumPy 2
def test_the_mask_can_be_taken_along(page, canvas, center):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    canvas.click(position=place(canvas, *center[0]))
    told(page, "predicted IoU")
    page.get_by_role("button", name="Copy COCO JSON").click()
    told(page, "copied")
    [annotation] = json.loads(page.evaluate("navigator.clipboard.readText()"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Save PNG").click()
    picture = np.array(Image.open(download.value.path()).convert("L"))
    assert (coco.decode(annotation["segmentation"]) * 255 == picture).all()
    assert annotation["area"] == (picture > 0).sum() > 0
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {})")  # as over plain http
    page.get_by_role("button", name="Copy COCO JSON").click()
    told(page, "refuses to copy")


def test_outputs_are_read_under_the_pointer_and_under_the_cross(lab, browser):
    """Channel c holds 96 c + 12 row + column - 0.5; pizza is predicted within (25, 85)."""
    page, _ = open_notebook(browser, lab, "outputs.ipynb")
    run_first_cell(page)
    canvas = page.locator(".seghw-canvas canvas")
    canvas.wait_for(timeout=90_000)
    frame = canvas.bounding_box()
    canvas.hover(position={"x": 2.5 * frame["width"] / 12, "y": 3.5 * frame["height"] / 8})
    assert (
        told(page, "row 3") == "row 3, column 2: pizza 38 (predicted), cat 134 (predicted), bus 230"
    )
    canvas.focus()
    canvas.press("ArrowUp")  # from the middle, row 4, column 6
    assert told(page, "row 3, column 6").endswith("pizza 42 (predicted), cat 138, bus 234")
    canvas.click()
    assert page.get_by_role("button", name="Undo").count() == 0, "nothing can be clicked here"
    page.close()
