# Everything sets itself up: python3 (3.10 or later, with venv) and make are all a machine needs.
#
#   make demo     build the example app into one binary and run it with no Python reachable
#   make test     all tests in parallel, then the core tests on every other CPython found here
#   make test-nuitka test-uwsgi     what takes minutes to compile
#   make lint types bench soak clean
#
# PYTHON=/path/to/python3.13 chooses the interpreter; PYTEST_ARGS="-k fork -x" is handed to pytest.

PYTHON ?= python3
PYTEST_ARGS ?=
ROUNDS ?= 20

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WHEEL := dist/earlyfork.stamp
SOURCES := $(shell find src hooks -type f -not -path '*/__pycache__/*' -not -path '*.egg-info/*') \
           pyproject.toml $(wildcard README.md LICENSE)

.PHONY: demo test test-nuitka test-uwsgi matrix lint types bench soak clean
.DELETE_ON_ERROR:
# One job after the other: they share one venv, and pytest uses all cores by itself.
.NOTPARALLEL:

test: $(VENV)/installed $(VENV)/extra-test $(VENV)/extra-frozen
	$(BIN)/python -m pytest $(PYTEST_ARGS)
	$(BIN)/python tests/matrix.py --done $(BIN)/python

# Compiles for minutes, or something in C: not for every day. Last results: docs/frozen.md.
test-nuitka test-uwsgi: test-%: $(VENV)/installed $(VENV)/extra-test $(VENV)/extra-%
	$(BIN)/python -m pytest tests/hosts/test_$*.py -n 0 $(PYTEST_ARGS)

matrix: $(VENV)/extra-test $(WHEEL)
	$(BIN)/python tests/matrix.py --done $(BIN)/python

demo: $(VENV)/installed $(VENV)/extra-frozen
	PYTHON="$(CURDIR)/$(BIN)/python" bash examples/frozen_app/demo.sh

lint: $(VENV)/installed $(VENV)/extra-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/installed $(VENV)/extra-lint
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/python benchmarks/run.py

# The suite again and again, in random company of itself: what is rare shows up here.
soak: $(VENV)/installed $(VENV)/extra-test
	for round in $$(seq $(ROUNDS)); do \
	  echo "soak: round $$round of $(ROUNDS)"; \
	  $(BIN)/python -m pytest -q -m "not frozen" $(PYTEST_ARGS) || exit; \
	done

clean:
	rm -rf .venv .venvs build dist *.egg-info src/*.egg-info .mypy_cache .pytest_cache .ruff_cache \
	  .hypothesis examples/frozen_app/build examples/frozen_app/dist

# --- set-up ---------------------------------------------------------------------------------

$(VENV)/made:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "no '$(PYTHON)' here: install Python 3.10 or later, or say make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) --version 2>&1): 3.10 or later is needed;" \
	       "say make PYTHON=python3.12 (or where you have one)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv with pip: install it (Debian: apt-get install python3-venv)," \
	       "or say make PYTHON=..." >&2; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install 'setuptools>=77' wheel
	@touch $@

# A wheel, not an editable install: PyInstaller does not see those, and a missing file shows.
# build/ is removed first: setuptools would pack what is left there of files that are gone.
$(WHEEL): $(SOURCES) | $(VENV)/made
	rm -rf build *.egg-info src/*.egg-info dist/*.whl
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	rm -rf build *.egg-info src/*.egg-info
	@touch $@

$(VENV)/installed: $(WHEEL) | $(VENV)/made
	$(PIP) install --no-deps --force-reinstall dist/earlyfork-*.whl
	@touch $@

# The tools of one extra. pip cannot install an extra without its package: the package comes along
# and is then put back by `installed` whenever its own sources change.
$(VENV)/extra-%: pyproject.toml | $(VENV)/installed
	$(PIP) install "$$(echo dist/earlyfork-*.whl)[$*]"
	@touch $@
