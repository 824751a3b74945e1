# `make figures` and `make test` set up .venv themselves; the README says what else there is.
PYTHON ?= python3
RUNS ?= data/runs
SAM ?=
BIN := .venv/bin

.PHONY: figures report assignment submission grade test test-portable bench lab retrain notebooks lint setup

figures: .venv/ready
	$(BIN)/python -m seghw figures --runs "$(RUNS)" $(if $(SAM),--sam "$(SAM)")

# The whole report from the same records: dist/report/report.html and report.pdf.
report: .venv/ready
	$(BIN)/python -m seghw report --runs "$(RUNS)" $(if $(SAM),--sam "$(SAM)")

test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --nbval --nbval-sanitize-with tests/nbval.cfg tests notebooks

# All notebooks as other processors compute them: this one as it is, with AVX2, with SSE4.
NBVAL := -n 2 --dist loadfile -p no:cacheprovider --nbval --nbval-sanitize-with tests/nbval.cfg notebooks
test-portable: .venv/ready
	$(BIN)/python -m pytest $(NBVAL)
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest $(NBVAL)
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(BIN)/python -m pytest $(NBVAL)

# Measured against DLStudio on this machine, into data/bench/; data/bench/live.py is the speed run.
bench: .venv/ready
	$(BIN)/python -m tests.bench

# The students' notebooks: dist/assignment. `make submission NAME="..."` checks and zips them;
# `make grade SUBMISSIONS=folder` writes dist/grades: a CSV and a page per student.
assignment: .venv/ready
	$(BIN)/python -m seghw assignment

submission: .venv/ready
	$(BIN)/python -m seghw submission --name "$(NAME)"

grade: .venv/ready
	$(BIN)/python -m seghw grade "$(SUBMISSIONS)"

lab: .venv/ready
	$(BIN)/python notebooks/.lab/start.py

# Trains the whole grid again, beside the committed records; interrupt and repeat at will.
# `make figures RUNS=data/retrained` then draws what came out.
retrain: .venv/ready
	$(BIN)/python -m seghw sweep --runs data/retrained

# Runs every notebook in place, as they are committed.
notebooks: .venv/ready
	$(BIN)/python tests/execute_notebooks.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, $(PYTHON) is %s; try make PYTHON=python3.12 ..." % sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@
