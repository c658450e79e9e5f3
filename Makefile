# Everything a newcomer needs; no step before these. `make run` needs the package index and nothing else.
PYTHON ?= python3
BIN := .venv/bin
# The tests start hundreds of processes; what they import is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint bench bench-peers docs venv

run: .venv/.runtime  ## the whole pipeline on the built-in exchange simulator; ends by itself
	$(BIN)/tapewatch demo

venv: .venv/.dev  ## everything the tests need

test: .venv/.dev  ## the whole suite with branch coverage; what measures time comes by itself
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -m "not alone" --cov --cov-report=
	$(BIN)/coverage report
	$(BIN)/python -m pytest -m alone -n 0

lint: .venv/.dev  ## formatting, lint, types, import rules; changes nothing
	$(BIN)/ruff format --check src tests bench docs
	$(BIN)/ruff check src tests bench docs
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.runtime  ## measures this machine
	$(BIN)/tapewatch bench

bench-peers: .venv/.dev  ## the same work done by other libraries, in one run
	$(BIN)/python bench/peers.py

docs: .venv/.dev  ## the documentation as a site, in site/; that what users can see is in it, and its commands run
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest -p no:randomly tests/docs

# The package itself is installed editable: its sources are these, and pins decide everything else.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tapewatch needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv

.venv/.runtime: .venv/bin/python requirements/runtime.txt requirements/build.txt pyproject.toml
	$(INSTALL) --require-hashes -r requirements/build.txt
	$(INSTALL) --require-hashes -r requirements/runtime.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@

.venv/.dev: .venv/.runtime requirements/dev.txt
	$(INSTALL) --require-hashes -r requirements/dev.txt
	touch $@
