# `make figures` and `make test` set up .venv themselves; the README says what else there is.
PYTHON ?= python3
RUNS ?= data/runs
SAM ?=
BIN := .venv/bin

.PHONY: figures report assignment submission grade test bench lab retrain notebooks lint setup

figures: .venv/ready
	$(BIN)/python -m seghw figures --runs $(RUNS) $(if $(SAM),--sam $(SAM))

# The whole report from the same records: dist/report/report.html and report.pdf.
report: .venv/ready
	$(BIN)/python -m seghw report --runs $(RUNS) $(if $(SAM),--sam $(SAM))

test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --nbval --nbval-sanitize-with tests/nbval.cfg tests notebooks

# Measured against DLStudio on this machine; written to data/bench/, from which the README quotes.
bench: .venv/ready
	$(BIN)/python -m tests.bench

# The students' notebooks: dist/assignment. `make submission NAME="..."` checks and zips them;
# `make grade SUBMISSIONS=folder` writes dist/grades: a CSV and a page per student.
assignment: .venv/ready
	$(BIN)/python -m seghw.assignment edition

submission: .venv/ready
	$(BIN)/python -m seghw.assignment submit --name "$(NAME)"

grade: .venv/ready
	$(BIN)/python -m seghw.assignment grade "$(SUBMISSIONS)"

lab: .venv/ready
	PYTHONSTARTUP="$(CURDIR)/notebooks/.lab/startup.py" $(BIN)/jupyter lab --allow-root --LabApp.app_settings_dir=notebooks/.lab --LabApp.default_url=/lab/tree/notebooks/README.md

# Trains the whole grid again, beside the committed records; interrupt and repeat at will.
# `make figures RUNS=data/retrained` then draws what came out.
retrain: .venv/ready
	$(BIN)/python -m seghw sweep --runs data/retrained

# Runs every notebook in place, as they are committed.
notebooks: .venv/ready
	TQDM_DISABLE=1 $(BIN)/python tests/execute_notebooks.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, $(PYTHON) is %s; try make PYTHON=python3.12 ..." % sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@
