# The two commands of the README: `make pretrain` and `make test`. Each makes
# the virtual environment it needs. PYTHON and VENV choose another interpreter.
PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/pretrain
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: pretrain test test-slow lint clean

pretrain: $(VENV)/installed
	$(BIN)/python -m fusion_jax.main --config configs/pretrain.py \
	  --workdir $(WORKDIR)

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -m 'not slow'

test-slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/installed-test
	$(BIN)/ruff check .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable .
	touch $@

$(VENV)/installed-test: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable '.[test]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build *.egg-info
