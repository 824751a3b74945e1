"""The report as page and PDF: its numbers come from records, its links lead somewhere."""

import dataclasses
import html
import json
import math
import re
import shutil
from itertools import pairwise

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from seghw.config import RUNS
from seghw.errors import BadInput
from seghw.report import numbers, page
from seghw.report.beyond import BEYOND
from seghw.report.claims import CLAIMS
from seghw.report.figures import parse_numbers
from seghw.report.results import Records
from seghw.sam import load_sam

TEXT = (page.HERE / "report.md").read_text(encoding="utf-8")
#: Enough for the MSE + Dice figures of both recipes; everything else is missing.
FEW = (
    "shapes5-report-mse_dice-lr1e-03-lambda60-seed1",
    "shapes5-corrected-mse_dice-lr4e-03-lambda20-seed0",
)
#: As somebody might call a segmenter's folder.
NAME = "sam](javascript:alert(1)) <img src=x onerror=alert(2)> #strong[*] $x_"


def test_the_text_holds_no_number_of_its_own():
    text = re.sub(r"\{.*?\}|^[@>].*$|^#+ [0-9.]*", "", TEXT, flags=re.M)
    assert re.findall(r"(?<![A-Za-z])[0-9][0-9.,]*", text) == []


def test_the_text_has_all_45_figures_and_all_claims_once():
    shown = [n for part in re.findall(r"^@figures (\S+)", TEXT, re.M) for n in parse_numbers(part)]
    assert shown == list(range(1, 46))
    keys = " ".join(re.findall(r"^@claims (.*)", TEXT, re.M)).split()
    assert sorted(keys) == sorted(CLAIMS)
    assert sorted(re.findall(r"^@beyond (\S+)", TEXT, re.M)) == sorted(BEYOND)


def test_numbers_of_the_committed_runs():
    """Against run.json itself, read here without the table of runs."""
    records = Records()
    count = {w: int(numbers.runs(records, w)[0]) for w in ("all", "grid", "further", "changed")}
    assert count["all"] == len(list((RUNS / "laptop").glob("*/run.json")))
    assert count["all"] == count["grid"] + count["further"] + count["changed"]
    other = Records()  # of the shapes' runs none has the scenes' coefficient in the grid
    other.runs = records.runs.query("dataset == 'shapes5' and part == ''").assign(coefficient=100.0)
    assert numbers.runs(other, "grid")[0] == "0"
    text, run_ids = numbers.spread(records)
    scores = []
    for run in run_ids:
        record = json.loads((RUNS / run / "run.json").read_text(encoding="utf-8"))
        assert record["config"]["loss"] == "mse_dice"
        scores.append(record["epochs"][-1]["validation_iou"])
    assert text.startswith(f"{max(scores) - min(scores):.3f} ({len(scores)} seeds of coefficient ")
    assert len(scores) >= 16, "all seeds, not those of the grid alone"


@pytest.fixture(scope="module")
def few_runs(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    for name in FEW:
        shutil.copytree(RUNS / "laptop" / name, runs / "laptop" / name)
    return runs


def build(runs, out):
    records = Records(runs)
    records.segmenter = dataclasses.replace(load_sam(), name=NAME)
    return page.build_report(records, out)


@pytest.fixture(scope="module")
def built(few_runs, tmp_path_factory):
    return build(few_runs, tmp_path_factory.mktemp("out") / "report")


def test_links_lead_somewhere_and_pictures_have_words(built):
    text = (built / "report.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(text, "html.parser")
    ids = [tag["id"] for tag in soup.select("[id]")]
    assert len(set(ids)) == len(ids), "an anchor stands twice"
    assert {link["href"].removeprefix("#") for link in soup.select("a")} <= set(ids)
    assert soup.select('img:not([alt]), img[alt=""]') == []
    assert "http" not in text.replace("http://www.w3.org/", "")


def test_a_name_is_shown_and_never_read_as_markup(built):
    text = (built / "report.html").read_text(encoding="utf-8")
    shown = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert html.escape(NAME, quote=False) in shown.replace("&#34;", '"')
    assert "<img src=x" not in text
    assert NAME in (built / "report.json").read_text(encoding="utf-8")
    assert "javascript" not in (built / "report.typ").read_text(encoding="utf-8"), "text is data"
    assert b"/URI" not in (built / "report.pdf").read_bytes()


def test_runs_that_are_missing_leave_a_gap_with_the_command(built):
    text = (built / "report.html").read_text(encoding="utf-8")
    missing, there = (
        re.search(rf'<figure id="fig-{n}">.*?</figure>', text, re.S)[0] for n in (2, 5)
    )
    assert "python -m seghw sweep" in missing
    assert ("<img" in missing, "<img" in there) == (False, True)
    sources = json.loads((built / "report.json").read_text(encoding="utf-8"))["sources"]
    of_meaning = {source["meaning"]: source["text"] for source in sources}
    assert len(of_meaning) == len(sources), "no two numbers have the same words"
    shown = of_meaning["The report's sentences with the verdict not supported."]
    assert shown.isdigit()
    assert "(no runs)" not in [of_meaning[m] for m in of_meaning if "can be predicted" in m]
    assert "(1 seed)" in str(of_meaning), "and not 1 seeds"


def test_seeds_are_counted_and_json_holds_finite_numbers_only(monkeypatch):
    data = dict.fromkeys(("title", "rule", "blocks", "figures", "rows", "settings"), "")
    source = dict.fromkeys(("text", "meaning", "function"), "")
    data["sources"] = [source | {"runs": [{"name": "a", "seeds": s}]} for s in ("12", "1-2")]
    text = page.html(data, {}, page.HERE)
    assert ", seed 12<" in text
    assert ", seeds 1-2<" in text
    table = pd.DataFrame({"iteration": [1, 2, 3], "mse": [1, math.nan, math.inf], "dice": 2.0})
    monkeypatch.setattr(page, "history", lambda _: table)
    curves = page._curves(Records())
    assert "NaN" not in json.dumps(curves, allow_nan=False)
    assert curves[0]["mse"] == [[1], [1.0]]


def test_the_same_records_give_the_same_bytes(built, few_runs, tmp_path):
    again = build(few_runs, tmp_path / "report")
    for name in ("report.html", "report.pdf", "figures/report-05.svg"):
        assert (built / name).read_bytes() == (again / name).read_bytes(), name
    assert (built / "report.pdf").read_bytes().startswith(b"%PDF")


def test_without_any_runs_there_is_no_report(tmp_path):
    with pytest.raises(BadInput, match="holds no runs"):
        page.build_report(Records(tmp_path), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_the_page_is_alive_in_a_browser_and_says_nothing_to_its_console(built, browser):
    tab, said = browser.new_page(viewport={"width": 390, "height": 800}), []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto((built / "report.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390, "no sideways scrolling"
    output = tab.locator("#live-threshold > output")
    assert "threshold 0.50" in output.inner_text()
    tab.locator("#live-threshold input").fill("1.2")  # nothing is as sure as that
    assert "threshold 1.20" in output.inner_text()
    assert tab.locator("#live-clicks").count() == 0, "its runs are missing, so it is left out"
    rows = tab.locator("#measurements tbody tr:visible")
    deciding = rows.count()
    tab.locator("#all-rows").check()
    assert rows.count() > deciding > 0
    tab.get_by_role("button", name="effect").click()
    values = "[...document.querySelectorAll('#measurements td[data-name=effect]')]"
    shown = [float(v) for v in tab.evaluate(f"{values}.map(c => c.dataset.value)") if v]
    assert all(a <= b for a, b in pairwise(shown)), "as numbers"
    assert shown[0] < 0 < shown[-1]
    tab.locator("#filter").fill("shapes5 not supported")
    assert 0 < rows.count() < deciding
    tab.locator("#filter").fill("no such words")
    assert rows.count() == 0
    assert "No row" in tab.locator("#left").inner_text()
    tab.close()
    assert said == []
