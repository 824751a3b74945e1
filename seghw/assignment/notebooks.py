"""Notebooks as cells; the tasks of the chapters; the statements that a task's function consists of.

A task is three cells of a chapter, with nbgrader's metadata and marks: what is wanted, the
solution, the check. What is graded are statements, not cells: the one that defines the task's
function, and those that it needs, wherever they stand in the notebook. So lost metadata, a cell
that was split, copied or moved, and whatever else a cell prints or draws make no difference.
"""

import ast
import contextlib
import json
import re
import symtable
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from seghw.config import ROOT

#: Of an edition the chapters as they were handed out, whatever becomes of the student's own.
NOTEBOOKS = Path(__file__).with_name("chapters")
if not NOTEBOOKS.is_dir():
    NOTEBOOKS = ROOT / "notebooks"
_LONGEST = 100_000  # characters of a cell
_BROKEN = (SyntaxError, ValueError, RecursionError, MemoryError)  # what parsing may raise
#: What a solution may import; names and attributes that it has no use for.
_IMPORTS = {
    *("bisect", "collections", "copy", "dataclasses", "fractions", "functools", "heapq", "math"),
    *("itertools", "operator", "random", "re", "statistics", "string", "typing", "warnings"),
    *("numpy", "scipy", "torch", "pycocotools", "matplotlib", "IPython"),
}
_NAMES = {
    *("open", "exec", "eval", "compile", "__import__", "globals", "locals", "vars", "getattr"),
    *("setattr", "delattr", "input", "breakpoint", "get_ipython", "exit", "quit", "check"),
    "solved",
}
_ATTRIBUTES = {
    *("load", "save", "savez", "savetxt", "loadtxt", "genfromtxt", "fromfile", "tofile", "memmap"),
    *("hub", "ctypeslib", "cpp_extension", "multiprocessing", "distributed", "io", "sys", "os"),
    *("subprocess", "system", "popen", "modules", "importlib", "inspect", "builtins", "ctypes"),
    *("tb_frame", "f_back", "f_globals", "f_locals", "gi_frame", "savefig", "imread", "imsave"),
    *("get_ipython", "load_library", "f2py", "fork", "package", "open_memmap", "DataSource"),
    *("attrgetter", "methodcaller", "get_type_hints", "runstring", "from_file", "COCO"),
    *("onnx", "print_png", "export_chrome_trace", "_os", "_sys", "fromregex", "urlretrieve", "*"),
}


@dataclass(frozen=True)
class Cell:
    """One cell: its kind ("code", "markdown"), text and nbgrader's metadata."""

    kind: str
    source: str
    about: dict


@dataclass(frozen=True)
class Task:
    """A graded task: a function, or an answer in words (kind "markdown")."""

    notebook: str  # file name
    name: str  # of the function
    title: str
    points: float
    kind: str = "code"

    @property
    def parts(self) -> list[str]:
        """The chapter's solution."""
        return statements(self.name, chapter(self.notebook))


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
    source = re.sub(r"\r\n?", "\n", source)  # one kind of line, for Python's numbers of lines
    about = cell.get("metadata", {}).get("nbgrader", {})
    return Cell(str(cell.get("cell_type")), source, about if isinstance(about, dict) else {})


@cache
def tasks(kind: str = "code") -> tuple[Task, ...]:
    """Every task of a kind in the chapters, in order."""
    every = (task for path in sorted(NOTEBOOKS.glob("0*.ipynb")) for task in _tasks_of(path))
    return tuple(task for task in every if task.kind == kind)


def _tasks_of(path: Path) -> Iterator[Task]:
    title = ""
    for cell in read_cells(path.read_bytes()):
        heading = re.match(r"### (?:Task|In words): (.*?) \(", cell.source)
        title = heading[1] if heading else title
        if cell.about.get("grade"):
            name = cell.about["grade_id"].removesuffix("_check")
            yield Task(path.name, name, title, cell.about["points"], cell.kind)


# -- the statements of a task ----------------------------------------------------------------------


@cache
def chapter(notebook: str) -> dict[str, str]:
    """What a chapter defines."""
    return definitions(read_cells((NOTEBOOKS / notebook).read_bytes()))


def definitions(cells: Sequence[Cell]) -> dict[str, str]:
    """Name to the source of the last statement that binds it; see ``_rank`` for exceptions.

    A cell that is no Python counts whole, for what it seems to define and nothing else does.
    """
    known: dict[str, str] = {}
    ranks: Counter = Counter()
    binding = ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
    for cell in cells:
        if cell.kind != "code" or cell.about.get("grade"):
            continue
        source, tree = parsed(cell.source)
        if not tree.body:
            for pair in re.findall(r"^def (\w+)|^(\w+) *=(?! *check\()", source, re.M):
                known.setdefault("".join(pair), source)
        for node in tree.body:
            if not isinstance(node, binding | ast.Assign | ast.AnnAssign):
                continue
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            text = "\n".join(source.split("\n")[first - 1 : node.end_lineno])
            if re.match(r"\w+\s*=\s*check\(", text):
                continue
            for name in names(text)[0]:
                if _rank(node) >= ranks[name]:
                    known[name], ranks[name] = text, _rank(node)
    return known


def _rank(node: ast.stmt) -> int:
    """A function counts before a value of its name, as experiments make it; both before a stub."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return 1 + isinstance(node.value, ast.Lambda)
    return 0 if isinstance(getattr(node, "body", [None])[-1], ast.Raise) else 2


def statements(name: str, known: Mapping[str, str]) -> list[str]:
    """The statement that defines ``name``, last, after those that it needs; or nothing."""
    parts: list[str] = []
    seen: set[str] = set()

    def add(name: str) -> None:
        if name in known and name not in seen:
            seen.add(name)
            for needed in sorted(names(known[name])[1]):
                add(needed)
            if known[name] not in parts:
                parts.append(known[name])

    add(name)
    return parts


def parsed(source: str) -> tuple[str, ast.Module]:
    """Source and tree, without IPython's magics; no statement if it is no Python."""
    for text in (source, re.sub(r"^[ \t]*[%!].*$", "", source, flags=re.M)):
        with contextlib.suppress(*_BROKEN):
            return text, ast.parse(text)
    return source, ast.Module([], [])


def names(text: str) -> tuple[set[str], set[str]]:
    """The names that a piece of source binds, and those that it takes from outside."""
    try:
        top = symtable.symtable(text, "cell", "exec")
    except _BROKEN:
        return set(), set()
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    used, tables = set(), [top]
    for table in tables:
        tables += table.get_children()
        referenced = (s for s in table.get_symbols() if s.is_referenced())
        used |= {s.get_name() for s in referenced if s.is_global() or table is top}
    return bound, used


# -- what a teacher should look at -----------------------------------------------------------------


def forbidden(parts: Sequence[str]) -> str | None:
    """The first line that reaches for what a solution does not need; None if there is none."""
    for part in parts:
        try:
            tree = ast.parse(part)
        except SyntaxError:  # nor does it run
            continue
        except _BROKEN:  # but it may run: so deeply nested
            return part.split("\n")[0]
        for node in ast.walk(tree):
            if _reaches(node):
                return part.split("\n")[node.lineno - 1].strip()
    return None


def _reaches(node: ast.AST) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom):
        inside = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
        paths = [f"{inside}{alias.name}".split(".") for alias in node.names]
        return any(path[0] not in _IMPORTS or _ATTRIBUTES & {*path} for path in paths)
    if isinstance(node, ast.MatchClass):  # case object(os=o)
        return any(name in _ATTRIBUTES or name.startswith("__") for name in node.kwd_attrs)
    if isinstance(node, ast.Name | ast.Attribute):
        name, listed = (node.id, _NAMES) if isinstance(node, ast.Name) else (node.attr, _ATTRIBUTES)
        hidden = name.startswith("__") and name not in ("__init__", "__name__")
        return name in listed or hidden
    return False


def outline(part: str) -> tuple[str, int]:
    """What two cells share that are equal up to names and comments, and how long that is."""
    tree = parsed(part)[1]
    seen: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        for field in ("id", "arg", "name"):
            if isinstance(name := getattr(node, field, None), str):
                setattr(node, field, seen.setdefault(name, f"v{len(seen)}"))
    length = sum(1 for _ in ast.walk(tree))
    with contextlib.suppress(RecursionError):  # nested as nobody writes
        return ast.dump(tree), length
    return part, length
