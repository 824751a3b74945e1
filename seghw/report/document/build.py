"""Draw, fill in, write: ``report.html`` and ``report.pdf`` from run records."""

import base64
import html
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import jinja2
import matplotlib as mpl
import typst
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

HERE = Path(__file__).parent
#: What the page's live parts are called.
LIVE = {
    "curves": "Training curves, to compare",
    "threshold": "The decision threshold, to move",
    "clicks": "A click for the segmenter",
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure, or the reason why there is none."""

    recipe: str  # "" for those beyond the report
    caption: str
    alt: str = ""
    svg: Path | None = None


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
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
        template = environment.from_string((HERE / "report.md").read_text(encoding="utf-8"))
        datasets = [run.config.dataset for run in self.records.all_runs]
        names = " and ".join(SET_NAMES[name] for name in DATASETS if name in datasets)
        sam = self.records.segmenter
        is_sam = "It is a published SAM." if sam.side >= 1024 else (
            "It is not SAM: what it does says nothing of what SAM can do, and the sentences on SAM "
            "stay undecided."
        )  # fmt: skip
        return template.render(
            number=self.numbers.number,
            iou=self.numbers.iou,
            effect=self.numbers.effect,
            verdicts=self.numbers.verdicts,
            data_line=f"Profile of the runs: {self.records.profile}. Data: {names}. "
            f"Segmenter: {sam.name}.",
            segmenter_line=f"The segmenter here is {sam.name}. {is_sam}",
        )

    # -- HTML -----------------------------------------------------------------------------------

    def html(self) -> str:
        """The page, complete in one file."""
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        template = environment.from_string((HERE / "page.html").read_text(encoding="utf-8"))
        body = to_html(self.text, self._html_block)
        live = json.dumps(live_data(self.records)).replace("</", "<\\/")
        sources = [
            (source, [(path, _relative(path, self.out)) for path in source.records])
            for source in self.numbers.sources
        ]
        return template.render(
            body=body, live=live, sources=sources, figures=self._titles(), rule=RULE
        )

    def _html_block(self, name: str, arguments: str, code: str) -> str:
        if name == "formula":
            alt, markup = arguments, code.strip()
            return f'<p class="formula" role="img" aria-label="{html.escape(alt)}">{_formula(markup)}</p>'  # noqa: E501
        if name == "live":
            title = LIVE[arguments]
            return f'<section class="live" id="live-{arguments}" aria-label="{title}"><p class="title">{title}</p></section>'  # noqa: E501
        if name == "newpage":
            return ""
        if name == "fault":
            [key] = _keys("beyond", arguments)
            told = to_html(code, self._html_block)
            return f'<div class="fault"><div>{told}</div>{self._html_figure(key)}</div>'
        if name == "table":
            return self._html_rows(self.results, "all-claims")
        if name == "claims":
            return "".join(self._html_claim(key) for key in arguments.split())
        return "".join(self._html_figure(key) for key in _keys(name, arguments))

    def _html_figure(self, key: str) -> str:
        shown = []
        for picture in self.pictures[key]:
            caption = html.escape(picture.caption)
            head = f"<b>{picture.recipe}</b> " if picture.recipe else ""
            if picture.svg is None:
                shown.append(f'<div class="gap">{head}{caption}</div>')
                continue
            data = base64.b64encode(picture.svg.read_bytes()).decode()
            shown.append(
                f'<div><img alt="{html.escape(picture.alt)}" '
                f'src="data:image/svg+xml;base64,{data}"><p>{head}{caption}</p></div>'
            )
        label = _label(key)
        caption = f"<figcaption>{label}</figcaption>"
        return f'<figure id="{key}">{caption}<div class="pair">{"".join(shown)}</div></figure>\n'

    def _html_claim(self, key: str) -> str:
        rows = self.claims[key]
        claim, found = rows[0].claim, sentence_verdict(rows)
        kind = found.split(":")[0].replace(" ", "-")
        return (
            f'<div role="note" class="claim {kind}" id="claim-{key}">'
            f"<p><b>The report says: {html.escape(claim.text)}.</b> "
            f'<span class="verdict">{found}</span></p>'
            f"<p>Measured: {html.escape(question_text(rows))}.</p>{self._html_rows(rows)}</div>\n"
        )

    def _html_rows(self, rows: Sequence[Result], table_id: str = "") -> str:
        heads = ("sentence",) * bool(table_id) + HEADS
        lines = [
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
            for cells in _cells(rows, bool(table_id))
        ]
        head = "".join(f'<th scope="col">{head}</th>' for head in heads)
        found = f' id="{table_id}"' if table_id else ""
        label = "All measurements" if table_id else f"Measured: {rows[0].claim.text}"
        return (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(label)}">'
            f"<table{found}><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        )

    def _titles(self) -> list[tuple[str, str]]:
        """Every figure's anchor and short title, in the order of the text."""
        return [
            (key, f"{_label(key)}. {self.pictures[key][0].caption.split('. ')[0]}.")
            for key in self.pictures
        ]

    # -- Typst ----------------------------------------------------------------------------------

    def typst(self) -> str:
        """The document's source for Typst."""
        body = to_typst(self.text, self._typst_block)
        sources = "".join(
            f"[#metadata(none) <number-{k}> {k}], [{typst_text(source.text)}], "
            f"[{typst_text(source.meaning)}], [{typst_text(source.function)}"
            f"{_typst_records(source.records)}],\n"
            for k, source in enumerate(self.numbers.sources, start=1)
        )
        figures = "".join(
            f"#link(<{key}>)[{typst_text(title)} #h(1fr) "
            f"#context counter(page).at(<{key}>).first()]\n\n"
            for key, title in self._titles()
            if f"<{key}>" in body
        )
        preamble = (HERE / "print.typ").read_text(encoding="utf-8")
        return (
            f"{preamble}\n{body}\n= Where each number comes from <sources>\n{typst_text(RULE)}\n\n"
            f"#table(columns: (auto, auto, 1fr, 1fr), table.header([], [number], [what it is], "
            f"[computed by, from]),\n{sources})\n= List of figures\n{figures}"
        )

    def _typst_block(self, name: str, arguments: str, code: str) -> str:
        if name == "formula":
            alt = json.dumps(arguments, ensure_ascii=False)
            return f"#math.equation(block: true, alt: {alt}, ${code.strip()}$)\n"
        if name == "live":
            return f"#emph[{LIVE[arguments]}: in the page, report.html.]\n\n"
        if name == "newpage":
            return "#pagebreak(weak: true)\n"
        if name == "fault":
            [key] = _keys("beyond", arguments)
            told, image = (
                to_typst(code, self._typst_block),
                self._typst_image(self.pictures[key][0]),
            )
            return f"#fault([{told}], [{image}]) <{key}>\n\n"
        if name == "table":
            return self._typst_rows(self.results, True)
        if name == "claims":
            return "".join(self._typst_claim(key) for key in arguments.split())
        return "".join(self._typst_figure(key) for key in _keys(name, arguments))

    def _typst_figure(self, key: str) -> str:
        shown = []
        for picture in self.pictures[key]:
            head = f"#strong[{picture.recipe}] " if picture.recipe else ""
            body = f"{head}{typst_text(picture.caption)}"
            if picture.svg is not None:
                body = f"{self._typst_image(picture)}\n\n{body}"
            shown.append(f"[{body}]")
        return f"#picture([{_label(key)}], {', '.join(shown)}) <{key}>\n\n"

    def _typst_image(self, picture: Picture) -> str:
        if picture.svg is None:
            return typst_text(picture.caption)
        alt = json.dumps(picture.alt, ensure_ascii=False)
        path = picture.svg.relative_to(self.out).as_posix()
        return f'#image("{path}", alt: {alt}, width: {_width(picture)})'

    def _typst_claim(self, key: str) -> str:
        rows = self.claims[key]
        claim = rows[0].claim
        return (
            f"#claim([{typst_text(claim.text)}], [{sentence_verdict(rows)}], "
            f"[{typst_text(question_text(rows))}], [{self._typst_rows(rows)}])\n\n"
        )

    def _typst_rows(self, rows: Sequence[Result], named: bool = False) -> str:
        heads = ("sentence",) * named + HEADS
        cells = [f"[{typst_text(cell)}]" for line in _cells(rows, named) for cell in line]
        columns = "(1fr, " * named + "(" * (not named) + "auto, auto, 1.4fr, auto, auto, auto)"
        head = ", ".join(f"[{head}]" for head in heads)
        return f"#table(columns: {columns}, table.header({head}), {', '.join(cells)})"


HEADS = ("data", "recipe", "measured", "effect [95 % interval]", "rests on", "verdict")


def _cells(rows: Sequence[Result], named: bool) -> Iterable[list[str]]:
    for row in rows:
        mark = " *" if row.decides else ""
        effect = row.effect
        cells = [effect.dataset, effect.recipe, reading_text(effect), effect_text(effect)]
        cells += [basis(effect), row.verdict + mark]
        yield [row.claim.text] * named + cells


def _keys(name: str, arguments: str) -> list[str]:
    if name == "figures":
        return [f"fig-{number}" for number in parse_numbers(arguments)]
    return [f"fig-{arguments.replace('_', '-')}"]


def _label(key: str) -> str:
    name = key.removeprefix("fig-")
    return f"Figure {name}" if name.isdigit() else name.replace("-", " ").capitalize()


def _width(picture: Picture) -> str:
    """Curves over the whole width; pictures of images, which hold less detail, over less of it."""
    return "100%" if "line" in picture.alt or not picture.recipe else "74%"


def _relative(path: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:  # on another drive
        return path.as_posix()


def _typst_records(paths: Sequence[Path]) -> str:
    names = ", ".join(path.parent.name for path in paths)
    return f"; {typst_text(names)}" if names else ""


def _formula(markup: str) -> str:
    """A formula as SVG in the page's text color."""
    source = f"#set page(width: auto, height: auto, margin: 2pt)\n#set text(size: 13pt)\n${markup}$"
    svg = typst.compile(source.encode(), format="svg", ignore_system_fonts=True).decode()
    svg = svg.replace('fill="#ffffff"', 'fill="none"').replace("#000000", "currentColor")
    own = f"{zlib.crc32(markup.encode()):x}-"  # two formulas may hold the same letter
    return re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{own}", svg)
