# `make` lists what can be done. Nothing outside this folder is changed, except the wheel cache in ~/.cache/limbic.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
SYSTEM_PYTHON = $(or $(PYTHON),$(error Python 3.11 or newer is needed: sudo apt-get install python3 python3-venv))
BIN := .venv/bin
PY := $(BIN)/python
HEAD := $(shell sed -n '/^\[affect-head\]/,/^$$/s|^file = "\(.*\)"|\1|p' limbic/models.toml)

.PHONY: help up down restart status logs chat doctor test test-containers lint format protos docs bench baselines clean

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: .venv/.runtime $(HEAD) ## Install what is missing, build the default head, start everything, wait until it is healthy
	@$(PY) -m limbic.supervision up

down: ## Stop everything that `make up` started and wait until it is gone
	@if [ -x $(PY) ]; then $(PY) -m limbic.supervision down; else echo "Nothing is running: nothing has been installed yet."; fi

restart: .venv/.runtime $(HEAD) ## Stop and start: takes in changed code and settings
	@$(PY) -m limbic.supervision restart

status: .venv/.runtime ## Show each process, its health and its addresses
	@$(PY) -m limbic.supervision status

logs: .venv/.runtime ## Follow the logs of all processes
	@$(PY) -m limbic.supervision logs

chat: .venv/.runtime ## Talk in this terminal, with the levels beside the reply
	@$(BIN)/limbic chat

doctor: .venv/.runtime ## Check services, model files, journal, ports and disk, and say what to do
	@$(BIN)/limbic doctor

test: .venv/.development $(HEAD) ## Run all tests, the end-to-end ones against real supervised processes
	@$(PY) -m pytest $(TESTS)

test-containers: .venv/.development ## Build the image and bring docker-compose.yml up for real (podman, or COMPOSE="docker compose")
	@$(PY) -m pytest -m containers tests/containers

lint: .venv/.development ## Check style, types, protos, and that what is generated is current
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/buf lint
	@$(PY) -m tools.generated check

format: .venv/.development ## Sort imports and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

protos: .venv/.development ## Generate the gRPC stubs from protos/
	@tools/generate_protos.sh

docs: .venv/.development ## Write what is generated: tables in docs/, the objectives' rules, the dashboards
	@$(PY) -m tools.generated write

bench: .venv/.development $(HEAD) ## Measure what the README claims
	@$(PY) -m benchmarks

baselines: .venv/.development $(HEAD) ## Probe the running system, commit-ready: baselines, figures and plots of docs/probes.md
	@$(BIN)/limbic probe run all --out build/probes --baseline --baselines limbic/probes/baselines || [ $$? -eq 1 ]
	@$(PY) -m tools.probe_figures

clean: down ## Remove the environment, the built models and all caches; keeps var/ with the journal
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# What the environment is made from; a change of any makes it again, and where nothing has changed make is done at once.
.venv/.runtime: pyproject.toml constraints.txt requirements/models.txt requirements/native.txt tools/environment.py tools/llama_wheel.py tools/amx_tile_config.h
	@$(SYSTEM_PYTHON) -m tools.environment runtime .venv
	@touch $@

.venv/.development: .venv/.runtime
	@$(SYSTEM_PYTHON) -m tools.environment development .venv
	@touch $@

$(HEAD): limbic/models.toml | .venv/.runtime
	@echo "building the default affect head …"
	@$(PY) -m training build-head
	@touch $@
