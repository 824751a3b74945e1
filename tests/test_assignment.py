"""The grader: what is right passes, what is wrong is answered, what attacks gains nothing."""

import io
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

import pandas as pd
import pytest

import seghw.assignment
from seghw import cli
from seghw.assignment import assess, grade, harness, judge, notebooks, questions, runner
from seghw.assignment import submissions as handed_in
from seghw.assignment.edition import make_edition
from seghw.assignment.notebooks import Cell, definitions, forbidden, read_cells, statements
from seghw.config import ROOT
from seghw.errors import BadInput

# What is wrong may divide by zero; pycocotools' arrays come by an interface that NumPy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore")
TASKS = {task.name: task for task in notebooks.tasks()}
AT_HAND = "import copy, math, statistics\nimport numpy as np\nimport torch\nfrom torch import nn\n"
AT_HAND += "from scipy import stats\nfrom torch.nn import functional as F"


def table(name):
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def code(source):
    return Cell("code", source, {})


def judged(name, parts):
    asked = assess.all_questions(name)
    source = "\n".join(parts)
    return judge.judge(asked, harness.answers(name, source, [q.asked() for q in asked]))


@pytest.mark.parametrize("name", TASKS)
def test_the_chapters_solution_passes_and_every_planted_mistake_gets_its_sentence(name):
    *before, solution = [AT_HAND, *TASKS[name].parts]
    assert judged(name, [*before, solution]) == judge.Verdict(None, "", 1.0)
    planted = [
        (*change, re.escape(said)) for said, change in questions.MISTAKES.get(name, {}).items()
    ]
    planted += table("mistakes.toml")[name].values()
    assert len(planted) >= 7
    for old, new, said in planted:
        assert old in solution
        found = judged(name, [*before, solution.replace(old, new) if old else new])
        assert found.fault is not None, f"{new} was not caught"
        assert re.search(said, found.fault), f"{new}: {found.fault}"
        assert found.share < 1


def test_what_is_right_passes_however_it_is_written():
    jobs, asked = {}, {}
    for name, sources in table("variants.toml").items():
        given = {k: v for k, v in notebooks.chapter(TASKS[name].notebook).items() if k not in TASKS}
        for k, source in enumerate(sources):
            parts = statements(name, given | definitions([code(AT_HAND), code(source)]))
            assert forbidden(parts) is None, source
            asked[f"{name} {k}"] = assess.all_questions(name)
            jobs[f"{name} {k}"] = "\n".join(parts), [q.asked() for q in asked[f"{name} {k}"]]
    assert len(jobs) >= 60
    with runner.Sandbox() as sandbox:
        answers = sandbox.run(jobs)
    faults = {name: judge.judge(asked[name], answers[name]) for name in jobs}
    assert not {name: verdict for name, verdict in faults.items() if verdict.fault}


def test_what_is_suspicious_is_not_run_and_its_line_is_quoted():
    cells = table("attempts.toml")
    for what, (name, source) in cells["suspicious"].items():
        assert (line := forbidden(statements(name, definitions([code(source)])))), what
        assert line in source
    assert forbidden(["x = 0" + "+0" * 20_000]), "too deeply nested to be looked at"
    for what, (name, source) in cells["plain"].items():
        assert forbidden(statements(name, definitions([code(source)]))) is None, what


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows asks each task in its own process")
def test_a_cell_that_is_no_python_costs_its_own_task_only():
    sources = {"reach": RIGHT, "aspp_forward": "def aspp_forward(:"}
    jobs = {k: (v, [q.asked() for q in assess.visible(k)]) for k, v in sources.items()}
    with runner.Sandbox() as sandbox:
        answers = sandbox.run(jobs)
    verdicts = {k: judge.judge(assess.visible(k), a) for k, a in answers.items()}
    assert verdicts["reach"].fault is None
    assert "SyntaxError" in verdicts["aspp_forward"].fault


def test_of_a_cell_only_its_imports_run_before_the_others():
    source = '"""\nimport os; os.remove("x")\n"""\nimport math\ndef f():\n    from math import pi'
    assert {*harness.imports(source)} == {"import math", "from math import pi"}


@pytest.mark.skipif(not runner.guard(), reason="needs bubblewrap")
def test_attempts_gain_nothing_and_harm_nothing_even_if_all_are_run(tmp_path):
    """As if no line had been suspicious: every attempt runs, in the sandbox."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("as it was")
    files = [path for path in (ROOT / "seghw/assignment").iterdir() if path.is_file()]
    before = [path.read_bytes() for path in files]
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(("127.0.0.1", 0))
        tcp.bind(udp.getsockname())
        tcp.listen()
        udp.setblocking(False)
        tcp.setblocking(False)
        places = {"VICTIM": str(victim), "ROOT": str(ROOT), "PORT": str(udp.getsockname()[1])}
        jobs, asked = {}, {}
        for attempts in table("attempts.toml").values():
            for what, (name, source) in attempts.items():
                for word, place in places.items():
                    source = source.replace(word, place)
                asked[f"{name} {what}"] = assess.all_questions(name)
                given = [q.asked() for q in asked[f"{name} {what}"]]
                jobs[f"{name} {what}"] = f"{AT_HAND}\n{source}", given
        assert runner.guard(victim, tmp_path), "one folder in the other"
        with runner.Sandbox(tmp_path) as sandbox:
            answers = sandbox.run(jobs, 2)
        verdicts = {what: judge.judge(asked[what], answers[what]) for what in jobs}
        assert len(verdicts) >= 50
        assert not [what for what, verdict in verdicts.items() if verdict.fault is None]
        time.sleep(1.2)  # what outlives its task would write now
        for connection in (udp.recv, lambda _: tcp.accept()):
            with pytest.raises(BlockingIOError):
                connection(1)
    assert [path.name for path in victim.iterdir()] == ["file"]
    assert (victim / "file").read_text() == "as it was"
    assert before == [path.read_bytes() for path in files]


@pytest.mark.skipif(not runner.guard(), reason="needs bubblewrap")
@pytest.mark.parametrize("nested", [True, False])
def test_a_submission_reaches_no_other_and_leaves_nothing(nested, monkeypatch):
    """Though one process serves both; where namespaces cannot be nested, each has its own."""
    guard = (*runner.guard(), *["--unshare-user", "--disable-userns"] * (not nested))
    monkeypatch.setattr(runner, "guard", lambda *_: guard)
    probe = [*guard, *["unshare", "--map-root-user", "--mount"] * nested, "true"]
    if subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("not on this system, or with this bubblewrap")
    with runner.Sandbox() as sandbox:
        source = table("attempts.toml")["suspicious"]["looks for other submissions"][1]
        jobs = {"reach": (source, [("", pickle.dumps(()))])}
        first, second = (sandbox.run(jobs)["reach"][0]["value"] for _ in range(2))
    assert (first[5] == second[5]) == nested, "who serves"
    assert first[4] == second[4] == 0, "its parent, traced"
    assert not nested or first[:4] == second[:4] == [[], 1, 0, 1], "files, pipes, others, parent"


def notebook(*sources, ids=(), words="", **more):
    """A student's notebook as bytes; ``ids`` are the tasks that the first cells are marked as."""
    cells = [{"cell_type": "code", "source": source, "metadata": {}} for source in sources]
    about = {"nbgrader": {"grade_id": "ceiling", "grade": True}}
    cells += [{"cell_type": "markdown", "source": words, "metadata": about}] * bool(words)
    for cell, name in zip(cells, ids, strict=False):
        cell["metadata"] = {"nbgrader": {"grade_id": name, "solution": True}}
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, **more}).encode()


RIGHT = "def reach(kernel, rate):\n    return rate * (kernel - 1) + 1"
STUB = "def reach(kernel, rate):\n    raise NotImplementedError()"
NO_STUB = RIGHT.replace("return", "# raise NotImplementedError()\n    return")
NOWHERE = "import nowhere\ndef dense_head():\n    nowhere"
HELPED = "def reach(kernel, rate):\n    return gaps(kernel) * rate + ONE"
GAPS = "def gaps(n):\n    return n - ONE"
ELIF = "\n    elif 0:\n        0"
ONE = notebook(RIGHT)
READ = {
    "metadata lost": ONE,
    "a helper and a constant in other cells": notebook("ONE = 1", HELPED, GAPS),
    "magics and tests around": notebook("%pylab\n" + RIGHT + "\n!ls\nassert 0\nraise SystemExit"),
    "a stub copied below": notebook(RIGHT, STUB, ids=("reach", "reach")),
    "a stub copied above": notebook(STUB, RIGHT, ids=("reach", "reach")),
    "a second definition counts": notebook(RIGHT.replace("1)", "2)"), RIGHT),
    "the stub's line commented out": notebook(STUB, NO_STUB),
    "an experiment's value of its name": notebook(RIGHT, "reach = reach(3, 2)"),
    "a helper named as Python's own": notebook(
        RIGHT.replace("(kernel - 1)", "sum(kernel)"), "def sum(n):\n    return n - 1"
    ),
    "the check's own cell": notebook(RIGHT, 'reach = check("reach", reach)'),
    "a byte-order mark": b"\xef\xbb\xbf" + ONE,
    "nbformat 3": b'{"worksheets": [{"cells": [{"cell_type": "code", "input": %s}]}]}'
    % json.dumps(RIGHT).encode(),
    "an import of the chapter's": notebook(RIGHT.replace("rate *", "np.array(rate) *")),
    "words in a text": notebook(RIGHT.replace("return", "'open os.system'\n    return")),
}  # fmt: skip


@pytest.fixture
def in_process(monkeypatch):
    """Tasks run here: what is tested is what becomes of a submission, not the sandbox."""

    def run(_, jobs, *__):
        return {name: harness.answers(name, *job) for name, job in jobs.items()}

    monkeypatch.setattr(runner.Sandbox, "run", run)


@pytest.mark.parametrize("what", READ)
def test_a_solution_counts_wherever_it_stands(what, tmp_path, in_process):
    (tmp_path / "01.ipynb").write_bytes(READ[what])
    questions = {name: assess.visible(name) for name in TASKS}
    results = assess.assess(handed_in.read(tmp_path), questions, runner.Sandbox())
    faults = {result.task.name: result.verdict.fault for result in results}
    assert faults.pop("reach") is None
    assert all(re.match("not handed in|the notebook does not define", f) for f in faults.values())


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(name, data):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


DAMAGED = bytearray(zipped(**{"01.ipynb": notebook(RIGHT, "x = 1\n" * 500)}))
DAMAGED[60:90] = b"x" * 30
BOMB = zipped(**{"data.bin": bytes(150 << 20)})
#: File name to content, the points that it must have, and a part of the remark.
HANDED_IN = {
    "smith.john.zip": (zipped(**{"a/01_aspp_model.ipynb": ONE}), 2, "without chapter"),
    "Ada M. Lee.ZIP": (zipped(**{"x\\y\\01 (1).ipynb": ONE, "__MACOSX/01.ipynb": b"x"}), 2, ""),
    "zoe.tar.gz": (tarred("hw/01.ipynb", ONE), 2, ""),
    "bare.ipynb": (ONE, 2, ""),
    "Eve_123_assignsubmission_file_.zip": (zipped(**{"in.zip": zipped(**{"1.ipynb": ONE})}), 2, ""),
    "copies.zip": (zipped(**{"1.ipynb": ONE, "a/1.ipynb": notebook(STUB)}), 2, "a/1.ipynb does"),
    "=HYPERLINK(1).ipynb": (ONE, 2, ""),
    "zoe.ipynb": (notebook(STUB, ids=("reach",)), 0, ""),
    "zoe (2).ipynb": (ONE, 2, ""),
    "李明.ipynb": (ONE, 2, ""),
    "李" * 80 + ".ipynb": (ONE, 2, ""),
    "nested.ipynb": (notebook(RIGHT + "\n    if 0:\n        0" + ELIF * 400), 2, ""),
    "damaged.zip": (bytes(DAMAGED), 0, "cannot be read"),
    "none.zip": (b"no zip at all", 0, "cannot be read"),
    "xz.tar.xz": (b"\xfd7zXZ\0\0\0" + b"x" * 90, 0, "cannot be read"),
    "deep.ipynb": (b'{"cells":' + b"[" * 100_000, 0, "damaged"),
    "bomb.zip": (zipped(**{"01.ipynb": bytes(99 << 20), "02.ipynb": ONE}), 2, "over 20 MB"),
    "many.zip": (zipped(**{f"{k}.zip": BOMB for k in range(3)}), 0, "unpacks to over 400 MB"),
    "infinite.ipynb": (notebook("def first_click(mask):\n    return float('inf'), 3"), 0, ""),
    "report.pdf": (b"%PDF", 0, "no notebook"),
    "surrogate.ipynb": (notebook("def reach(*a):\n    raise ValueError('\\ud800')"), 0, ""),
    "import.ipynb": (notebook("import os\rdef reach(*a):\r    os.getcwd()"), 0, "look at reach"),
}  # fmt: skip


def put(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def rows_of(table):
    return pd.read_csv(table, dtype=str, na_filter=False).to_dict("records")


def test_everything_handed_in_has_a_row_of_its_own(tmp_path, in_process, capsys):
    folder = put(tmp_path / "in", **{name: data for name, (data, *_) in HANDED_IN.items()})
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.ipynb")
    (folder / "smith.john").mkdir()
    stale = tmp_path / "grades/feedback/gone.html"
    stale.parent.mkdir(parents=True)
    stale.touch()
    rows = rows_of(grade.grade(folder, tmp_path / "grades", jobs=2))
    assert len(rows) == len(list(folder.iterdir())) == len({row["Student"] for row in rows})
    by_name = {row["Student"]: row for row in rows}
    entries = sorted(path for path in folder.iterdir())
    for entry, row in zip(entries, rows, strict=True):
        _, points, remark = HANDED_IN.get(entry.name, (0, 0, "no notebook"))
        assert (float(row["Points"]), row["reach"]) == (points, f"{points}"), entry.name
        assert remark in row["Remark"], row["Remark"]
    same = "smith.john, smith.john (2), zoe, zoe (2), zoe (3), Ada M. Lee"
    assert {*same.split(", ")} <= by_name.keys()
    assert by_name["Eve"]["ID"] == "Participant 123"
    assert "'=HYPERLINK(1)" in by_name, "no formula"
    assert len(list((tmp_path / "grades/feedback").glob("*.html"))) == len(rows)
    assert not stale.exists()
    page = (tmp_path / "grades/feedback/import.html").read_text(encoding="utf-8")
    assert "import os" in page
    assert "How far a dilated kernel reaches".lower() in page.lower()
    scores = json.loads((tmp_path / "grades/gradescope/bare.json").read_text(encoding="utf-8"))
    assert scores["score"] == 2


def test_regrading_shows_what_it_was_before_and_who_wrote_alike(tmp_path, in_process, capsys):
    source = TASKS["match"].parts[-1].replace("found", "pairs").replace("### BEGIN", "# mine")
    alike, out = notebook(source), tmp_path / "out"
    folder = put(tmp_path / "in", **{"ada.ipynb": alike, "bob.ipynb": alike})
    grade.grade(folder, out)
    wrong = notebook("def match(masks, objects):\n    return [0]", words="No gradient reaches it.")
    put(folder, **{"bob.ipynb": wrong})
    marked = pd.read_csv(out / "grades.csv").set_index("Student")
    marked.loc["bob", "ceiling (by hand, of 5)"] = 4
    marked.to_csv(out / "grades.csv")
    assert "ada, bob" in (out / "alike.csv").read_text(encoding="utf-8")
    rows = rows_of(grade.grade(folder, out, partial=True))
    assert [(row["Points"], row["Before"]) for row in rows] == [("4", "4"), ("0", "4")]
    assert [row["ceiling (by hand, of 5)"][:1] for row in rows] == ["", "4"]
    assert "No gradient reaches it." in (out / "feedback/bob.html").read_text(encoding="utf-8")
    assert "the chapter, ada" in (out / "alike.csv").read_text(encoding="utf-8")
    assert "match,1,2" in (out / "tasks.csv").read_text(encoding="utf-8")
    by_excel = (out / "grades.csv").read_bytes().replace(b",", b";")
    (out / "grades.csv").write_bytes(by_excel)
    with pytest.raises(BadInput, match="save it with commas"):
        grade.grade(folder, out)
    assert (out / "grades.csv").read_bytes() == by_excel
    marked.to_csv(out / "grades.csv")
    with pytest.raises(BadInput, match="points by hand of 'bob', who has no submission here"):
        grade.grade(put(tmp_path / "late", **{"ada.ipynb": alike}), out)


def test_without_submissions_nothing_is_touched(tmp_path):
    kept = tmp_path / "out/feedback/kept.html"
    kept.parent.mkdir(parents=True)
    kept.touch()
    for path, said in (tmp_path / "no", "SUBMISSIONS=folder"), (put(tmp_path / "in"), "is empty"):
        with pytest.raises(BadInput, match=said):
            grade.grade(path, tmp_path / "out")
    put(tmp_path / "in", **{"ada.ipynb": ONE})
    for options, said in ({"jobs": 0}, "--jobs.*got 0"), ({"seconds": 0}, "--seconds.*got 0"):
        with pytest.raises(BadInput, match=said):
            grade.grade(tmp_path / "in", tmp_path / "out", **options)
    assert kept.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_what_is_graded_survives_an_interruption(name, tmp_path):
    endless = notebook("def reach(*a):\n    while True:\n        pass")
    put(tmp_path / "in", **{"ada.ipynb": ONE, "bob.ipynb": endless})
    # A shell's background job, as these tests may be, ignores SIGINT, and so would what it starts.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    listen += "import sys; from seghw.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", listen, "grade", "in", "--out", "out", "--seconds", "500"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as child:
        while not (tmp_path / "out/grades.csv").exists() and child.poll() is None:
            time.sleep(0.1)
        time.sleep(1)  # the second is asked
        child.send_signal(getattr(signal, name))
        assert child.communicate(timeout=20)[1].endswith("seghw: interrupted\n"), "grades anew"
    assert child.returncode == 130
    assert [row["Points"] for row in rows_of(tmp_path / "out/grades.csv")] == ["2"]


class Gone(io.StringIO):
    """A terminal that was closed."""

    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("stdout", [io.TextIOWrapper(io.BytesIO(), "ascii"), Gone()])
def test_a_narrow_or_closed_output_costs_nothing(stdout, tmp_path, in_process, monkeypatch):
    folder = put(tmp_path / "in", **{"李明.ipynb": ONE, "ada.ipynb": ONE})
    monkeypatch.setattr(sys, "stdout", stdout)
    cli.main(["grade", str(folder), "--out", str(tmp_path / "out")])
    assert [row["Points"] for row in rows_of(tmp_path / "out/grades.csv")] == ["2", "2"]
    assert (tmp_path / "out/tasks.csv").is_file()


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    return make_edition(tmp_path_factory.mktemp("dist") / "assignment")


def test_the_edition_has_the_visible_checks_and_no_solution(edition, monkeypatch):
    texts = {
        p: p.read_text(encoding="utf-8")
        for p in edition.rglob("*")
        if p.suffix in (".ipynb", ".md", ".json", ".toml") and "data" not in p.parts
    }
    for task in TASKS.values():
        inside = task.parts[-1].split("BEGIN SOLUTION")[1]
        lines = [line.strip() for line in inside.splitlines() if len(line.strip()) > 25]
        own = texts[edition / "notebooks" / task.notebook]
        assert not [line for line in lines if json.dumps(line)[1:-1] in own], task.name
    kept = "BEGIN SOLUTION|HIDDEN TESTS|rubric"
    assert not [path for path, text in texts.items() if re.search(kept, text)]
    there = {path.name for path in (edition / "seghw/assignment").iterdir()}
    assert there.isdisjoint({"questions.py", "mistakes.toml", "grade.py", "edition.py"})
    monkeypatch.setattr(assess, "VISIBLE", edition / "seghw/assignment/visible.pt")
    visible = assess.of_edition()
    assert visible.keys() == TASKS.keys()
    assert not any(question.hidden for asked in visible.values() for question in asked)
    answers = sum(text.count("YOUR ANSWER HERE") for text in texts.values())
    assert answers == 2 * len(notebooks.tasks("markdown")) == 4, "in two copies"
    assert (edition / "AGENTS.md").is_file()
    assert (edition / "Makefile").is_file()
    with pytest.raises(FileExistsError, match="already exists"):
        make_edition(edition)


def test_links_of_the_edition_lead_somewhere(edition):
    for path in (edition / "notebooks").glob("*.ipynb"):
        cells = read_cells(path.read_bytes())
        text = "\n".join(cell.source for cell in cells if cell.kind == "markdown")
        links = set(re.findall(r"\]\((?!https?:)([^)#]+)", text)) - {"../dist/report/report.html"}
        assert not [link for link in links if not (path.parent / link).exists()]


def test_a_student_works_in_the_edition_and_hands_in(edition, tmp_path):
    """In processes that know nothing of this project."""
    edition = shutil.copytree(edition, tmp_path / "mine")
    path = edition / "notebooks" / TASKS["reach"].notebook
    content = json.loads(path.read_text(encoding="utf-8"))
    shutil.copy(path, path.with_name("01-Copy1.ipynb"))
    for cell in content["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id")
        mine = {"reach": RIGHT, "residual": "def residual(:", "dense_head": NOWHERE}
        cell["source"] = mine.get(name, cell["source"])
    path.write_text(json.dumps(content), encoding="utf-8")
    apart = {**os.environ, "PYTHONPATH": str(edition), "SEGHW_HOME": str(edition)}
    command = [sys.executable, "-m", "seghw", "submission", "--name", "Ada Lovelace"]
    options = {"env": apart, "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=edition, check=True, **options)
    assert len(re.findall(r"^\d\d \w+ +not solved yet$", done.stdout, re.M)) == len(TASKS) - 3
    assert re.search(r"reach +solved", done.stdout)
    with zipfile.ZipFile(edition / "submission-Ada-Lovelace.zip") as archive:
        assert len(archive.namelist()) == 6
    shutil.copy(edition / "submission-Ada-Lovelace.zip", edition / "again.zip")
    assert len(handed_in.read(edition / "again.zip").chapters) == 6
    refused = subprocess.run([*command[:3], "grade", "x"], **options)
    assert "student's edition" in refused.stderr


def test_a_check_in_a_notebook_says_what_came_and_what_was_expected(capsys):
    def reach(kernel, rate):
        return kernel * rate

    later = seghw.assignment.check("reach", reach)
    said = capsys.readouterr().out
    assert "there are kernel - 1 gaps" in said
    assert "given     3, 6" in said
    assert "came      18\nexpected  13" in said
    with pytest.raises(seghw.assignment.Waiting, match="waits for the task `reach`"):
        later(3, 1)
    assert seghw.assignment.check("printed_dice", reach) is not reach

    def right(kernel, rate):
        return rate * (kernel - 1) + 1

    assert seghw.assignment.check("reach", right) is right
    seghw.assignment.solved("reach")
