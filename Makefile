# Every target works from a fresh clone with nothing but make and Python 3.11 or newer.

# Another Python beside the first: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready

# pytest's own arguments: make test PYTEST_ARGS="-x tests/unit"
PYTEST_ARGS ?=

# Data for the benchmarks and examples. Without its dependencies, which are the model clients of a leaderboard.
DATA := 'bfcl-eval==2026.3.23' 'mpmath>=1.3,<2'

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint format bench bench-reading torture clean FORCE

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(READY)  ## a virtual environment in .venv with everything that the other targets need

demo: $(READY)  ## a recorded, replayed and verified session of tools, in one minute
	$(PY) examples/tool_sessions/demo.py

# Counting what is covered takes a third of the time, so it is asked for: make test COVERAGE=1, as CI does. With
# PYTEST_ARGS only a part is run, so the floor under the coverage does not apply.
test: lint  ## lint, then every test; with COVERAGE=1 the floor under the coverage, too
	$(if $(COVERAGE),$(PY) -m coverage erase)
	$(PY) -m $(if $(COVERAGE),coverage run -m) pytest -n 2 --dist worksteal $(PYTEST_ARGS)
	$(if $(COVERAGE),$(PY) -m coverage combine --quiet)
	$(if $(COVERAGE),$(PY) -m coverage report $(if $(PYTEST_ARGS),--fail-under=0))

# Another part of what is picked at random: make torture PYTEST_ARGS=--seed=2
torture: $(READY)  ## the crash tests at length: what a crash may leave on disk, as far as time allows
	$(PY) -m pytest -n 2 --dist worksteal --torture $(PYTEST_ARGS) tests/crash

lint: $(READY)  ## style, format, types and layers
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-logo

format: $(READY)  ## puts style and format right where a tool can
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: $(READY)  ## what routing, recording, the log, replay and policies cost, as ratios measured in one run
	$(PY) benchmarks/route.py
	$(PY) benchmarks/log.py
	$(PY) benchmarks/replay.py
	$(PY) benchmarks/policy.py

bench-reading: $(READY)  ## what finding and verifying cost with 1,000,000 executions
	$(PY) benchmarks/reading.py

clean:  ## back to a fresh clone: removes whatever make has made, .venv too
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf build demo-store dist htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp names the directory it was made in, and is read by the environment's own interpreter: a copied or moved
# .venv, or one whose Python has gone, is not taken for a good one.
ifneq ($(shell $(PY) -c 'print(open("$(READY)").read())' 2>/dev/null),$(CURDIR))
$(READY): FORCE
endif

# An environment that was finished once is brought up to date; any other (half-made, foreign, moved) is made anew.
# The stamp is away while the work is going on, so that an interrupted run leaves a half-made one.
$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    found=$$($(PYTHON) -c 'import sys; print(sys.version.split()[0])' 2>/dev/null || echo missing); \
	    echo "Python 3.11 or newer is needed, and '$(PYTHON)' is $$found." \
	        "Name another one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@if [ "$$($(PY) -c 'print(open("$(READY)").read())' 2>/dev/null)" != "$(CURDIR)" ]; then \
	    rm -rf $(VENV); \
	    $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	        echo "'$(PYTHON) -m venv' failed: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }; \
	fi
	@rm -f $(READY)
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps $(DATA)
	@printf '%s' '$(CURDIR)' > $(READY)
