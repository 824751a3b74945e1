"""Notebooks as cells; the tasks of the chapters; the statements that a task's function consists of.

A task is three cells of a chapter, with nbgrader's metadata and marks: what is wanted, the
solution, the check. What is graded are statements, not cells: the one that defines the task's
function, and those that it needs, wherever they stand in the notebook. So lost metadata, a cell
that was split, copied or moved, and whatever else a cell prints or draws make no difference.
"""

import ast
import builtins
import json
import re
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from seghw.config import ROOT

NOTEBOOKS = ROOT / "notebooks"
_IMPORTS = {
    *("bisect", "collections", "copy", "dataclasses", "fractions", "functools", "heapq"),
    *("itertools", "math", "operator", "random", "re", "statistics", "string", "typing"),
    *("warnings", "numpy", "scipy", "torch", "pycocotools", "matplotlib", "IPython"),
}
_NAMES = {
    *("open", "exec", "eval", "compile", "__import__", "globals", "locals", "vars", "getattr"),
    *(
        "setattr",
        "delattr",
        "input",
        "breakpoint",
        "get_ipython",
        "exit",
        "quit",
        "check",
        "solved",
    ),
}
_ATTRIBUTES = {
    *("load", "save", "savez", "savetxt", "loadtxt", "genfromtxt", "fromfile", "tofile", "memmap"),
    *("hub", "ctypeslib", "cpp_extension", "multiprocessing", "distributed", "io", "sys", "os"),
    *("subprocess", "system", "popen", "modules", "importlib", "inspect", "builtins", "ctypes"),
    *("tb_frame", "f_back", "f_globals", "f_locals", "gi_frame", "savefig", "imread", "imsave"),
    *("get_ipython", "load_library", "f2py", "fork", "package", "open_memmap", "DataSource"),
}
_LONGEST = 100_000  # characters of a cell


@dataclass(frozen=True)
class Cell:
    """One cell: its kind ("code", "markdown"), text and nbgrader's metadata."""

    kind: str
    source: str
    about: dict


@dataclass(frozen=True)
class Task:
    """A graded task."""

    notebook: str  # file name
    name: str  # of the function
    title: str
    points: float

    @property
    def parts(self) -> list[str]:
        """The chapter's solution."""
        return statements(self.name, read_cells((NOTEBOOKS / self.notebook).read_bytes()))


def read_cells(data: bytes) -> list[Cell]:
    """The cells of a notebook of any version of the format, with or without a byte-order mark.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RecursionError: it is no notebook.
    """
    notebook = json.loads(data.decode("utf-8-sig"))
    cells = notebook.get("cells")
    if cells is None:  # nbformat 3
        cells = [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
    return [_cell(cell) for cell in cells]


def _cell(cell: dict) -> Cell:
    source = cell.get("source", cell.get("input", ""))
    source = "".join(source)[:_LONGEST].encode("utf-8", "replace").decode()
    about = cell.get("metadata", {}).get("nbgrader", {})
    return Cell(str(cell.get("cell_type")), source, about if isinstance(about, dict) else {})


@cache
def tasks() -> tuple[Task, ...]:
    """Every task of the chapters, in order."""
    return tuple(task for path in sorted(NOTEBOOKS.glob("0*.ipynb")) for task in _tasks_of(path))


def _tasks_of(path: Path) -> Iterator[Task]:
    title = ""
    for cell in read_cells(path.read_bytes()):
        heading = re.match(r"### Task: (.*?) \(", cell.source)
        title = heading[1] if heading else title
        if cell.about.get("grade"):
            name = cell.about["grade_id"].removesuffix("_check")
            yield Task(path.name, name, title, cell.about["points"])


# -- the statements of a task ------------------------------------------------------------------


def statements(name: str, cells: Sequence[Cell], chapter: Sequence[Cell] = ()) -> list[str]:
    """The statement that defines ``name``, last, after those that it needs.

    Args:
        cells: of a student's notebook, or of a chapter.
        chapter: where imports and helpers are looked up that the notebook lacks; no task's
            solution is taken from it.

    Returns:
        An empty list where nothing defines it; the whole cell where that is no Python.
    """
    graded = {task.name for task in tasks()} if chapter else set()
    known = {k: v for k, v in _definitions(chapter).items() if k not in graded}
    known |= _definitions(cells)
    if name not in known:
        meant = [cell.source for cell in cells if cell.kind == "code" and _meant(cell, name)]
        return meant[-1:]
    parts: list[str] = []
    _add(name, known, set(), parts)
    return parts


def _meant(cell: Cell, name: str) -> bool:
    defines = re.search(rf"^(def {name}\b|{name}\s*=(?! *check\())", cell.source, re.M)
    return bool(defines) and not cell.about.get("grade")


def _add(name: str, known: dict[str, str], seen: set[str], parts: list[str]) -> None:
    if name in seen or name not in known:
        return
    seen.add(name)
    for needed in sorted(_free(known[name])):
        _add(needed, known, seen, parts)
    if known[name] not in parts:
        parts.append(known[name])


def _definitions(cells: Sequence[Cell]) -> dict[str, str]:
    """Name to the source of the last statement that binds it; one that does something wins."""
    known: dict[str, str] = {}
    for cell in cells:
        if cell.kind != "code" or cell.about.get("grade"):
            continue
        source, tree = _parsed(cell.source)
        for node in tree.body:
            text = _text(source, node)
            for name in _bound(node):
                if name not in known or "raise NotImplementedError" not in text:
                    known[name] = text
    return known


def _parsed(source: str) -> tuple[str, ast.Module]:
    """Source and tree, without IPython's magics; no statement if it is no Python."""
    for text in (source, re.sub(r"^[ \t]*[%!].*$", "", source, flags=re.M)):
        try:
            return text, ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return source, ast.Module([], [])


def _text(source: str, node: ast.stmt) -> str:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return "\n".join(source.split("\n")[first - 1 : node.end_lineno])


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign) and _calls(node.value) != "check":
        inside = (n for target in node.targets for n in ast.walk(target))
        return [n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _calls(node: ast.expr) -> str:
    return getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""


def _free(text: str) -> set[str]:
    """Names that a statement takes from outside."""
    try:
        top = symtable.symtable(text, "statement", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    used, tables = set(), [top]
    for table in tables:
        tables += table.get_children()
        used |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_referenced() and (symbol.is_global() or table is top)
        }
    return used - set(dir(builtins))


# -- what a teacher should look at -------------------------------------------------------------


def forbidden(parts: Sequence[str]) -> str | None:
    """The first line that reaches for what a solution does not need; None if there is none."""
    for part in parts:
        for node in ast.walk(_parsed(part)[1]):
            if any(name.split(".")[0] not in _IMPORTS for name in _imported(node)) or (
                {part for name in _imported(node) for part in name.split(".")} & _ATTRIBUTES
                or (isinstance(node, ast.Name) and _private(node.id, _NAMES))
                or (isinstance(node, ast.Attribute) and _private(node.attr, _ATTRIBUTES))
            ):
                return part.split("\n")[node.lineno - 1].strip()
    return None


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module or '.'}.{alias.name}" for alias in node.names]
    return []


def _private(name: str, listed: set[str]) -> bool:
    return name in listed or (name.startswith("__") and name not in ("__init__", "__name__"))


def outline(part: str) -> tuple[str, int]:
    """What two cells share that are equal up to names and comments, and how long that is."""
    tree = _parsed(part)[1]
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        body: Any = getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = body[1:]
        for field in ("id", "arg", "name"):
            if isinstance(getattr(node, field, None), str):
                name = getattr(node, field)
                setattr(node, field, names.setdefault(name, f"v{len(names)}"))
    return ast.dump(tree), sum(1 for _ in ast.walk(tree))
