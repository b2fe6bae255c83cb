# Two commands do everything on a fresh Debian or Ubuntu machine: `make demo` and `make test`.

BEGAN := $(shell date +%s)
# Seconds that `make fuzz` and `make test` share out among the fuzz targets, whole seconds to each; starting them comes
# on top.
SECONDS ?= 60
# More arguments for the program behind a target: make demo ARGS=--keep, make test ARGS='-k stun'.
ARGS ?=

python := .venv/bin/python
# Reads --fuzz-seconds from tests/conftest.py, so the path comes along always.
pytest := NTVL_TEST_BEGAN=$(BEGAN) $(python) -m pytest

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo check test sim lab bench fuzz vectors clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv with ntvl and its tools in it
	@scripts/setup.sh

demo: ## show computers behind NATs on one Ethernet, on this machine (root)
	@scripts/setup.sh demo
	@.venv/bin/ntvl demo $(ARGS)

check: setup ## lint, check the format and the types
	@echo 'check: ruff'
	@.venv/bin/ruff check --quiet
	@.venv/bin/ruff format --quiet --check
	@echo 'check: mypy'
	@.venv/bin/mypy

test: ## check, then run all tests (root for those with kernel namespaces)
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory check
	@$(pytest) --fuzz-seconds=$(SECONDS) $(ARGS)

sim: setup ## run the scenarios, the NAT matrix and a thousand nodes in the simulator
	@$(pytest) tests/sim tests/scenarios $(ARGS)
	@.venv/bin/ntvl lab matrix --sim
	@$(python) -m ntvl.sim --nodes 1000

lab: ## run the tests with kernel namespaces and real programs (root)
	@scripts/setup.sh test
	@$(pytest) tests/lab tests/interop $(ARGS)

bench: ## measure ntvl beside tinc, OpenVPN and fastd (root)
	@scripts/setup.sh bench
	@$(python) -m bench $(ARGS)

fuzz: setup ## fuzz all parsers: make fuzz SECONDS=600
	@$(python) tests/fuzz/fuzz.py --seconds $(SECONDS) $(ARGS)

vectors: setup ## write vectors/ anew from the code
	@$(python) -m scripts.vectors

clean: ## remove .venv and everything else that was made
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find src tests scripts bench -name __pycache__ -type d -prune -exec rm -rf {} +
