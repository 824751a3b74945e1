"""The report as a page and a PDF: one text, numbers from the records.

``report.md`` is read line by line: a heading, a quotation (``>``), a block (``@name arguments``) or
a paragraph, in which ``**words**`` are strong, ``[words](#anchor)`` is a link and ``{name ...}`` a
number, a function of ``numbers``. What comes of it is a list of blocks, plain data, which
``page.html`` shows and ``print.typ`` sets: nothing in it is read as markup.
"""

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
import pandas as pd
import typst
from markupsafe import Markup
from tqdm.auto import tqdm

from seghw import notebook as nb
from seghw.config import DRAWN, RECIPES, REPORT_LOSSES
from seghw.errors import BadInput
from seghw.evaluate import outputs
from seghw.io import atomic_write
from seghw.notebook import Drawn
from seghw.report import claims, numbers
from seghw.report.beyond import BEYOND
from seghw.report.figures import FIGURES, parse_numbers
from seghw.report.results import Records, write_table
from seghw.report.run_claims import ranges
from seghw.runs import history
from seghw.sam import segment_points
from seghw.train import load_network
from seghw.widgets.canvas import Canvas, OutputCanvas, PromptCanvas

HERE = Path(__file__).parent
TITLE = "Semantic segmentation with mUNet and ASPP: a report, retold and judged"
#: The page's live parts, which the PDF names only.
LIVE = {
    "curves": "Training curves, laid over each other",
    "threshold": "The decision threshold, to move",
    "clicks": "A click for the segmenter",
}
_SPAN = re.compile(r"(\{.*?\}|\*\*.*?\*\*|\[.*?\]\(#.*?\))")


def build_report(records: Records, out: Path) -> Path:
    """Write ``report.html``, ``report.pdf``, what the PDF was set from, and ``claims.csv``.

    They go to ``out``, a folder that is made if missing and returned. Nothing is trained and
    nothing is fetched; the same records give the same bytes. What has no runs leaves a gap that
    names the command which trains them; ``BadInput`` if there are no runs at all.
    """
    if records.runs.empty:
        raise BadInput(f"{records.folder / records.profile} holds no runs; `sweep` trains them")
    lines = (HERE / "report.md").read_text(encoding="utf-8").splitlines()
    with tqdm(total=len(lines) + 3, unit="step", desc="sentences measured") as bar:
        write_table(records.measurements, out / "claims.csv")
        bar.update()
        document, blocks = Document(records, out / "figures"), []
        for line in lines:
            bar.set_description(line[:20].strip())
            blocks += document.blocks(line)
            bar.update()
        figures = [block for block in blocks if block["kind"] == "figure"]
        data = {
            **{"title": TITLE, "blocks": blocks, "figures": figures, "rule": claims.RULE},
            **{"rows": document.rows, "sources": document.sources, "settings": document.settings},
        }
        bar.set_description("live parts")
        texts = {"report.html": html(data, live_parts(records), out / "figures")}
        bar.update()
        bar.set_description("page and PDF")
        texts["report.json"] = json.dumps(data, ensure_ascii=False, indent=1)
        texts["report.typ"] = (HERE / "print.typ").read_text(encoding="utf-8")
        for name, text in texts.items():
            with atomic_write(out / name) as path:
                path.write_text(text, encoding="utf-8", newline="\n")
        with atomic_write(out / "report.pdf") as path:
            path.write_bytes(pdf(out / "report.typ"))
        bar.update()
    return out


def pdf(source: Path) -> bytes:
    """Set a Typst file, with the letters of the figures, which are the same on every machine."""
    fonts = Path(mpl.get_data_path()) / "fonts/ttf"
    options = {"font_paths": [fonts], "ignore_system_fonts": True, "timestamp": 0}
    return typst.compile(source, root=source.parent, pdf_standards=["ua-1"], **options)


def html(data: dict[str, Any], live: dict[str, Any], figures: Path) -> str:
    """The page, complete in one file; the pictures come from the folder ``figures``."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE, HERE.parent / "widgets"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.globals["formula"] = formula
    templates.filters["svg"] = lambda name: base64.b64encode((figures / name).read_bytes()).decode()
    as_script = Markup(json.dumps(live).replace("<", "\\u003c"))
    return templates.get_template("page.html").render(**data, live=as_script)


def formula(markup: str) -> Markup:
    """A formula as SVG in the page's text color."""
    source = f"#set page(width: auto, height: auto, margin: 2pt)\n#set text(size: 13pt)\n${markup}$"
    svg = typst.compile(source.encode(), format="svg", ignore_system_fonts=True).decode()
    svg = svg.replace('fill="#ffffff"', 'fill="none"').replace("#000000", "currentColor")
    own = f"{zlib.crc32(markup.encode()):x}-"  # two formulas may hold the same letter
    return Markup(re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{own}", svg))


def span(text: str, to: str = "", strong: bool = False, title: str = "") -> dict[str, Any]:
    """A piece of a paragraph: its words, and the anchor that it leads to."""
    return {"text": text, "to": to, "strong": strong, "title": title}


class Document:
    """Lines of the text to blocks with figures, numbers and verdicts, as plain data."""

    def __init__(self, records: Records, folder: Path) -> None:
        self.records, self.folder = records, folder  # the latter of the figures
        self.sources: list[dict[str, Any]] = []  # of the numbers, in the order of their first use
        self.settings = list(settings_of(records))
        self.verdicts = claims.verdicts(records.measurements).set_index("claim")
        self.rows = self._rows(records.measurements)

    def blocks(self, line: str) -> Iterator[dict[str, Any]]:
        mark, _, rest = line.partition(" ")
        if mark in ("##", "###"):
            anchor = re.sub(r"[^a-z]+", "-", rest.lower()).strip("-")
            yield {"kind": "heading", "level": len(mark), "text": rest, "anchor": anchor}
        elif mark == "@figures":
            for n in parse_numbers(rest):
                draws = {f"{r}-{n:02d}": partial(FIGURES[n], recipe=r) for r in RECIPES}
                yield self._figure(f"Figure {n}", f"fig-{n}", draws)
        elif mark == "@beyond":
            label = rest.replace("_", " ").capitalize()
            yield self._figure(label, f"fig-{rest}", {rest: BEYOND[rest]})
        elif mark == "@claims":
            for key in rest.split():
                about = self.verdicts.loc[key]
                named = {name: about[name] for name in ("text", "question", "verdict")}
                rows = [row for row in self.rows if row["claim"] == key]
                named |= {"deciding": [row for row in rows if row["deciding"]]}
                named |= {"others": [row for row in rows if not row["deciding"]]}
                yield {"kind": "claim", "number": int(about.sentence), **named}
        elif mark == "@formula":
            markup, _, words = rest.partition(" || ")
            yield {"kind": "formula", "markup": markup, "words": words}
        elif mark == "@scores":
            cases = list(product(DRAWN, RECIPES))
            rows = [
                [span(name, strong=True), *(self._number("iou", *case, loss) for case in cases)]
                for loss, name in REPORT_LOSSES.items()
            ]
            yield {"kind": "scores", "rows": rows}
        elif mark.startswith("@"):
            yield {"kind": mark[1:], "name": rest, "title": LIVE.get(rest, "")}
        elif line:
            kind, text = ("quote", rest) if mark == ">" else ("paragraph", line)
            yield {"kind": kind, "spans": list(self._spans(text))}

    def _figure(self, label: str, key: str, draws: dict[str, Callable]) -> dict[str, Any]:
        """Pictures, drawn as SVG under their names; one where the recipe makes no difference."""
        pictures = [self._picture(name, draw) for name, draw in draws.items()]
        files = [picture["file"] for picture in pictures]
        if all(files) and len({(self.folder / file).read_bytes() for file in files}) == 1:
            pictures = [{**pictures[0], "recipe": ""}]
        title = pictures[0]["caption"].split(". ")[0].removesuffix(".")
        return {"kind": "figure", "key": key, "label": label, "title": title, "pictures": pictures}

    def _picture(self, name: str, draw: Callable[[Records], Drawn]) -> dict[str, Any]:
        recipe, path = name.rpartition("-")[0], self.folder / f"{name}.svg"
        try:
            with mpl.rc_context():
                nb.use_style()
                figure, caption = draw(self.records)
                with atomic_write(path) as temporary:
                    figure.savefig(temporary, metadata={"Date": None, "Creator": None})
        except BadInput as error:
            return {"recipe": recipe, "caption": f"No figure: {error}", "file": None}
        ratio = figure.get_figwidth() / figure.get_figheight()
        picture = {"recipe": recipe, "caption": caption, "file": path.name}
        return {**picture, "alt": nb.describe(figure), "ratio": ratio}

    def _spans(self, text: str) -> Iterator[dict[str, Any]]:
        for part in filter(None, _SPAN.split(text)):
            if part.startswith("{"):
                yield self._number(*part[1:-1].split())
            elif part.startswith("**"):
                yield span(part[2:-2], strong=True)
            elif part.startswith("["):
                words, _, anchor = part[1:-1].partition("](#")
                yield span(words, anchor)
            else:
                yield span(part)

    def _number(self, name: str, *arguments: str) -> dict[str, Any]:
        function = getattr(numbers, name)
        about = function.__doc__.format(*arguments, words=" ".join(arguments))
        meaning = " ".join(about.split())
        try:
            text, run_ids = function(self.records, *arguments)
        except BadInput as error:  # records that are missing leave a gap, not a crash
            text, run_ids, meaning = "(no runs)", (), f"{meaning} {error}"
        source = {"text": text, "meaning": meaning, "function": f"{numbers.__name__}.{name}"}
        source["runs"] = self._grouped(run_ids)
        if source not in self.sources:
            self.sources.append(source)
        return span(text, f"number-{self.sources.index(source) + 1}", title=meaning)

    def _rows(self, table: pd.DataFrame) -> list[dict[str, Any]]:
        """The measurements, as the tables show them."""
        about, rows = self.verdicts.loc[table.claim], list(table.itertuples())
        names = ["claim", "sentence", "verdict", "deciding", "dataset", "recipe", "note"]
        shown = table[names].assign(
            text=about.text.to_list(),
            judged=about.verdict.to_list(),
            runs=[self._grouped(numbers.ids_of(self.records, row)) for row in rows],
            reading=[f"{r.reading}: {r.detail}" if r.detail else r.reading for r in rows],
            effect=[claims.effect_text(row) for row in rows],
            basis=[claims.basis(row) for row in rows],
            estimate=table.estimate.astype(object).where(table.estimate.notna(), None),
        )
        return shown.to_dict("records")

    def _grouped(self, run_ids: Iterable[str]) -> list[dict[str, Any]]:
        """Runs as settings and seeds."""
        seeds: dict[str, list[int]] = {}
        for run in run_ids:
            name, _, seed = run.rpartition("-seed")
            seeds.setdefault(name, []).append(int(seed))
        return [{"name": name, "seeds": ranges(each)} for name, each in seeds.items()]


def settings_of(records: Records) -> Iterator[dict[str, Any]]:
    """The runs, one row for each setting, with what their records say."""
    profiles = dict.fromkeys([records.profile, "full"])
    tables = [Records(records.folder, profile).runs for profile in profiles]
    table = pd.concat(filter(len, tables))
    for name, runs in table.groupby(table.profile + "/" + table.run_id.str.rpartition("-seed")[0]):
        scores, diverged = runs.score[runs.status == "finished"], (runs.status != "finished").sum()
        text = f"{scores.mean():.3f} ({scores.min():.3f} to {scores.max():.3f})"
        text += f", {diverged} diverged" * bool(diverged)
        loss, seeds = nb.loss_name(runs.iloc[0]), ranges(runs.seed)
        yield {"name": name, "seeds": seeds, "score": text, "loss": loss}


# -- what the page can be asked without a kernel: curves, a threshold, clicks ---------------------

_POINTS = 150  # of a curve; more cannot be told apart at the width of the page
_CLICKS = 16  # along each side of the picture


def live_parts(records: Records) -> dict[str, Any]:
    """State of the page's live parts, as JSON can hold it; what lacks records is left out."""
    parts = {}
    for name, make in {"curves": _curves, "threshold": _threshold, "clicks": _clicks}.items():
        try:
            parts[name] = make(records)
        except BadInput:
            continue
    return parts


def _curves(records: Records) -> list[dict[str, Any]]:
    """Terms of the loss and the score of the best run of each loss, data set and recipe."""
    curves = []
    for case in product(DRAWN, RECIPES, REPORT_LOSSES):
        run = records.ranked(*case).iloc[-1]
        table, epochs = history(run), run.epoch_scores
        table = table.iloc[np.unique(np.linspace(0, len(table) - 1, _POINTS).round().astype(int))]
        curve = {"name": f"{run.dataset}, {run.recipe}: {nb.loss_name(run)}, seed {run.seed}"}
        for term in ("mse", "dice"):
            known = table[np.isfinite(table[term])]  # JSON has no other numbers
            values = [float(f"{value:.4g}") for value in known[term]]
            curve[term] = [known.iteration.tolist(), values]
        scores = {
            e["epoch"]: e["validation_iou"] for e in epochs if e["validation_iou"] is not None
        }
        curve["iou"] = [[*scores], [*scores.values()]]
        curves.append(curve)
    return curves


def _threshold(records: Records) -> dict[str, Any]:
    """The corrected network's output for one test image of the shapes."""
    evaluation = records.evaluation("shapes", "corrected", "mse_dice")
    run, data, i = evaluation.run, evaluation.data, records.image("shapes", 50)
    network, images = load_network(run.folder), data.images[i : i + 1]
    [output] = outputs(network, images, run.config.settings, run.dataset)
    canvas = OutputCanvas(images[0], output[0].numpy(), data.classes, run.config.settings.threshold)
    canvas.truth = data.masks[i].tobytes()
    return {"canvas": _state(canvas), "image": i}


def _clicks(records: Records) -> dict[str, Any]:
    """The segmenter's mask for a click on each point of a grid, one test image of the scenes."""
    data, i = records.test_set("coco"), records.image("coco", 70)
    image = data.images[i]
    places = ((np.arange(_CLICKS) + 0.5) * image.shape[-1] / _CLICKS).astype(int)
    points = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 1, 2)
    canvas = PromptCanvas(records.segmenter, image, data.subset([i]))
    answers = []
    for mask, trust in zip(*segment_points(records.segmenter, image, points), strict=True):
        text, truth = canvas.describe(mask, trust)
        answers.append({"text": text, "mask": _text(mask), "truth": _text(truth)})
    canvas.buttons = ["larger", "smaller"]
    name = records.segmenter.name
    return {"canvas": _state(canvas), "image": i, "name": name, "side": _CLICKS, "answers": answers}


def _state(canvas: Canvas) -> dict[str, Any]:
    return {
        name: {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name in Canvas.class_own_traits(sync=True)
        for value in [getattr(canvas, name)]
    }


def _text(mask: np.ndarray) -> str:
    return base64.b64encode(np.packbits(mask).tobytes()).decode()
