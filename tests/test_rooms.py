"""The rooms of the package: imports point one way, and nothing but reports and widgets plots."""

import ast
import re
import subprocess
import sys
import time
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import seghw

PACKAGE = Path(seghw.__file__).parent
#: From the top to the bottom: a room may import from the rooms above it.
ROOMS = [
    "errors",
    "io",
    "config",
    "seeding",
    "threads",
    "data",
    "network",
    "losses",
    "metrics",
    "evaluate",
    "train",
    "sam",
    "results",
    "claims",
    "report",
    "assignment",
    "widgets",
    "cli",
    "__main__",
]
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def imports_of(path: Path) -> set[str]:
    """The modules of this package that a module imports, inside functions as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "seghw":
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "seghw"}
    known = {name_of(p) for p in PACKAGE.rglob("*.py")}
    return found & known - {"seghw"}


def room_of(module: str) -> int:
    return ROOMS.index(module.split(".")[1])


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_upward(path):
    here = name_of(path)
    below = [m for m in imports_of(path) if room_of(m) > room_of(here)]
    assert not below, f"{here} imports {below}, which stand below it"


def test_no_module_needs_itself():
    graph = {name_of(path): imports_of(path) - {name_of(path)} for path in MODULES}
    order = list(TopologicalSorter(graph).static_order())
    assert len(order) >= len(MODULES)


@pytest.mark.parametrize("room", ["network", "losses", "metrics"])
def test_what_is_taught_stands_alone(room):
    """Network, losses and metrics do not know each other, nor anything of the project's runs."""
    others = {"network", "losses", "metrics", "data", "evaluate", "train", "sam"} - {room}
    for path in MODULES:
        if name_of(path).split(".")[1] == room:
            assert not {m.split(".")[1] for m in imports_of(path)} & others, path


def test_only_reports_and_widgets_plot():
    for path in MODULES:
        if name_of(path).split(".")[1] not in ("report", "widgets"):
            assert not re.search(r"import matplotlib|from matplotlib", path.read_text("utf-8")), (
                path
            )


def test_folders_are_small_and_open_at_their_door():
    for folder in {path.parent for path in MODULES}:
        assert len(list(folder.glob("[!_]*.py"))) <= 10, folder
        if folder != PACKAGE:
            assert "__all__" in (folder / "__init__.py").read_text("utf-8"), folder


def test_help_loads_nothing_heavy():
    """Without torch, SciPy or matplotlib the help is there in a moment."""
    code = (
        "import sys, contextlib, io; from seghw.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['--help'])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'scipy', 'matplotlib', 'PIL')))"
    )
    start = time.perf_counter()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert time.perf_counter() - start < 5
