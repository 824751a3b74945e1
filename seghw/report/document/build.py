"""Draw, fill in, write: ``report.html`` and ``report.pdf`` from run records."""

import base64
import json
import os
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import typst
from markupsafe import Markup
from matplotlib import get_data_path
from tqdm.auto import tqdm

from seghw.claims import all_results
from seghw.claims.stats import RULE, Result, by_claim, sentence_verdict
from seghw.claims.table import basis, effect_text, question_text, reading_text
from seghw.config import DATASETS, RECIPES, ROOT
from seghw.errors import BadInput
from seghw.io import atomic_write
from seghw.report.claims_figures import draw_claims
from seghw.report.document.live import live_data
from seghw.report.document.numbers import Numbers
from seghw.report.document.render import to_html, to_typst, typst_text
from seghw.report.figures import BEYOND, FIGURES, parse_numbers
from seghw.report.plots import SET_NAMES, Drawn, describe, use_style
from seghw.results import Records

#: What the page's live parts are called.
LIVE = {
    "curves": "Training curves, to compare",
    "threshold": "The decision threshold, to move",
    "clicks": "A click for the segmenter",
}
#: Of a table of measurements; within a claim's box the sentence goes without saying.
HEADS = (
    *("sentence", "data", "recipe", "measured"),
    *("effect [95 % interval]", "rests on", "verdict"),
)


@dataclass(frozen=True)
class Picture:
    """A drawn figure, or the reason why there is none."""

    recipe: str  # "" for those beyond the report
    caption: str
    alt: str = ""
    svg: Path | None = None

    @property
    def base64(self) -> str:
        return base64.b64encode(self.svg.read_bytes()).decode()

    @property
    def width(self) -> str:
        """In print, curves the whole; pictures of images, which hold less detail, less."""
        return "100%" if "line" in self.alt or not self.recipe else "74%"


def build_report(records: Records | None = None, out: str | Path = ROOT / "dist/report") -> Path:
    """Write ``report.html``, ``report.pdf`` and the figures in it as SVG.

    Nothing is trained and nothing is fetched; the same records give the same bytes. What has no
    runs leaves a gap that names the command which trains them.

    Args:
        records: what it rests on; default, the committed ones.
        out: folder, made if missing.

    Returns:
        The folder.

    Raises:
        BadInput: there are no runs at all.
    """
    records, out = records or Records(), Path(out)
    if not records.all_runs:
        raise BadInput(f"{records.folder / records.profile} holds no runs; `sweep` trains them")
    results = all_results(records)
    with mpl.rc_context():
        use_style()
        document = Document(records, results, out)
        document.draw()
    page, print_out = document.html(), document.typst()
    with atomic_write(out / "report.html") as path:
        path.write_text(page, encoding="utf-8")
    with atomic_write(out / "report.typ") as path:
        path.write_text(print_out, encoding="utf-8")
    fonts = Path(get_data_path()) / "fonts/ttf"  # as in the figures, and on every machine
    pdf = typst.compile(
        out / "report.typ",
        root=out,
        font_paths=[fonts],
        ignore_system_fonts=True,
        pdf_standards=["ua-1"],
        timestamp=0,
    )
    with atomic_write(out / "report.pdf") as path:
        path.write_bytes(pdf)
    return out


class Document:
    """The text with its figures, numbers and verdicts, for both renderers."""

    def __init__(self, records: Records, results: Sequence[Result], out: Path) -> None:
        self.records, self.results, self.out = records, results, out
        self.claims = {rows[0].claim.key: rows for rows in by_claim(results)}
        self.numbers = Numbers(records, results)
        self.pictures: dict[str, list[Picture]] = {}

    def draw(self) -> None:
        """Draw every figure into ``out/figures``."""
        bar = tqdm(total=len(FIGURES) * len(RECIPES) + len(BEYOND), desc="drawing", unit="figure")
        with bar:
            for number, draw in FIGURES.items():
                self.pictures[f"fig-{number}"] = []
                for recipe in RECIPES:
                    drawing = partial(draw, self.records, recipe)
                    picture = self._draw(f"{recipe}-{number:02d}", recipe, drawing)
                    self.pictures[f"fig-{number}"].append(picture)
                    bar.update()
            for name, draw in {**BEYOND, "claims": lambda _: draw_claims(self.results)}.items():
                key = f"fig-{name.replace('_', '-')}"
                self.pictures[key] = [self._draw(name, "", lambda d=draw: d(self.records))]
                bar.update()

    def _draw(self, name: str, recipe: str, draw: Callable[[], Drawn]) -> Picture:
        try:
            figure, caption = draw()
        except BadInput as error:
            return Picture(recipe, f"No figure: {error}")
        path = self.out / "figures" / f"{name}.svg"
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
        return Picture(recipe, caption, describe(figure), path)

    @cached_property
    def text(self) -> str:
        """The Markdown with its numbers."""
        datasets = [run.config.dataset for run in self.records.all_runs]
        names = " and ".join(SET_NAMES[name] for name in DATASETS if name in datasets)
        sam = self.records.segmenter
        is_sam = "It is a published SAM." if sam.side >= 1024 else (
            "It is not SAM: what it does says nothing of what SAM can do, and the sentences on SAM "
            "stay undecided."
        )  # fmt: skip
        return TEMPLATES.get_template("report.md").render(
            number=self.numbers.number,
            iou=self.numbers.iou,
            effect=self.numbers.effect,
            verdicts=self.numbers.verdicts,
            data_line=f"Profile of the runs: {self.records.profile}. Data: {names}. "
            f"Segmenter: {sam.name}.",
            segmenter_line=f"The segmenter here is {sam.name}. {is_sam}",
        )

    def html(self) -> str:
        """The page, complete in one file."""
        body = to_html(self.text, partial(self._block, "blocks.html"))
        live = json.dumps(live_data(self.records)).replace("</", "<\\/")
        sources = [
            (source, [(path, _relative(path, self.out)) for path in source.records])
            for source in self.numbers.sources
        ]
        return TEMPLATES.get_template("page.html").render(
            body=body, live=live, sources=sources, figures=self._titles(), rule=RULE
        )

    def typst(self) -> str:
        """The document's source for Typst."""
        body = to_typst(self.text, partial(self._block, "blocks.typ"))
        titles = [(key, title) for key, title in self._titles() if f"<{key}>" in body]
        return TEMPLATES.get_template("print.typ").render(
            body=body, sources=self.numbers.sources, figures=titles, rule=RULE
        )

    def _block(self, template: str, name: str, arguments: str, code: str) -> str:
        """One of the text's own blocks, in the template's markup."""
        pictured = name in ("figures", "beyond", "fault")
        told = ""
        if name == "fault":
            markup = to_html if template.endswith(".html") else to_typst
            told = markup(code, partial(self._block, template))
        claims = (self.claims[key] for key in arguments.split()) if name == "claims" else ()
        return TEMPLATES.get_template(template).render(
            name=name,
            arguments=arguments,
            code=code,
            told=told,
            figures=[(k, _label(k), self.pictures[k]) for k in _keys(name, arguments) if pictured],
            claims=[_told(rows) for rows in claims],
            rows=_cells(self.results) if name == "table" else (),
        )

    def _titles(self) -> list[tuple[str, str]]:
        """Every figure's anchor and short title, in the order of the text."""
        return [
            (key, f"{_label(key)}. {self.pictures[key][0].caption.split('. ')[0]}.")
            for key in self.pictures
        ]


def _told(rows: Sequence[Result]) -> dict[str, Any]:
    """What a claim's box says."""
    claim, verdict = rows[0].claim, sentence_verdict(rows)
    about = {"key": claim.key, "text": claim.text, "question": question_text(rows)}
    return {**about, "verdict": verdict, "rows": _cells(rows)}


def _cells(rows: Sequence[Result]) -> list[list[str]]:
    """A line for each measurement, under ``HEADS``."""
    lines = []
    for row in rows:
        effect = row.effect
        line = [row.claim.text, effect.dataset, effect.recipe, reading_text(effect)]
        lines.append([*line, effect_text(effect), basis(effect), row.verdict + " *" * row.decides])
    return lines


def _keys(name: str, arguments: str) -> list[str]:
    if name == "figures":
        return [f"fig-{number}" for number in parse_numbers(arguments)]
    return [f"fig-{arguments.replace('_', '-')}"]


def _label(key: str) -> str:
    name = key.removeprefix("fig-")
    return f"Figure {name}" if name.isdigit() else name.replace("-", " ").capitalize()


def _relative(path: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # on another drive
        return path.as_posix()


def _formula(markup: str) -> Markup:
    """A formula as SVG in the page's text color."""
    markup = markup.strip()
    source = f"#set page(width: auto, height: auto, margin: 2pt)\n#set text(size: 13pt)\n${markup}$"
    svg = typst.compile(source.encode(), format="svg", ignore_system_fonts=True).decode()
    svg = svg.replace('fill="#ffffff"', 'fill="none"').replace("#000000", "currentColor")
    own = f"{zlib.crc32(markup.encode()):x}-"  # two formulas may hold the same letter
    return Markup(re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{own}", svg))


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=lambda name: name.endswith(".html"),
    undefined=jinja2.StrictUndefined,
)
TEMPLATES.filters |= {"typst": typst_text, "quoted": partial(json.dumps, ensure_ascii=False)}
TEMPLATES.globals |= {"heads": HEADS, "live_titles": LIVE, "formula": _formula}
