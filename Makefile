# Everything sets itself up: python3 (3.10 or later, with venv) and make are all a machine needs.
#
#   make demo     build the example app into one binary and run it with no Python reachable
#   make test     all tests in parallel, then the core tests on every other CPython found here
#   make test-nuitka test-uwsgi     what takes minutes to compile
#   make test-peers test-stdlib     large packages, and CPython's own tests of multiprocessing
#   make long faults fuzz soak repeat    the long way, for what is rare
#   make interpreters     the core tests in CPythons that are not here
#   make wheels wheels-aarch64     all wheels of a release, and whether each works
#   make suite matrix lint types docs sanitize coverage bench clean
#
# PYTHON=/path/to/python3.13 chooses the interpreter; PYTEST_ARGS="-k fork -x" is handed to pytest;
# MINUTES=10 is how long soak and fuzz take, ROUNDS=20 how often repeat runs the suite.

PYTHON ?= python3
PYTEST_ARGS ?=
MINUTES ?= 10
ROUNDS ?= 20

# What is built has the time of the last commit, so that the same commit gives the same bytes. Not
# exported: an installer that sees it writes .pyc files that are checked at each import.
EPOCH = SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)}

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WHEEL := dist/earlyfork.stamp
SOURCES := $(shell find src hooks -type f -not -path '*/__pycache__/*' -not -path '*.egg-info/*') \
           pyproject.toml setup.py $(wildcard README.md LICENSE)

.PHONY: demo test suite matrix test-nuitka test-uwsgi test-peers test-stdlib \
        lint types docs sanitize coverage bench interpreters wheels wheels-aarch64 long faults fuzz soak repeat \
        clean
.DELETE_ON_ERROR:
# One job after the other: they share one venv, and pytest uses all cores by itself.
.NOTPARALLEL:

test: suite matrix

suite: $(VENV)/installed $(VENV)/extra-test $(VENV)/extra-frozen $(VENV)/extra-fuzz
	$(BIN)/python -m pytest $(PYTEST_ARGS) || $(call once_more,$(BIN)/python)

# A test that fails beside all the others and passes alone is unstable: it is named, as a bug to be
# looked at, but does not hide whether the change works.
once_more = { echo "=== UNSTABLE, unless it fails again: what failed above, one test at a time"; \
  $(1) -m pytest -n 0 --last-failed --last-failed-no-failures=none $(PYTEST_ARGS); }

matrix: $(WHEEL)
	$(BIN)/python tests/matrix.py --done $(BIN)/python

# Compiles for minutes, or something in C: not for every day. Last results: docs/frozen.md.
test-nuitka test-uwsgi: test-%: $(VENV)/installed $(VENV)/extra-test $(VENV)/extra-%
	$(BIN)/python -m pytest tests/hosts/test_$*.py -n 0 $(PYTEST_ARGS)

# The programs of docs/use-with.md with what is too large for every day (torch has gigabytes).
test-peers: $(VENV)/installed $(VENV)/extra-test $(VENV)/extra-peers
	$(BIN)/python -m pytest tests/test_use_with.py $(PYTEST_ARGS)

# The interpreter's own tests of multiprocessing, against forkserver, of subprocess and of the pool of
# concurrent.futures. The suite
# has the quick ones.
test-stdlib: $(VENV)/installed
	$(BIN)/python tests/stdlib/run.py --compare
	$(BIN)/python tests/stdlib/subprocess_tests.py --slow
	$(BIN)/python tests/stdlib/pool_tests.py --slow
	$(BIN)/python tests/stdlib/joblib_tests.py || [ $$? = 77 ]

demo: $(VENV)/installed $(VENV)/extra-frozen
	PYTHON="$(CURDIR)/$(BIN)/python" bash examples/frozen_app/demo.sh

lint: $(VENV)/installed $(VENV)/extra-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(SCHEMA).github-workflows .github/workflows/*.yml
	$(SCHEMA).github-issue-forms .github/ISSUE_TEMPLATE/[bi]*.yml
	$(SCHEMA).citation-file-format CITATION.cff
	@if command -v $(CC) >/dev/null; then set -x; $(CC) -Wall -Wextra -Werror -fsyntax-only \
	    -std=c11 -D_GNU_SOURCE -isystem $$($(INCLUDE)) src/quick/*.c; \
	  else echo "lint: src/quick is not looked at: there is no C compiler ($(CC))"; fi

SCHEMA = $(BIN)/check-jsonschema --quiet --builtin-schema vendor
INCLUDE = $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'

# The part in C under AddressSanitizer and UBSan: see docs/reliability.md, "The part in C". What they
# find aborts the process that does it, and is printed there.
sanitize: $(VENV)/installed $(VENV)/extra-test
	rm -rf .sanitize
	CFLAGS="-g -O1 -fno-omit-frame-pointer $(SANITIZERS)" LDFLAGS="$(SANITIZERS)" \
	  $(BIN)/python setup.py --quiet build --build-base .sanitize/build --build-lib .sanitize/lib
	nm -D .sanitize/lib/earlyfork/_quick*.so | grep -q __asan_init
	LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:handle_segv=0 \
	  UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc PYTHONPATH=.sanitize/lib \
	  $(BIN)/python -m pytest -q --timeout=300 $(SANITIZED) \
	  -W "ignore:the environment differs in LD_PRELOAD" $(PYTEST_ARGS)
	$(CC) --version | head -n 1

SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=undefined
SANITIZED := $(addprefix tests/,contract test_quick.py test_payloads.py test_up_socket.py)

# The package; that it is, at run time, what checkers believe; that all it exports is typed; and a
# program as users write them, in the strict modes of mypy and pyright, and under jedi's completion.
# basedpyright is pyright as one installs it from PyPI: with all its parts in wheels.
types: $(VENV)/installed $(VENV)/extra-lint
	$(BIN)/mypy
	$(BIN)/stubtest --mypy-config-file pyproject.toml --ignore-unused-allowlist \
	  --allowlist tests/typing/not_at_runtime.txt earlyfork
	$(BIN)/mypy --strict --config-file= --cache-dir .mypy_cache/user tests/typing/program.py
	$(BIN)/basedpyright -p tests/typing --pythonpath $(BIN)/python
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/basedpyright --ignoreexternal --verifytypes earlyfork \
	  >.mypy_cache/verifytypes.txt || { cat .mypy_cache/verifytypes.txt; exit 1; }
	$(BIN)/python tests/typing/completion.py

# The documentation site, into site/. Any warning fails: a link to nowhere, a docstring that names no
# parameter, anything that would be loaded from the network. REPOSITORY=https://... gives it links.
docs: $(VENV)/extra-docs
	REPOSITORY='$(REPOSITORY)' NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# Which lines and branches of the package the tests reach, in all processes that they make: see
# docs/reliability.md, "Coverage". Fails below 95 %; takes minutes, and thousands of small files.
coverage: $(VENV)/installed $(VENV)/extra-test $(VENV)/extra-coverage
	rm -rf .coverage .coverage.*
	mkdir .coverage
	$(BIN)/python setup.py --quiet build_ext --inplace
	PYTHONPATH=src EARLYFORK_PURE=1 $(MEASURE) -m "not frozen" --ignore=tests/hosts $(PYTEST_ARGS); \
	  failed=$$?; PYTHONPATH=src $(MEASURE) $(WITH_C) || failed=$$?; \
	  $(BIN)/python -m coverage combine --quiet; \
	  $(BIN)/python -m coverage report && exit $$failed

MEASURE = $(BIN)/python -m coverage run -m pytest -q --timeout=300
# What is there only with the part in C.
WITH_C := $(addprefix tests/,contract test_quick.py test_up_socket.py test_scale.py lifelines/test_second_line.py)

# The figures, the README's picture of them and the tables of docs/performance.md. Wants an idle
# machine. Beside it: Perl's AnyEvent::Fork, where it is (Debian: libanyevent-fork-perl libev-perl).
bench: $(VENV)/installed $(VENV)/extra-bench
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/rpc.py
	$(BIN)/python benchmarks/pool.py
	$(BIN)/python benchmarks/pool_peers.py
	$(BIN)/python benchmarks/deaths.py --write
	$(BIN)/python benchmarks/command.py
	$(BIN)/python benchmarks/remote.py
	$(BIN)/python benchmarks/picture.py
	$(BIN)/python benchmarks/page.py

# Every system call of every party fails once, and each party is killed after each byte.
faults: $(VENV)/installed $(VENV)/extra-test
	EARLYFORK_FAULTS=1 $(BIN)/python -m pytest tests/faults $(PYTEST_ARGS)

# What readers of bytes, and processes, make of anything at all: a hundred times as long as in the
# suite; workers that say anything for MINUTES, with and without the part in C (the seed is printed);
# then guided by coverage for as long. What was found stays in .fuzz.
fuzz: $(VENV)/installed $(VENV)/extra-test $(VENV)/extra-fuzz
	$(BIN)/python -m pytest tests/test_wire.py tests/test_fuzz.py --hypothesis-profile=long \
	  --timeout=0 $(PYTEST_ARGS)
	$(BIN)/python tests/programs/fuzz/fuzz_up.py --seconds $$(($(MINUTES) * 60))
	EARLYFORK_PURE=1 $(BIN)/python tests/programs/fuzz/fuzz_up.py --seconds $$(($(MINUTES) * 60))
	$(BIN)/python tests/fuzz/fuzz_wire.py .fuzz/corpus -artifact_prefix=.fuzz/ -max_len=4096 \
	  -max_total_time=$$(($(MINUTES) * 60))

# Mixed load with random kills; at the end every process that was made is accounted for. Then a
# million jobs in ten minutes, each of which ends in exactly one way.
soak: $(VENV)/installed $(VENV)/extra-test
	$(BIN)/python tests/soak.py $(MINUTES)
	$(BIN)/python tests/soak_pool.py $$(($(MINUTES) * 100000))

# What takes minutes each: a million calls, 4 GB in one value, all of CPython's tests of its pool.
long: $(VENV)/installed $(VENV)/extra-test
	EARLYFORK_LONG=1 $(BIN)/python -m pytest tests -n 1 -m long $(PYTEST_ARGS)

# The suite again and again, in random company of itself: what is rare shows up here.
repeat: $(VENV)/installed $(VENV)/extra-test
	for round in $$(seq $(ROUNDS)); do \
	  echo "repeat: round $$round of $(ROUNDS)"; \
	  $(BIN)/python -m pytest -q -m "not frozen" $(PYTEST_ARGS) || exit; \
	done

# Every wheel of a release, without containers, the same bytes each time: see release/wheels.py. Then
# whether pip takes the right one for each tag, and what each CPython of this machine makes of it.
# REPOSITORY=https://... gives the pages on PyPI their links.
wheels: $(VENV)/installed $(VENV)/extra-wheels
	$(EPOCH) $(BIN)/python release/wheels.py --prove --repository '$(REPOSITORY)' dist/earlyfork-*.tar.gz wheelhouse
	$(BIN)/python release/check.py wheelhouse

# The core tests in CPythons that are too young for this machine (3.14, its debug build, 3.15): of
# Debian's packages, unpacked. Root, gigabytes and half an hour. Last results: README.md.
interpreters: $(VENV)/installed
	$(BIN)/python tests/interpreters.py $(PYTEST_ARGS)

# The same under qemu-user, in Debian's CPython for aarch64 (Debian: qemu-user-static).
wheels-aarch64: $(VENV)/extra-wheels
	@test -d wheelhouse || { echo "make wheels comes first" >&2; exit 1; }
	$(BIN)/python release/check.py wheelhouse --aarch64

clean:
	rm -rf .headers .interpreters site wheelhouse .venv .venvs .sanitize build dist *.egg-info src/*.egg-info .mypy_cache .pytest_cache .ruff_cache \
	  .hypothesis .fuzz .coverage .coverage.* examples/frozen_app/build examples/frozen_app/dist

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

# A wheel, not an editable install: PyInstaller does not see those, and a missing file shows. It is
# built from the sdist, as users' and as the other interpreters' are (the part in C is each one's
# own). build/ is removed first: setuptools would pack what is left there of files that are gone.
$(WHEEL): $(SOURCES) | $(VENV)/made
	rm -rf build *.egg-info src/*.egg-info dist/*.whl dist/*.tar.gz
	$(BIN)/python -c "import setuptools.build_meta as build; build.build_sdist('dist')" >/dev/null
	rm -rf *.egg-info src/*.egg-info
	$(EPOCH) $(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist dist/earlyfork-*.tar.gz
	@touch $@

$(VENV)/installed: $(WHEEL) | $(VENV)/made
	$(PIP) install --no-deps --force-reinstall dist/earlyfork-*.whl
	@touch $@

# The tools of one extra. pip cannot install an extra without its package: the package comes along
# and is then put back by `installed` whenever its own sources change. When one tool can't be had
# here the others are installed all the same, and the tests that need it skip themselves by name.
$(VENV)/extra-%: pyproject.toml | $(VENV)/installed
	$(PIP) install "$$(echo dist/earlyfork-*.whl)[$*]" || \
	  $(BIN)/python tests/matrix.py --extra $* --into $(BIN)/python
	@touch $@
