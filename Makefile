# Lovage. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN_MARK := $(VENV)/.installed-run
DEV_MARK := $(VENV)/.installed-dev
ARGS ?=
# Tests wait more than they compute (on 2 processors they compute 800 seconds of the 2,200 that they last), so
# they run in more processes than there are processors, at most 6: tests/side_by_side.py.
# With compiled modules kept, each of the some 150 processes that they start needs 1.2 s of CPU less.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses=$(shell n=$$(nproc 2>/dev/null || sysctl -n hw.ncpu); echo $$((n < 3 ? n + 3 : 6)))

# pip shows its own progress; a mark newer than the requirement files means that there is nothing to do.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Lovage needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	@echo "Making $(VENV) …"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is needed; on Debian: apt install python3-venv"; exit 1; }

$(RUN_MARK): requirements.txt requirements/api.txt requirements/mcp.txt requirements/worker.txt requirements/embedded.txt pyproject.toml | $(BIN)/python
	@echo "Installing what Lovage needs (about 2 GB on disk; some minutes the first time) …"
	@$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps -e .
	@touch $@

$(DEV_MARK): requirements/dev.txt $(RUN_MARK)
	@echo "Installing what the tests need …"
	@$(BIN)/python -m pip install --disable-pip-version-check -r requirements/dev.txt
	@touch $@

##@ Run
.PHONY: up down dev run-api run-worker
up: $(RUN_MARK) ## Set up, then start everything in this terminal (ARGS="--port 8001 --detach" …)
	@$(BIN)/lovage up $(ARGS)
down: $(RUN_MARK) ## Stop what `make up ARGS=--detach` started
	@$(BIN)/lovage down $(ARGS)
dev: $(RUN_MARK) ## Like up, detached, with debug logs
	@LOG_LEVEL=debug $(BIN)/lovage up --detach $(ARGS)
run-api: $(RUN_MARK) ## One API process on DATABASE_URL and REDIS_URL
	@$(BIN)/lovage api $(ARGS)
run-worker: $(RUN_MARK) ## One worker on DATABASE_URL and REDIS_URL
	@$(BIN)/lovage worker $(ARGS)

##@ Check
.PHONY: test fuzz coverage web web-test check measure fmt bench chaos cpp clients peers soak
test: $(DEV_MARK) ## Set up, then run the tests against real servers they start themselves
	@$(PYTEST) $(ARGS)
fuzz: $(DEV_MARK) ## Call every operation of the API with some hundred random requests (minutes)
	@LOVAGE_FUZZ_EXAMPLES=$${LOVAGE_FUZZ_EXAMPLES:-150} $(BIN)/python -m pytest tests/api/test_fuzz_api.py $(ARGS)
coverage: $(DEV_MARK) ## The tests again, counting lines; domain, services and engine must have 90 %
	@$(PYTEST) -q --cov --cov-report= $(ARGS)
	@$(BIN)/coverage report --include="app/domain/*,app/services/*,app/engine/*" --fail-under=90
check: $(DEV_MARK) ## Lint, types, rooms, measures
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/python -m scripts.web check && $(BIN)/python -m scripts.measure && $(BIN)/python -m scripts.measure.hops
web: $(DEV_MARK) ## Build the web app from web/ to where the API serves it (needs the npm registry once)
	@$(BIN)/python -m scripts.web build
web-test: $(DEV_MARK) ## The web app's long walk: built files compared, unit tests, every page in a real browser (minutes)
	@$(BIN)/python -m scripts.web compare && $(BIN)/python -m scripts.web test && LOVAGE_WEB_WALK=1 $(BIN)/python -m pytest -q tests/end_to_end/test_web_app.py tests/end_to_end/test_web_walk.py tests/end_to_end/test_web_peers.py $(ARGS)
measure: $(DEV_MARK) ## Sizes of functions and classes, retired words, where things lie, files on the way: each against its bar
	@$(BIN)/python -m scripts.measure $(ARGS) && $(BIN)/python -m scripts.measure.hops
fmt: $(DEV_MARK) ## Format and mend what can be mended
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .
bench: $(DEV_MARK) ## Measure the accept path and the whole path (minutes)
	@$(BIN)/python -m scripts.bench $(ARGS)
chaos: $(DEV_MARK) ## Break the running platform on purpose and count what was lost (minutes)
	@$(BIN)/python -m pytest -q tests/chaos && $(BIN)/python -m pytest -q -m chaos tests && $(BIN)/python -m scripts.chaos.direct && $(BIN)/python -m scripts.chaos $(ARGS)
cpp: $(DEV_MARK) ## Build the C++ client and have it and the Python client pass one contract against a platform (minutes; packages of Debian's)
	@$(BIN)/python -m scripts.contract $(ARGS)
clients: $(DEV_MARK) ## Client libraries and frameworks, pinned, each in an environment of its own (minutes; needs a registry once)
	@$(BIN)/python -m scripts.clients $(ARGS)
peers: $(DEV_MARK) ## Peers over libp2p: their tests, and two platforms that run each other's models (minutes; needs a registry once)
	@$(BIN)/python -m scripts.peers $(ARGS)
soak: $(DEV_MARK) ## Fifteen minutes at 70 % of capacity: memory, descriptors and connections must stay flat
	@$(BIN)/python -m scripts.soak $(ARGS)

##@ Containers
.PHONY: docker-build docker-up docker-down images
docker-build: ## Build the images
	docker compose build
docker-up: ## Start the composed platform (needs .env: `lovage env init` writes one)
	docker compose up -d
images: $(DEV_MARK) ## Build all images, run the composed platform from them, kill each container, play the manifests (minutes; root, podman)
	@$(BIN)/python -m scripts.images $(ARGS)
docker-down: ## Stop it; the volumes stay
	docker compose down

##@ Tidy
.PHONY: clean help
clean: ## Remove caches and the virtual environment; .lovage (your data) stays
	@rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage .hypothesis build ./*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
help: ## This list
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*##/ {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
