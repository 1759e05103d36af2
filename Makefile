# `make demo` and `make test` do all their own set-up from a bare clone. Nothing outside .venv is changed.
#
#   PYTHON=python3.12      the interpreter to build .venv with (default: the first of python3, 3.13, 3.12, 3.11 that fits)
#   TORCH_ARGS="..."       more arguments for the torch install, for instance an index that serves CPU-only wheels
#   PYTEST_ARGS="..."      more arguments for pytest, for instance -k or a path

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# torch, its build tool and the pins change rarely; the project's own extras more often: hence three stamps.
TORCH_STAMP := $(VENV)/.torch-installed
DEMO_STAMP := $(VENV)/.demo-installed
TEST_STAMP := $(VENV)/.test-installed

# One thread: results are bitwise equal only at one thread count. No test and no demo reaches for the network.
RUN := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1

.PHONY: help demo test fuzz mutants benchmarks docs wheel lint format clean
help:
	@echo "make demo    install what the demo needs, run it, end with the path of the report"
	@echo "make test    install what the tests need, then ruff, mypy and pytest"
	@echo "make fuzz    damage 100,000 preference records and print what became of each (three minutes)"
	@echo "make mutants change the losses a little, one change at a time, and count what the tests notice (MUTANTS=\"shaping\")"
	@echo "make benchmarks  time guerdon beside its peers, write docs/benchmarks.md (BENCHMARKS=\"dpo grpo\" for some)"
	@echo "make docs    build the documentation site into site/; any warning fails"
	@echo "make wheel   build dist/guerdon-….whl with the pinned build tool"
	@echo "make lint    ruff and mypy alone"
	@echo "make format  let ruff mend what it can"
	@echo "make clean   remove .venv and caches"

demo: $(DEMO_STAMP)
	@$(RUN) $(BIN)/guerdon demo

test: lint
	@$(RUN) $(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

fuzz: $(TEST_STAMP)
	@$(RUN) $(BIN)/python -m tests.data.fuzz --records 100000 --seed 0

mutants: $(TEST_STAMP)
	@$(RUN) $(BIN)/python -m tests.mutation $(MUTANTS)

# Every arm sets the threads of its own process.
benchmarks: $(TEST_STAMP)
	@$(BIN)/python -m benchmarks $(BENCHMARKS)

docs: $(TEST_STAMP)
	@$(RUN) NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir site

# What an earlier build left behind would come into the wheel.
wheel: | $(VENV)/bin/python
	@$(PIP) install --quiet "$$(grep '^setuptools==' constraints.txt)"
	@rm -rf build *.egg-info
	@$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build *.egg-info
	@ls dist/guerdon-*.whl

lint: $(TEST_STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy guerdon

format: $(TEST_STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

$(VENV)/bin/python:
	@fits() { "$$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }; \
	chosen=; \
	for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
		if fits "$$candidate"; then chosen=$$candidate; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
		echo "guerdon needs Python 3.11, 3.12 or 3.13; $(or $(PYTHON),python3) is $$($(or $(PYTHON),python3) --version 2>&1 || true)." >&2; \
		echo "Name one that fits: make $(or $(firstword $(MAKECMDGOALS)),test) PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$chosen ($$("$$chosen" --version))"; \
	"$$chosen" -m venv $(VENV) || { \
		rm -rf $(VENV); \
		echo "$$chosen cannot make a virtual environment; on Debian and Ubuntu install python3-venv, or set PYTHON=..." >&2; \
		exit 1; \
	}

# torch comes first and alone, so that a CPU-only or CUDA build chosen here is never replaced by a later resolve.
# The project itself is built without isolation: its build tool is then the pinned one.
$(TORCH_STAMP): constraints.txt | $(VENV)/bin/python
	@echo "Installing $$(grep '^torch==' constraints.txt)"
	@$(PIP) install --quiet --upgrade pip
	@$(PIP) install --quiet -c constraints.txt $(TORCH_ARGS) "$$(grep '^torch==' constraints.txt)" "$$(grep '^setuptools==' constraints.txt)"
	@touch $@

$(DEMO_STAMP): pyproject.toml constraints.txt $(TORCH_STAMP)
	@echo "Installing guerdon and what the demo needs"
	@$(PIP) install --quiet --no-build-isolation -c constraints.txt -e ".[demo]"
	@touch $@

$(TEST_STAMP): pyproject.toml constraints.txt $(TORCH_STAMP)
	@echo "Installing guerdon and what its tests need"
	@$(PIP) install --quiet --no-build-isolation -c constraints.txt -e ".[test]"
	@touch $@ $(DEMO_STAMP)

clean:
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
