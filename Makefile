# What contributors and continuous integration run. `make help` lists it.

.PHONY: help check lint format test coverage configuration heavy bench deploy-test

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

check: lint test ## everything that continuous integration runs

lint: ## ruff, mypy and import-linter
	uv lock --check
	uv run --group lint ruff check .
	uv run --group lint ruff format --check .
	uv run --group lint --extra export mypy
	uv run --group lint lint-imports

format: ## format the code and mend what ruff can mend
	uv run --group lint ruff check --fix .
	uv run --group lint ruff format .

test: ## the tests, the real Triton and Chromium included
	pip install uv && uv run --group test pytest

coverage: ## branch coverage of unit and API tests
	uv run --group test pytest tests/unit tests/api --cov --cov-report=term:skip-covered

configuration: ## write docs/configuration.md anew from the settings class
	uv run --group test python -m tests.support.configuration > docs/configuration.md

heavy: ## what takes minutes or gigabytes: ViT-L, ViT-H, every broken edit, long floods
	uv run --group test pytest -m heavy

bench: ## measure the service on this machine; docs/performance.md says how to read it
	uv run --group bench python -m benchmarks

deploy-test: ## docker-compose.yml on the container engine of this machine, Podman or Docker
	deploy/test-images.sh
	uv run --group test pytest -m heavy tests/deploy
