# One environment, .venv, made and brought up to date by whichever target needs it.
#   PYTHON=python3.12   the interpreter to build it with
#   ARGS="..."          passed on to the program that a target runs

PYTHON ?= python3
ARGS   ?=
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
# The stamps say for which pyproject.toml the environment was filled.
USER_STAMP := $(VENV)/.installed
DEV_STAMP  := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format fuzz benchmarks measure docs dist clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(USER_STAMP)  ## Set up what a user needs, then triage eight messages on a local model
	@$(BIN)/mtiprompt demo $(ARGS)

test: setup  ## Fetch the models of tests and README, then run the tests with branch coverage
	@$(BIN)/mtiprompt models pull smollm2-135m
	@$(BIN)/mtiprompt models pull qwen2.5-coder-0.5b
	@$(BIN)/pytest --cov --numprocesses 2 --dist loadfile $(ARGS)

setup: $(DEV_STAMP)  ## Set up what a developer needs

lint: setup  ## Check style, format, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

format: setup  ## Format the code and mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: setup  ## Run the property tests with 2000 examples each
	@HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -m hypothesis --timeout 1800 $(ARGS)

benchmarks: setup  ## Run the quick benchmarks; each fails where it misses its target
	@status=0; for script in imports render_parse cache_hits repair; do \
	  echo "== $$script"; $(BIN)/python benchmarks/$$script.py $(ARGS) || status=1; done; exit $$status

measure: setup  ## Measure on development sets, for hours: make measure OF=plans DATA=FOLDER
	@test -n "$(DATA)" -a -f "benchmarks/$(OF).py" || { echo "name a script of benchmarks/ that takes a folder of sets, and the folder: make measure OF=plans DATA=FOLDER" >&2; exit 2; }
	@$(BIN)/mtiprompt models pull smollm2-135m
	@$(BIN)/mtiprompt models pull qwen2.5-coder-0.5b
	@$(BIN)/python benchmarks/$(OF).py "$(DATA)" $(ARGS)

docs: setup  ## Run every example of the README, docs/ and examples/
	@$(BIN)/pytest tests/test_docs.py $(ARGS)

dist: setup  ## Build the source distribution and, from it, the wheel
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation

clean:  ## Remove all that was made here: .venv, caches, packages
	rm -rf $(VENV) .cache .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache \
	  .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment for developers is one for users too. Recipes stop at the first step that fails and
# leave no stamp, so the next run takes up where this one stopped.

$(USER_STAMP): pyproject.toml
	@$(make-venv)
	@echo "Installing mtiprompt and its embedded engine into $(VENV) (once, about a minute) ..."
	@$(PIP) install -qq --editable '.[local]'
	@touch $@

$(DEV_STAMP): pyproject.toml
	@$(find-browser)
	@$(make-venv)
	@echo "Installing mtiprompt and its development tools into $(VENV) (once, about a minute) ..."
	@$(PIP) install -qq --editable '.[embeddings,local,report,dev]'
	@touch $(USER_STAMP) $@

# Reports are looked at in a real browser, which no Python package brings.
define find-browser
for name in chromium chromium-browser google-chrome; do \
  if command -v $$name >/dev/null; then exit 0; fi; done; \
if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
  echo "Installing Chromium, in which the tests look at reports ..."; \
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } \
    >/dev/null 2>&1 && exit 0; \
fi; \
echo "Chromium was not found; the tests look at reports in it. On Debian and Ubuntu: apt install chromium" >&2; exit 1
endef

# Keeps an environment that works; otherwise checks the interpreter and makes a new one.
define make-venv
if ! $(PIP) --version >/dev/null 2>&1; then \
  command -v "$(PYTHON)" >/dev/null || { \
    echo "$(PYTHON) was not found. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }; \
  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
    echo "mtiprompt needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" --version 2>&1). Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }; \
  "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
    echo "$(PYTHON) cannot make virtual environments: its ensurepip module is missing. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
  echo "Making $(VENV) with $$("$(PYTHON)" --version) ..."; \
  "$(PYTHON)" -m venv --clear $(VENV); \
fi
endef
