# Samovar's commands. `make` alone lists them.
#
# Everything is installed into .venv, at the versions and hashes of requirements/*.lock. A stamp
# file remembers that it was, so later runs take no time and need no network.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# A Python >= 3.11. Where none is named and python3 is older, python3.14 … python3.11 are tried.
PYTHON ?= python3
PYTHONS = $(if $(filter file,$(origin PYTHON)),$(PYTHON) python3.14 python3.13 python3.12 python3.11,"$(PYTHON)")
ARGS ?=
# How many processes the tests run in.
JOBS ?= 2

VENV := .venv
BENCH_VENV := .venv-bench
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --no-warn-script-location

.PHONY: help setup setup-dev setup-clients up test chaos-events check format bench lock clean

help: ## list the commands
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 18

setup: $(VENV)/.runtime-stamp ## prepare .venv/bin/samovar
	@:

setup-dev: $(VENV)/.dev-stamp ## prepare .venv for tests and checks

setup-clients: $(VENV)/.clients-stamp ## build AWS's Node.js client, for tests; needs npm, g++, cmake, autotools
	@:

up: setup ## start the platform in the foreground; make up ARGS="--port 8080"
	@exec $(VENV)/bin/samovar up $(ARGS)

test: setup-dev ## run the whole test suite; make test ARGS="-k invoke"
	@exec $(VENV)/bin/python -m pytest -n $(JOBS) $(ARGS)

chaos-events: setup-dev ## 10,000 events while the server is killed ten times; ARGS="--seed 7"
	@exec $(VENV)/bin/python -m tests.integration.event_chaos $(ARGS)

check: setup-dev ## formatter, linter, types, import layers, house style
	@cd "$(CURDIR)"
	export PATH="$$PWD/$(VENV)/bin:$$PATH"
	echo "ruff format" && ruff format --check --quiet . || { echo "  run: make format"; exit 1; }
	echo "ruff check" && ruff check --quiet .
	echo "mypy" && mypy --no-error-summary
	echo "lint-imports" && { lint-imports > $(VENV)/lint-imports.log 2>&1 || { cat $(VENV)/lint-imports.log; exit 1; }; }
	echo "house style" && python -m pytest -q tests/style

format: setup-dev ## format, and mend what the linter can mend
	@$(VENV)/bin/ruff check --fix --quiet . || true
	$(VENV)/bin/ruff format .

bench: $(VENV)/.runtime-stamp $(BENCH_VENV)/.bench-stamp ## run the benchmarks, beside their references
	@exec $(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

# Universal: one lock serves every Python from 3.11 on.
lock: setup-dev ## resolve the dependencies anew into requirements/*.lock
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	echo "setuptools>=77" > $(VENV)/build.in
	compile() {
	    $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	        --no-emit-index-url --no-header --no-annotate --upgrade "$$@" pyproject.toml $(VENV)/build.in
	}
	compile -o requirements/runtime.lock
	compile -o requirements/dev.lock --extra dev -c requirements/runtime.lock
	compile -o requirements/bench.lock --extra bench

clean: ## remove the virtual environments and caches (never .samovar, which is data)
	@rm -rf $(VENV) $(BENCH_VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------ virtual environments

$(VENV)/bin/python:
	@$(call make_venv,$(VENV))

$(BENCH_VENV)/bin/python:
	@$(call make_venv,$(BENCH_VENV))

$(VENV)/.runtime-stamp: requirements/runtime.lock pyproject.toml | $(VENV)/bin/python
	@$(call install,$(VENV),runtime)

# After the runtime, whose versions it repeats.
$(VENV)/.dev-stamp: requirements/dev.lock $(VENV)/.runtime-stamp
	@$(call install,$(VENV),dev)

# An environment of its own: the peers that are measured pin other versions of what we use.
$(BENCH_VENV)/.bench-stamp: requirements/bench.lock pyproject.toml | $(BENCH_VENV)/bin/python
	@$(call install,$(BENCH_VENV),bench)

# Its package builds native code as it is installed; Debian has Node's headers in /usr/include/node.
$(VENV)/.clients-stamp: tests/aws/npm/package-lock.json | $(VENV)/bin/python
	@echo "building tests/aws/npm into $(VENV)/clients"
	mkdir -p $(VENV)/clients
	cp tests/aws/npm/package.json tests/aws/npm/package-lock.json $(VENV)/clients/
	if [ -e /usr/include/node ]; then export npm_config_nodedir=/usr; fi
	cd $(VENV)/clients
	npm ci --silent --no-audit --no-fund > ../clients.log 2>&1 || { tail -n 20 ../clients.log >&2; exit 1; }
	touch ../.clients-stamp

# install VENV NAME: what requirements/NAME.lock says, nothing else, then Samovar itself in place.
define install
echo "installing requirements/$(2).lock into $(1)"
$(1)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/$(2).lock
$(1)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
touch $(1)/.$(2)-stamp
endef

# make_venv VENV: Debian splits venv and pip from Python, so try in turn what a machine may have.
define make_venv
python=
for candidate in $(PYTHONS); do
    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
        python=$$candidate
        break
    fi
done
if [ -z "$$python" ]; then
    echo "Samovar needs Python 3.11 or newer; $(PYTHON) is: $$("$(PYTHON)" -V 2>&1 | head -n 1 || true)" >&2
    echo "Install one and name it: make setup PYTHON=/path/to/python3.12" >&2
    exit 1
fi
version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
echo "making $(1) with Python $$version"
rm -rf $(1)
if "$$python" -c 'import ensurepip, venv' 2> /dev/null; then
    "$$python" -m venv $(1)
elif "$$python" -c 'import pip, venv' 2> /dev/null; then
    "$$python" -m venv --without-pip $(1)
    "$$python" -m pip --python $(1)/bin/python install --quiet --disable-pip-version-check pip
elif [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "this Python has no venv; installing Debian's package for it"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        "python$$version-venv" > /dev/null
    "$$python" -m venv $(1)
else
    echo "This Python cannot make virtual environments. On Debian and Ubuntu:" >&2
    echo "    sudo apt install python$$version-venv" >&2
    echo "then run make again." >&2
    exit 1
fi
endef
