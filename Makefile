# Each command does its own set-up: a clone and a Python are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The tests wait as much as they work; tests/conftest.py says which go together.
PYTEST := $(BIN)/python -m pytest -n 2

.DEFAULT_GOAL := help
.PHONY: help demo core test faults fuzz mutants lint check docs wheel bench clean

help: ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.pip:
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.demo: $(VENV)/.pip pyproject.toml
	@echo "Setting up $(VENV): what the demo needs. This takes a minute."
	@$(BIN)/python -m pip install --quiet --editable '.[all]' --group demo
	@touch $@

# pip compiles with one core, and that is most of its time.
$(VENV)/.dev: $(VENV)/.pip pyproject.toml
	@echo "Setting up $(VENV): what the tests need. This takes two minutes."
	@$(BIN)/python -m pip install --quiet --no-compile --editable '.[all]' --group dev
	@$(BIN)/python -W ignore -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo ## index these docs in both frameworks and ask three questions
	@$(BIN)/python examples/demo.py

core: $(VENV)/.dev ## run the tests of the core alone; a minute
	$(PYTEST) tests/engine tests/client tests/store tests/transports

test: $(VENV)/.dev ## run the tests
	$(PYTEST)

faults: $(VENV)/.dev ## the fault suite at its full size; some 20 minutes
	FAULTS=full $(PYTEST) -rP tests/faults

fuzz: $(VENV)/.demo ## atheris looks for an answer that is misread, in 5 million
	@$(BIN)/python -m pip install --quiet --group fuzz
	$(BIN)/python -m tests.faults.fuzz_answers -runs=5000000

mutants: $(VENV)/.dev ## what the tests kill of a tenth of the engine's mutants; ten minutes
	@$(BIN)/python -m pip install --quiet --group mutants
	$(BIN)/python tests/mutants.py together_embed.engine --share 0.1 --tests tests/engine

lint: $(VENV)/.dev ## ruff, mypy strict, pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python

check: test lint ## what CI runs, without the build

docs: $(VENV)/.dev ## build the site of these pages into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

wheel: $(VENV)/.dev ## build into dist/, and import the wheel where nothing else is
	rm -rf dist build/empty
	$(BIN)/python -m build --quiet --outdir dist
	test "$$($(BIN)/python -m zipfile -l dist/*.whl | grep -c '/py\.typed ')" = 3
	$(BIN)/python -m venv build/empty
	build/empty/bin/python -m pip install --quiet dist/*.whl
	cd build/empty && bin/python -W error -c 'import together_embed as t; print(t.__version__)'

bench: $(VENV)/.dev ## compare with other clients, on loopback; some 20 minutes
	$(BIN)/python benchmarks/compare.py --pages

clean: ## remove what the other commands made
	rm -rf $(VENV) dist build site benchmarks/.peers
