"""The report as a document: its numbers come from records, its links lead somewhere."""

import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from seghw.config import RUNS
from seghw.errors import BadInput
from seghw.report.document import build as document
from seghw.report.document import build_report
from seghw.report.document.render import to_html, to_typst, typst_text
from seghw.results import Records

TEMPLATE = (Path(document.__file__).parent / "report.md").read_text(encoding="utf-8")
#: Enough for the MSE + Dice figures of both recipes; everything else is missing.
KEPT = (
    "shapes5-report-mse_dice-lr1e-03-lambda60-seed1",
    "shapes5-corrected-mse_dice-lr4e-03-lambda20-seed0",
)


def test_the_text_holds_no_number_of_its_own():
    text = re.sub(r"\{\{.*?\}\}", "", TEMPLATE)
    text = re.sub(r"```fault \S+\n(.*?)```", r"\1", text, flags=re.S)
    text = re.sub(r"```.*?```", "", text, flags=re.S)  # blocks: figure numbers and formulas
    text = re.sub(r"^>.*$", "", text, flags=re.M)  # quoted from the original
    text = re.sub(r"^#+ [0-9.]*", "", text, flags=re.M)
    assert re.findall(r"(?<![A-Za-z])[0-9][0-9.,]*", text) == []


def test_the_text_has_all_45_figures_and_all_claims_once():
    from seghw.claims.claims import CLAIMS
    from seghw.report.figures import BEYOND, parse_numbers

    shown = [n for part in re.findall(r"```figures (\S+)", TEMPLATE) for n in parse_numbers(part)]
    assert shown == list(range(1, 46))
    claims = re.findall(r"```claims (.*)", TEMPLATE)
    assert sorted(" ".join(claims).replace("\n", " ").split()) == sorted(c.key for c in CLAIMS)
    assert sorted(re.findall(r"```(?:beyond|fault) (\S+)", TEMPLATE)) == sorted(BEYOND)


def test_one_text_becomes_html_and_typst():
    text = "## A *b*\n\nIt is [0.5](#number-1) & `x`.\n\n```figures 3\n```\n"
    blocks = lambda name, arguments, code: f"{name}:{arguments}"  # noqa: E731
    assert to_html(text, blocks) == (
        '<h2 id="a-b">A <em>b</em></h2>\n<p>It is <a class="number" href="#number-1">0.5</a> &amp; '
        "<code>x</code>.</p>\nfigures:3"
    )
    assert to_typst(text, blocks).split("\n") == [
        "",
        "= A #emph[b] <a-b>",
        "It is #link(<number-1>)[0.5] & x.",
        "",
        "figures:3",
    ]
    assert typst_text("#a_b") == r"\#a\_b"


class Links(HTMLParser):
    """Anchors, links and images without a text alternative."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.targets, self.silent = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        if tag == "a" and found.get("href", "").startswith("#"):
            self.targets.append(found["href"][1:])
        if tag == "img" and not found.get("alt"):
            self.silent.append(found)


@pytest.fixture(scope="module")
def few_runs(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    for name in KEPT:
        shutil.copytree(RUNS / "laptop" / name, runs / "laptop" / name)
    return runs


@pytest.fixture(scope="module")
def built(few_runs, tmp_path_factory):
    return build_report(Records(few_runs), tmp_path_factory.mktemp("out") / "report")


def test_links_lead_somewhere_and_pictures_have_words(built):
    page = (built / "report.html").read_text(encoding="utf-8")
    found = Links(page)
    assert len(set(found.ids)) == len(found.ids), "an anchor stands twice"
    assert set(found.targets) <= set(found.ids)
    assert found.silent == []
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert len(page) < 15e6


def test_runs_that_are_missing_leave_a_gap_with_the_command(built):
    page = (built / "report.html").read_text(encoding="utf-8")
    figure = re.search(r'<figure id="fig-2">.*?</figure>', page, re.S)[0]
    assert "python -m seghw sweep" in figure
    assert "<img" not in figure
    assert '<figure id="fig-5">' in page
    assert "<img" in re.search(r'<figure id="fig-5">.*?</figure>', page, re.S)[0]


def test_the_same_records_give_the_same_bytes(built, few_runs, tmp_path):
    again = build_report(Records(few_runs), tmp_path / "report")
    for name in ("report.html", "report.pdf", "figures/report-05.svg"):
        first, second = ((folder / name).read_bytes() for folder in (built, again))
        # The page names the records by their place relative to itself.
        assert first == second or name == "report.html", name
    assert (built / "report.pdf").read_bytes().startswith(b"%PDF")


def test_without_any_runs_there_is_no_report(tmp_path):
    with pytest.raises(BadInput, match="holds no runs"):
        build_report(Records(tmp_path), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_the_page_is_alive_in_a_browser_and_says_nothing_to_its_console(built):
    chromium = os.environ.get("SEGHW_CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.skip("no Chromium here; SEGHW_CHROMIUM names one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page, said = browser.new_page(viewport={"width": 380, "height": 800}), []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((built / "report.html").as_uri())
        output = page.locator("#live-threshold output")
        before = output.inner_text()
        assert "threshold 0.50" in before
        page.locator("#live-threshold input").fill("1.2")  # nothing is as sure as that
        assert "threshold 1.20" in output.inner_text()
        rows = page.locator("#all-claims tbody tr:visible")
        everything = rows.count()
        page.locator("#filter").fill("not supported")
        assert 0 < rows.count() < everything
        assert page.evaluate("document.documentElement.scrollWidth") <= 380, "no sideways scrolling"
        assert page.locator("#live-clicks").count() == 0, "its runs are missing, so it is left out"
        browser.close()
    assert said == []
