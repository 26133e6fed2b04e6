# Everything sets itself up on first use, in .venv, and is quick from then on. `make help` lists it all.

VENV := .venv
BIN := $(VENV)/bin
# Which Python .venv is made with; by default python3.11, else the next newer one there is.
PYTHON ?=
# Passed on: make demo ARGS=--no-browser, make test ARGS="-k receptive_field"
ARGS ?=

# npm and node may live in .venv, where the machine has none.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench wheel setup-demo setup-dev setup-browser

help:
	@echo "make demo     open the first notebook in JupyterLab (ARGS=--no-browser only prints its URL)"
	@echo "make test     run every test, the ones in a real browser included (ARGS=\"-k name\" picks some)"
	@echo "make lint     check style, types and who imports whom, in Python and TypeScript"
	@echo "make format   format Python and TypeScript"
	@echo "make bench    measure, and print the tables of figures"
	@echo "make wheel    build the sdist and the wheel into dist/"
	@echo "All of them first install what they need into .venv. PYTHON=python3.13 chooses the Python of a new .venv."

demo: setup-demo
	$(BIN)/jupyter lab --ServerApp.root_dir=notebooks --LabApp.default_url=/lab/tree/01_layer_activations.ipynb \
		$(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

# Three workers with one thread each, also on two cores: the browser's tests wait much of the time. What Python
# compiles is kept, whatever the environment says: a hundred processes load the same files.
test: setup-dev setup-browser
	npm --prefix js test
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 $(ARGS)

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	npm --prefix js run lint

format: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	npm --prefix js run format

bench: setup-dev setup-browser
	$(BIN)/python -m benchmarks $(ARGS)

wheel: setup-dev
	$(BIN)/python -m build --no-isolation --outdir dist $(ARGS)

setup-demo setup-dev: setup-%:
	@scripts/setup.sh $*

setup-browser: setup-dev
	@scripts/setup_browser.sh
