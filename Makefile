# `make help` lists the targets. Everything runs in .venv, which is made when it is first needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_BENCH := $(VENV)/.installed-bench
INSTALLED_FUZZ := $(VENV)/.installed-fuzz

.DEFAULT_GOAL := help
.PHONY: help demo test check test-crash test-slow test-fuzz bench bench-million soak clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{printf "%-20s%s\n", $$1, $$2}'

demo: $(INSTALLED) ## a tour on the bundled sample: store, search, look for plaintext, reopen
	@$(BIN)/python examples/demo.py

# The workers take all cores: threads of their BLAS would only spin in each other's way.
test: $(INSTALLED_DEV) ## the tests, without the long suites
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 3

check: $(INSTALLED_DEV) ## formatting, lint, types, layers, exports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_layers.py tests/unit/test_exports.py

test-crash: $(INSTALLED_DEV) ## the long crash suite: kills and power cuts at every step of a write
	$(BIN)/python -m pytest -m slow tests/crash

test-slow: $(INSTALLED_DEV) ## all long suites
	$(BIN)/python -m pytest -m slow

test-fuzz: $(INSTALLED_FUZZ) ## decoders under coverage-guided fuzzing, a minute each
	$(BIN)/python tests/fuzz/run_atheris.py

bench: $(INSTALLED_BENCH) ## the figures of the README, measured on this machine
	$(BIN)/python bench/run.py

bench-million: $(INSTALLED) ## figures at a million rows: needs some gigabytes and a while
	$(BIN)/python bench/million.py

soak: $(INSTALLED_BENCH) ## half an hour of mixed work: what an index takes is to level off
	$(BIN)/python bench/soak.py

clean: ## remove .venv, demo-data and what tools leave behind
	rm -rf $(VENV) demo-data build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A venv without pip (Debian: python3-venv is missing) is removed again, so that the next try is a
# fresh one.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or later is needed: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "no venv could be made (Debian, Ubuntu: apt install python3-venv)"; exit 1; }

$(INSTALLED): pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV); compiling hnswlib takes about a minute the first time."
	@$(call install,.)
	@touch $@

$(INSTALLED_DEV): pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV), with the tools for tests and checks."
	@$(call install,.[dev])
	@touch $@ $(INSTALLED)

$(INSTALLED_FUZZ): pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV), with the fuzzer."
	@$(call install,.[fuzz])
	@touch $@ $(INSTALLED)

# What the library is compared with may be missing: the benchmarks then leave it out, and say so.
$(INSTALLED_BENCH): pyproject.toml | $(INSTALLED)
	@echo "Installing into $(VENV) what the library is compared with."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 1 \
		--editable '.[bench]' > $(VENV)/pip-bench.log 2>&1 && touch $@ || \
		echo "Not all could be installed ($(VENV)/pip-bench.log says why): measuring without it."

# pip says nothing unless it fails.
define install
$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '$(1)' > $(VENV)/pip.log 2>&1 || \
	{ cat $(VENV)/pip.log; echo; \
	echo "The installation failed; the reason is above. hnswlib is compiled from source: it needs a"; \
	echo "C++ compiler and Python's headers (Debian, Ubuntu: apt install g++ python3-dev)."; exit 1; }
endef
