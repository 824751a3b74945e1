"""`make lab`: JupyterLab on a page that leads to the chapters and to the students' edition.

Both are worked in as copies, so that stepping through them changes nothing that is committed. A
copy that is there stays as it is, with whatever was written into it.
"""

import os
import re
import sys
from pathlib import Path

from seghw.assignment.edition import make_edition
from seghw.config import ROOT

CHAPTERS = ROOT / "notebooks"
COPIES = ROOT / "dist/lab"
#: In the table of chapters, the link to a chapter and, behind it, to the same without solutions.
LINK = re.compile(r"(\[[^]]*\])\((0\w+\.ipynb)\)")
BOTH = r"\1(\2) ([without solutions](../assignment/notebooks/\2))"


def copy_chapters(source: Path = CHAPTERS, copies: Path = COPIES) -> list[str]:
    """Copy what is not there yet; returns the names of copies that are older than their chapter."""
    copies.mkdir(parents=True, exist_ok=True)
    outdated = []
    for path in sorted(source.glob("0*.ipynb")):
        copy = copies / path.name
        if not copy.exists():
            text = path.read_text(encoding="utf-8").replace("](../", "](../../")
            copy.write_text(text, encoding="utf-8", newline="\n")
            os.utime(copy, (path.stat().st_mtime,) * 2)
        elif copy.stat().st_mtime < path.stat().st_mtime:
            outdated.append(path.name)
    page = (source / "README.md").read_text(encoding="utf-8").replace("](../", "](../../")
    (copies / "README.md").write_text(LINK.sub(BOTH, page), encoding="utf-8", newline="\n")
    return outdated


def main() -> None:
    if outdated := copy_chapters():
        print(f"older than their chapters: {', '.join(outdated)} in {COPIES}; remove them for new")
    if not (edition := ROOT / "dist/assignment").exists():
        make_edition(edition)
    os.environ["PYTHONSTARTUP"] = str(CHAPTERS / ".lab/startup.py")
    from jupyterlab.labapp import main as lab

    page = (COPIES / "README.md").relative_to(ROOT).as_posix()
    settings = f"--LabApp.app_settings_dir={CHAPTERS / '.lab'}"
    start = f"--LabApp.default_url=/lab/tree/{page}"
    lab([f"--ServerApp.root_dir={ROOT}", settings, start, "--allow-root", *sys.argv[1:]])


if __name__ == "__main__":
    main()
