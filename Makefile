# Liandong 联动. `make help` lists the verbs; each sets up what it needs and nothing more.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
DEMO := .demo

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1

.DEFAULT_GOAL := help
.PHONY: help demo clean-demo test nightly bench check fix up down lock python-is-there

help: ## Show the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/run.stamp ## Play a county's story on this machine until stopped (ARGS=--once: play, check, exit)
	@LIANDONG_DATA=$(DEMO) $(BIN)/python -m tools.demo $(ARGS)

clean-demo: ## Remove the demo's data
	rm -rf $(DEMO)

test: $(VENV)/test.stamp ## Run the tests (ARGS: pytest's own, e.g. ARGS='tests/rules -k transfer')
	$(BIN)/python -m pytest $(ARGS)

nightly: $(VENV)/test.stamp ## Break a county three hundred times over 300,000 events (more than an hour; FAULTS_SEED=...)
	$(BIN)/python -m pytest -m nightly $(ARGS)

bench: $(VENV)/check.stamp ## Measure each path beside its limit or peer (ARGS: paths and --pairs, e.g. ARGS='P1 --pairs 5')
	$(BIN)/python -m benchmarks $(ARGS)

check: $(VENV)/check.stamp ## Look for what the tests cannot see: style, types, import contracts, stale docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/python -m tools.docs --check

fix: $(VENV)/check.stamp ## Put right what a machine can: order of imports, formatting, generated docs
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python -m tools.docs

up: .env ## Start the three services, PostgreSQL, Kafka, Prometheus and Grafana with Docker Compose
	docker compose up --build --detach --wait

down: ## Stop them; the volumes stay
	docker compose down

# Pins keep their versions while they satisfy pyproject.toml: delete a line, or use LOCK='--upgrade', to move.
# Each list is whole by itself and agrees with the smaller ones, so that verbs can share one environment.
LOCK ?=
COMPILE = $(BIN)/pip-compile $(LOCK) --quiet --generate-hashes --allow-unsafe --strip-extras --newline lf \
	--no-config --no-header --no-emit-options pyproject.toml
lock: $(VENV)/check.stamp ## Pin what pyproject.toml asks for, with hashes and no addresses
	$(COMPILE) --build-deps-for editable --output-file requirements/run.txt
	$(COMPILE) --build-deps-for editable --extra engines --extra test \
		--constraint requirements/run.txt --output-file requirements/test.txt
	$(COMPILE) --build-deps-for editable --extra engines --extra test --extra bench --extra check \
		--constraint requirements/test.txt --output-file requirements/check.txt

python-is-there:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, with its venv module" >&2; exit 1; }

$(BIN)/python: | python-is-there
	$(PYTHON) -m venv $(VENV)

# A stamp is newer than the list that it stands for. The project itself goes in without an index and without
# an isolated build: its build tool is one of the pins.
$(VENV)/%.stamp: requirements/%.txt pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV) for $*"
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement $<
	@$(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $@

.env: deploy/passwords.py ## (made once, added to by a release that asks for more) passwords of the compose file
	$(PYTHON) deploy/passwords.py $@
