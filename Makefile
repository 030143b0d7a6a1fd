# The commands of the project; each makes what it needs first.
SHELL := /bin/bash
.DELETE_ON_ERROR:
PY := .venv/bin/python
ARGS ?=
PYTEST_ARGS ?=
WORKERS = $(shell echo $$(($$(nproc) + 1)))  # one more than there are cores, since some tests wait
# Without bytecode files every test worker, and every daemon that a test starts, would compile all of it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup install demo test faults check lint format bench lock clean

setup: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@./tests/testbed/environment .venv
	@touch $@

# For production, as root: only what the daemon needs, its account, directories and units; OTEL=1 for what traces need too.
install:
	@OTEL='$(OTEL)' ./systemd/install

demo: setup
	@$(PY) -m deployd demo $(ARGS)

check: lint
	$(PY) -m pytest -q -m "not engine and not cluster and not slow" --numprocesses=$(WORKERS) --dist=worksteal $(PYTEST_ARGS)

lint: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

test: setup
	$(PY) -m tests $(PYTEST_ARGS)

# The long proof: deployd is killed two hundred times, under load.
faults: setup
	$(PY) -m tests.testbed images
	DEPLOYD_KILLS=200 $(PY) -m pytest -s tests/faults $(PYTEST_ARGS)

format: setup
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench: setup
	$(PY) -m bench all $(ARGS)

LOCK := --quiet --universal --no-strip-extras --generate-hashes --no-header --no-emit-index-url --python-version 3.11
lock:
	.venv/bin/uv pip compile $(LOCK) --all-extras pyproject.toml -o requirements.lock
	.venv/bin/uv pip compile $(LOCK) -c requirements.lock pyproject.toml -o deployd/requirements.lock
	.venv/bin/uv pip compile $(LOCK) -c requirements.lock --extra otel pyproject.toml -o deployd/otel.lock
	.venv/bin/uv pip compile $(LOCK) -c requirements.lock model_service/serving.in -o model_service/serving.lock
	.venv/bin/uv pip compile $(LOCK) -c requirements.lock model_service/training.in -o model_service/training.lock
	.venv/bin/uv pip compile $(LOCK) -c requirements.lock tests/testbed/mlflow.in -o tests/testbed/mlflow.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
