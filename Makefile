# Needs Python 3.11 and make; a C++ compiler makes the language model faster. Everything else is installed into .venv.
PYTHON ?= python3.11
BIN := .venv/bin
# --no-compile: Python compiles what is imported when it is first imported, a small part of what is installed.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
DEMO := .demo

.PHONY: demo install test test-all check benchmark clean

demo: .venv/installed
	$(BIN)/python examples/demo.py --data-dir $(DEMO)

install: .venv/installed

# torch comes first and alone, so that nothing else pulls a build for GPUs that are not there.
.venv/installed: pyproject.toml constraints.txt
	@echo "Installing into .venv (once; about two minutes) ..."
	$(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) --constraint constraints.txt --editable .
	$(BIN)/capibara models pull
	@touch $@

.venv/developer: .venv/installed
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Three files at a time on two cores, as many tests wait: for a watcher, for sound, for a program. A file's fixtures,
# some of which load models, are made once for it. Threads that wait by spinning would take the core from another file.
# Python keeps what it compiles, whatever is set: many tests start a program, which would compile its libraries anew.
TEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

test: .venv/developer
	$(TEST) -m "not slow"

# Also whole trainings, models over evaluation data, and programs killed at 50 points.
test-all: .venv/developer
	$(TEST)

check: .venv/developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

.venv/benchmarks: .venv/developer
	$(PIP) --constraint constraints.txt --editable '.[bench]'
	@touch $@

benchmark: .venv/benchmarks
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/ingest.py

clean:
	rm -rf .venv $(DEMO) build *.egg-info
