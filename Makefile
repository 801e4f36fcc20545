# Every target works on its own and sets up what it needs. Only relative paths: make can't handle spaces in a path.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup image sbom run test test-long test-stack test-cluster reliability fuzz check audit licences pages docs docs-links release mutate golden results bench stack stack-down clean lock
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PIPELINE ?= digits
FUZZ_SECONDS ?= 300
TARGET ?= headrace
TAG ?= $(TARGET):0.1.0

help: ## Show these lines
	@sed -n 's/^\([a-z-]*\): .*## /\1\t/p' Makefile | while IFS=$$'\t' read -r target text; do \
		printf 'make %-11s  %s\n' "$$target" "$$text"; done

setup: ## Make .venv hold what requirements.lock says (a moment if it does already)
	@infra/setup

run: setup ## Run a pipeline from raw data to a registered model: make run PIPELINE=digits
	@$(BIN)/headrace run '$(PIPELINE)'

# In the order of their folders, because those with few tests are the ones that take longest.
test: setup ## Run the tests; some of them: make test TESTS='tests/dags -k graph'
	@$(BIN)/pytest -m 'not long and not stack and not cluster' --numprocesses 2 --dist loadfile --no-loadscope-reorder $(TESTS)

test-long: setup ## Run the tests that take longer
	@$(BIN)/pytest -m 'long and not stack and not cluster' $(TESTS)

test-stack: setup ## Run the tests that need the local stack of servers: half an hour, and PostgreSQL 15
	@$(BIN)/pytest -m stack $(TESTS)

# The first time it builds the image: many minutes, 12 GB of .headrace/cluster-test, Debian's archive and the package index.
test-cluster: setup ## Run the tests on a cluster of containers: an hour or more, root and Debian's docker.io; docs/deploy.md
	@$(BIN)/pytest -m cluster --timeout 1800 $(or $(TESTS),tests/infra/cluster_test)

reliability: setup ## Measure the seconds of docs/reliability.md and write them into it: hours; some: TESTS='-m stack'
	@status=0; $(BIN)/pytest --junitxml=.headrace/reliability.xml $$($(BIN)/python -m infra.reliability_page) $(TESTS) \
		|| status=$$?; $(BIN)/python -m infra.reliability_page .headrace/reliability.xml; exit $$status

fuzz: setup ## Damage files at random, for 300 s or FUZZ_SECONDS=...: every reader gives rows or refuses them
	@env -u CI FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest tests/components/sources -m fuzz --quiet --timeout 0

stack: setup ## Start the local stack: PostgreSQL, S3, MLflow, a Ray cluster, Airflow; docs/stack.md
	@$(BIN)/python -m infra.stack up

stack-down: setup ## Stop the local stack; its data stays
	@$(BIN)/python -m infra.stack down

check: setup ## Check format, lint, types, import contracts and words; name what is long
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/codespell
	@$(BIN)/python -m infra.long_code

mutate: setup ## Change important lines one at a time and see that tests notice; some: make mutate MUTATIONS=gate
	@$(BIN)/python tests/mutations/run.py $(MUTATIONS)

golden: setup ## Write the golden outputs of stages whose version of numerics was raised
	@WRITE_GOLDEN=1 $(BIN)/pytest tests/golden

audit: setup ## Check the locked packages against an advisory database; 1: something is known, 69: no database answers
	@$(BIN)/python -m infra.audit $(AUDIT)

results: setup ## Measure all pipelines, or PIPELINES='linear sine', and write docs/results.md: hours
	@$(BIN)/headrace results $(PIPELINES)

bench: setup ## Run every benchmark of bench/ and print its ratios
	@for script in bench/*.py; do echo "$$script"; $(BIN)/python "$$script"; done

# The revision is git's; a change that is not committed shows as -dirty.
image: ## Build an image with Docker: make image TARGET=headrace-gpu TAG=NAME IMAGE_BASE=NAME CA=FILE; docs/deploy.md
	@DOCKER_BUILDKIT=1 docker build --file infra/image/Dockerfile --target '$(TARGET)' --tag '$(TAG)' \
		$(if $(IMAGE_BASE),--build-arg BASE='$(IMAGE_BASE)') $(if $(CA),--secret id=ca,src='$(CA)') \
		--build-arg REVISION="$$(git describe --always --dirty --exclude '*')" .

sbom: setup ## Print an image's locked packages as CycloneDX JSON: make sbom TARGET=headrace-gpu
	@$(BIN)/python -m infra.image_sbom '$(TARGET)'

clean: ## Remove .venv and all caches; data, models, reports and MLflow's store stay
	@rm -rf .venv site dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dvc_plots
	@find components pipelines dags infra tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

pages: setup ## Write the pages of docs/ that are made from the code, params.yaml and the decisions
	@$(BIN)/python -m infra.api_page
	@$(BIN)/python -m infra.capacity_page
	@$(BIN)/python -m infra.commands_page
	@$(BIN)/python -m infra.decisions_page
	@$(BIN)/python -m infra.params_page
	@$(BIN)/python -m infra.pipelines_page

docs: setup ## Build the documentation site in site/, without a network; a broken link or anchor fails
	@$(BIN)/sphinx-build --conf-dir docs --builder html --fail-on-warning --keep-going --quiet . site
	@echo 'site/index.html'

docs-links: setup ## Ask the web whether the pages that the documentation links to are there
	@$(BIN)/sphinx-build --conf-dir docs --builder linkcheck --quiet . .headrace/links

release: setup ## Check, build and tag a release, and upload nothing: make release VERSION=x.y.z; CONTRIBUTING.md
	@$(BIN)/python -m infra.release '$(VERSION)'

licences: setup ## Write docs/licences.md from the packages that are installed
	@$(BIN)/python -m infra.licences

lock: setup ## Write requirements.lock from pyproject.toml, and headrace.lock from that; newer versions: make lock UPGRADE=--upgrade
	@UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile pyproject.toml --quiet --group dev --all-extras --universal \
		--python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --output-file requirements.lock $(UPGRADE)
	@$(BIN)/python -m infra.image_locks
	@$(BIN)/headrace upgrade --from requirements.lock
