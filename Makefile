# Every target makes the environment it needs first; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help setup spark demo test lint bench lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "duecare needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/base.txt pyproject.toml | $(BIN)/python
	@echo "Installing what duecare runs on (once) ..."
	@$(PIP) install --require-hashes -r requirements/base.txt
	@$(PIP) install --no-deps --no-build-isolation --require-hashes -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "Installing what the tests need (once) ..."
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.dev ## Make the environment in .venv (the other targets do it themselves)

$(VENV)/.spark: requirements/spark.txt $(VENV)/.run
	@command -v java > /dev/null || test -x "$${JAVA_HOME:-none}/bin/java" || { \
		echo "Spark needs a Java runtime, 17 or newer. On Debian or Ubuntu: sudo apt-get install openjdk-17-jre-headless"; exit 1; }
	@echo "Installing Spark (once; 456 MB to download) ..."
	@$(PIP) install --no-build-isolation --require-hashes -r requirements/spark.txt
	@touch $@

spark: $(VENV)/.spark ## Add Spark to the environment, for lakes that one machine cannot hold; wants Java

demo: $(VENV)/.run ## Thirty days of a small register, from the crawl to the correction
	@$(BIN)/duecare demo

test: $(VENV)/.dev ## Run every test
	@$(BIN)/python -m pytest

lint: $(VENV)/.dev ## Check style, types and the order of the rooms
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.dev ## Measure, and print ratios to the floors
	@$(BIN)/python -m bench

lock: | $(BIN)/python ## Pin the dependencies anew, with hashes
	@$(PIP) install uv
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml -o requirements/base.txt
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --group test --group lint pyproject.toml -c requirements/base.txt -o requirements/dev.txt
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --group pyproject.toml:build -o requirements/build.txt
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --group pyproject.toml:spark -c requirements/base.txt -o requirements/spark.txt

clean: ## Remove the environment and what the tests left
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
