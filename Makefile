# Every target does its own set-up; Python 3.11 or later, git and make are all it asks for.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install format lint types test test-all test-pythons faults docs demo bench bench-peers bench-growth check clean

help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/.installed-dev ## Create .venv with Backstory, its extras and every tool.

format: .venv/.installed-dev ## Rewrite the sources in the house format.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: .venv/.installed-dev ## Check format, style, spelling and pyproject.toml.
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/codespell
	$(BIN)/validate-pyproject pyproject.toml

types: .venv/.installed-dev ## Check types with mypy and pyright, both strict.
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

test: .venv/.installed-dev ## Run the tests, but for the slow ones.
	$(BIN)/pytest -m "not slow"

test-all: .venv/.installed-dev ## Run every test.
	$(BIN)/pytest

# Each Python has an environment and a log of its own. One that is found and does not start, as a shim
# of a version manager may, counts as absent.
test-pythons: ## Run the tests, but for the slow ones, on every CPython from 3.11 that is on the PATH.
	@tested=; failed=; for version in 3.11 3.12 3.13 3.14 3.15; do \
	  python=python$$version; venv=.venv-$$version; \
	  $$python -c 'import sys; sys.exit(sys.implementation.name != "cpython")' 2>/dev/null \
	    || { echo "$$python: none on the PATH"; continue; }; \
	  tested=yes; mkdir -p $$venv; \
	  if { [ $$venv/.installed-dev -nt pyproject.toml ] || { $$python -m venv $$venv \
	      && $$venv/bin/python -m pip install --quiet --upgrade pip \
	      && $$venv/bin/python -m pip install --quiet --editable '.[all]' --group dev \
	      && touch $$venv/.installed-dev; }; } >$$venv/tests.log 2>&1 \
	    && $$venv/bin/python -m pytest -q -m "not slow" >>$$venv/tests.log 2>&1; \
	  then echo "$$python: $$(tail -n 1 $$venv/tests.log)"; \
	  else failed=yes; echo "$$python: FAILED: $$(tail -n 1 $$venv/tests.log), see $$venv/tests.log"; fi; \
	done; \
	[ -n "$$tested" ] || echo "There is no CPython from 3.11 on the PATH as python3.11, python3.12, …"; \
	[ -n "$$tested" ] && [ -z "$$failed" ]

faults: .venv/.installed-dev ## Inject every fault, and write the tables of docs/reference/faults.md anew.
	$(BIN)/pytest -m fault --faults-page=docs/reference/faults.md

docs: .venv/.installed-dev ## Build docs/_build/html and run the snippets in the docs.
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	$(BIN)/sphinx-build -q -W --keep-going -b doctest docs docs/_build/doctest

demo: .venv/.installed ## Run the demonstration; pass options with ARGS="...".
	$(BIN)/python examples/swarm/main.py $(ARGS)

# PostgreSQL needs a server, which comes with what tests need; only a picture needs more than that.
bench: .venv/.installed-bench $(if $(findstring --plot,$(ARGS)),.venv/.installed-plot) ## Measure speed as ratios; pass options with ARGS="--quick --only appends".
	$(BIN)/python -m tests.benchmarks.run $(ARGS)

bench-growth: .venv/.installed ## Measure what a log of 10,000,000 events costs: minutes, and 5 GB of disk.
	$(BIN)/python -m tests.benchmarks.run --growth 10000000 $(ARGS)

# What cannot be installed is left out, and the table says so.
bench-peers: .venv-peers/.installed ## Measure beside other libraries, in an environment of its own.
	.venv-peers/bin/python -m tests.benchmarks.run --peers $(ARGS)

check: lint types docs test ## Run what every change must pass; the tests come last.

clean: ## Remove .venv and everything that was built.
	rm -rf .venv .venv-3.* .venv-peers build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Backstory needs Python 3.11 or later, and '$(PYTHON)' is not one; say make PYTHON=python3.11"; \
	  exit 1; } >&2
	$(PYTHON) -m venv .venv

# What a program needs to run: the demonstration waits for nothing else.
.venv/.installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[cli]'
	touch $@

.venv/.installed-bench: .venv/.installed
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group test
	touch $@

.venv/.installed-plot: .venv/.installed-bench
	$(BIN)/python -m pip install --quiet --group bench
	touch $@

.venv-peers/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --upgrade pip
	.venv-peers/bin/python -m pip install --quiet --editable '.[all]' --group test
	for peer in eventsource-py==0.8.1 eventsourcing==9.5.6 'psycopg[binary,pool]>=3.2'; do \
	  .venv-peers/bin/python -m pip install --quiet "$$peer" || echo "$$peer cannot be installed"; \
	done
	touch $@

# Dependency groups want a newer pip than Python 3.11 brings along. The wider installation holds the
# narrower one, so both stamps are set.
.venv/.installed-dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	touch .venv/.installed $@
