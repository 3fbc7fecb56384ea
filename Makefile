# Two commands: `make demo` does the main job, `make test` shows that it is right.
# Both set up what they need in .venv, with any Python from 3.10 on.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow check format docs bench clean

demo: .venv/ready
	$(BIN)/copamerge demo

test: .venv/ready
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4

# Slow tests, and the laws again with thirty times as many examples: half an hour.
test-slow: .venv/ready
	$(BIN)/python -m pytest -q -m slow
	HYPOTHESIS_PROFILE=night $(BIN)/python -m pytest -q tests/properties

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog --check docs/*.md README.md CONTRIBUTING.md
	$(BIN)/python -m copamerge.recipe.schema --check

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Regenerate what is generated: tables in the docs and the recipe's JSON Schema.
docs: .venv/ready
	$(BIN)/cog -r docs/*.md README.md CONTRIBUTING.md
	$(BIN)/python -m copamerge.recipe.schema

bench: .venv/ready
	$(BIN)/python benchmarks/merge_speed.py

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv demo-out benchmarks/data
