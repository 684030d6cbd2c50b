# make demo   set everything up and train a masked autoencoder on the sample images
# make test   set everything up and run every test, in JOBS=2 processes of one thread
# make setup  only create .venv with the core and the first-party plugins (editable)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MMASK  := $(BIN)/mmask
PLUGINS := plugins/mmask-image plugins/mmask-text plugins/mmask-audio plugins/mmask-video plugins/mmask-vl
RUNTIME := $(VENV)/.runtime
TESTING := $(VENV)/.testing
DEMO_OUT ?= runs/demo
JOBS ?= 2

.PHONY: setup demo test lint clean
.DEFAULT_GOAL := setup

setup: $(RUNTIME)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"mmask needs Python 3.11 or newer, {sys.executable} is {v.major}.{v.minor}; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml $(PLUGINS:%=%/pyproject.toml) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . $(PLUGINS:%=-e %)
	@touch $@

$(TESTING): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

demo: $(RUNTIME)
	$(MMASK) train --recipe mae-vit-tiny --out $(DEMO_OUT)

test: $(TESTING)
	$(BIN)/python -m ruff check mmask plugins tests tools
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

lint: $(TESTING)
	$(BIN)/python -m ruff check mmask plugins tests tools
	$(BIN)/python -m mypy mmask $(wildcard plugins/mmask-*/mmask_*)

clean:
	rm -rf $(VENV) build dist
