# The commands of the project; each makes what it needs first.
SHELL := /bin/bash
.DELETE_ON_ERROR:
PY := .venv/bin/python
PYTHON ?= python3
ENVIRONMENT ?= /opt/deployd/.venv
ARGS ?=
PYTEST_ARGS ?=
WORKERS = $(shell echo $$(($$(nproc) + 1)))  # one more than there are cores, since some tests wait
# Without bytecode files every test worker, and every daemon that a test starts, would compile all of it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup wheel install demo test test-pythons test-hosts faults check lint format bench lock clean

setup: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@./tests/testbed/environment .venv
	@touch $@

# dist/: the wheel, and beside it a lock that names it and all that it needs, with hashes; one more with what traces need. And the
# wheel of model_service, which is taken out of that of deployd.
wheel: build/tools
	rm -rf dist build/lib build/bdist.* build/wheel deployd.egg-info
	SOURCE_DATE_EPOCH=315532800 build/tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	build/tools/bin/python -m zipfile -e dist/deployd-*.whl build/wheel
	mv build/wheel/deployd/starter/model_service-*.whl dist/ && rm -r build/wheel
	@cd dist && for wheel in deployd-*.whl; do \
	    name=$${wheel%%-py3-*} && hash=$$(sha256sum "$$wheel" | cut -d ' ' -f 1) \
	    && own="--find-links .\n$${name/-/==} --hash=sha256:$$hash" \
	    && { echo -e "$$own"; cat ../deployd/requirements.lock; } > "$$name.lock" \
	    && { echo -e "$$own"; cat ../deployd/otel.lock; } > "$$name-otel.lock"; done
	@ls dist/*

# What builds a wheel, as requirements.lock has it.
build/tools: requirements.lock
	rm -rf $@ && $(PYTHON) -m venv $@
	sed -n '/^setuptools==/,/# via/p' $< | $@/bin/pip install --quiet --disable-pip-version-check --require-hashes -r /dev/stdin

# For production, as root: that wheel by its lock in an environment of its own, and what `deployd install` writes. The new
# environment is made beside the present one, which a daemon may be running from. What traces need comes with OTEL=1, and stays.
install: wheel
	rm -rf $(ENVIRONMENT).new $(ENVIRONMENT).old && $(PYTHON) -m venv --without-pip $(ENVIRONMENT).new
	build/tools/bin/pip --quiet --python $(ENVIRONMENT).new/bin/python install --require-hashes \
	    -r dist/deployd-*$(if $(OTEL)$(wildcard $(ENVIRONMENT)/lib/python3*/site-packages/opentelemetry/sdk),-otel,[0-9]).lock
	sed -i '1s|$(ENVIRONMENT).new|$(ENVIRONMENT)|' $(ENVIRONMENT).new/bin/deployd
	[ ! -e $(ENVIRONMENT) ] || mv $(ENVIRONMENT) $(ENVIRONMENT).old
	mv $(ENVIRONMENT).new $(ENVIRONMENT) && rm -rf $(ENVIRONMENT).old
	$(ENVIRONMENT)/bin/deployd install

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

# The image of the model service on other Pythons: in /usr/local, as in the official images, and Debian 13's 3.13.
test-pythons: setup
	set -e; for python in $$($(PY) -m tests.testbed.pythons); do \
	    DEPLOYD_TEST_PYTHON=$$python $(PY) -m pytest -q tests/model_service/test_image.py $(PYTEST_ARGS); done

# What holds on engines of other releases: the table of docs/hosts.md.
test-hosts: setup
	$(PY) -m tests.hosts $(ARGS)

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
	.venv/bin/uv pip compile $(LOCK) --all-extras --group dev --group model pyproject.toml -o requirements.lock
	.venv/bin/uv pip compile $(LOCK) -c requirements.lock pyproject.toml -o deployd/requirements.lock
	.venv/bin/uv pip compile $(LOCK) -c requirements.lock --extra otel pyproject.toml -o deployd/otel.lock
	.venv/bin/uv pip compile $(LOCK) -c requirements.lock model_service/serving.in -o model_service/serving.lock
	.venv/bin/uv pip compile $(LOCK) -c requirements.lock model_service/training.in -o model_service/training.lock
	.venv/bin/uv pip compile $(LOCK) -c requirements.lock tests/testbed/mlflow.in -o tests/testbed/mlflow.lock

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache
