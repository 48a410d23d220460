# Every target sets up what it needs on a fresh machine. Packages come in the versions of constraints.txt.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
# pip compiles on one core; afterwards all cores do it in half the time.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --quiet --no-compile -c constraints.txt

COMPILE = $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench docs clean system browser

help:
	@echo "make demo    build a small round, run two detectors over it, print the scores"
	@echo "make test    the whole test suite"
	@echo "make lint    ruff and mypy"
	@echo "make bench   every benchmark; tables, and JSON in benchmarks/results"
	@echo "make docs    the documentation, in site/"
	@echo "make clean   remove what the other targets made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Palladion needs Python 3.11 or newer; give one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.models: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing palladion[models] into $(VENV)"
	@$(PIP) -e '.[models]'
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: $(VENV)/.models pyproject.toml constraints.txt
	@echo "installing palladion[models,dev] into $(VENV)"
	@$(PIP) -e '.[models,dev]'
	@$(COMPILE)
	@touch $@

system:
	@sh scripts/system-packages.sh

browser:
	@sh scripts/system-packages.sh browser

demo: system $(VENV)/.models
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh $(DEMO)

test: browser $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: system $(VENV)/.dev
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(DEMO) site build .pytest_cache .mypy_cache .ruff_cache .hypothesis benchmarks/results
