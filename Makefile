# Everything lives in .venv/, made by the first target that needs it, everything installed editable.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
CONSTRAINTS := --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest
PROJECTS := $(addsuffix pyproject.toml,./ hostspec/ alerthost/ alerthost-client/) constraints.txt
# plugins of the tests, each a distribution of its own
PLUGINS := $(addprefix tests/providers/,nightwatch saboteur tickets webhook)

# tests of what an installation may break: that everything is found, by programs and by plugins
INSTALLED := $(addprefix tests/,wheels plugins/test_loading.py host/test_plugins.py fake/test_cli.py)

# an index, a proxy or a cache of the machine must not decide what the tests see
export PYTHONHASHSEED ?= random

# a program that a test starts is not to compile again what it imports
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

.PHONY: demo
demo: .venv/runtime ## Send realistic alerts to a stand-in of PagerDuty, and see what an operator sees.
	@$(BIN)/alerthost demo

.PHONY: console
console: .venv/runtime ## Serve the console, with a stand-in of PagerDuty and new alerts until Ctrl-C.
	@$(BIN)/alerthost demo --serve

.PHONY: test
test: .venv/dev ## Run the tests: on the built wheels, some on the source. COVERAGE=yes asks for all branches.
	@echo "== tests, on the built wheels"
	@$(BIN)/python tests/wheels/run.py --numprocesses 4 --dist worksteal $(if $(COVERAGE),--cov --cov-report term)
	@echo "== tests of what an installation brings, on the source"
	@$(PYTEST) --numprocesses 2 $(INSTALLED)

.PHONY: lint
lint: .venv/dev ## Check style, types and import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	cd tests && ../$(BIN)/lint-imports --config ../.importlinter

.PHONY: format
format: .venv/dev ## Lay out the code.
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

.PHONY: docs
docs: .venv/dev ## Build the documentation; warnings are errors.
	$(BIN)/sphinx-build --fail-on-warning --nitpicky --quiet --builder html docs docs/_build

.PHONY: bench
bench: .venv/dev ## Measure everything in one table; OLD=COMMIT compares latency, ONLY="NAME …" runs some.
	@OLD=$(OLD) $(BIN)/python bench/run.py $(ONLY)

.PHONY: mutants
mutants: .venv/dev ## Break the engine's pure core in every small way, and list what no test notices.
	@rm -rf build/mutants && mkdir -p build/mutants
	@cp -R alerthost/src tests pyproject.toml build/mutants
	@cd build/mutants && ../../$(BIN)/mutmut run && ../../$(BIN)/mutmut results

.PHONY: proof
proof: .venv/dev ## Run the long tests at full size: kills, clusters, stories, floods, Alertmanager, Prometheus, vmalert.
	@sh tests/fetch-debian.sh
	@echo "== long tests, at full size"
	@HOSTSPEC_PROOF=1 $(PYTEST) --numprocesses 2 -m 'proof or sized'

.PHONY: soak
soak: .venv/dev ## Search for faults for 15 minutes: new stories, and 1,000 kills on each store.
	@HOSTSPEC_EXAMPLES=1000 HOSTSPEC_KILLS=1000 $(PYTEST) --capture=no --numprocesses 2 \
	  tests/outbox/test_engine_model.py tests/outbox/test_killed_host.py

.PHONY: lock
lock: ## Renew constraints.txt from a fresh environment with the newest releases.
	rm -rf .venv
	$(MAKE) .venv/dev CONSTRAINTS=
	$(BIN)/python -m pip freeze --exclude-editable --exclude setuptools --all | grep '==' > constraints.txt

.PHONY: clean
clean: ## Remove everything that was made.
	rm -rf .venv build docs/_build docs/_generated

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12"; exit 1; }
	@echo "== making .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) install $(CONSTRAINTS) --upgrade pip
	@touch $@

.venv/runtime: .venv/python $(PROJECTS)
	@echo "== installing hostspec, alerthost-client, alerthost and pagerduty-plugin"
	@$(PIP) install $(CONSTRAINTS) --editable hostspec --editable alerthost-client --editable alerthost --editable .
	@touch $@

.venv/dev: .venv/runtime $(PLUGINS:%=%/pyproject.toml)
	@echo "== installing what tests, lint and docs need"
	@$(PIP) install $(CONSTRAINTS) --editable hostspec --editable alerthost-client --editable 'alerthost[postgresql]' --editable . --group dev \
	  $(PLUGINS:%=--editable %)
	@touch $@
