# The two commands of the README: `make pretrain` and `make test`. Each makes
# the virtual environment it needs. PYTHON and VENV choose another interpreter,
# CONSTRAINTS a file with versions for pip, such as .ci/oldest.txt, EXTRAS what
# the tests need.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?=
EXTRAS ?= test
# Level at which XLA compiles the programs of the short tests, which are many
# and small: at 0 they take half the time. `.ci/run` has them at 3, too.
OPTIMIZATION ?= 0
WORKDIR ?= runs/pretrain
# Huge pages: a step on a CPU gives its memory back and takes it anew. Training
# of the tiny size is 1.2 times as fast, see benchmarks/results.
GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALL = $(PIP) install $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) \
  --editable
# One test process a core. A file stays in one process: its tests share what
# its fixtures train.
PYTEST = $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 \
  --dist loadfile

.PHONY: pretrain test test-slow lint format types clean

pretrain: $(VENV)/installed
	GLIBC_TUNABLES=$(GLIBC_TUNABLES) $(BIN)/python -m fusion_jax.main \
	  --config configs/pretrain.py --workdir $(WORKDIR)

test: $(VENV)/installed-test
	XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=$(OPTIMIZATION)" \
	  $(PYTEST) -m 'not slow'

test-slow: $(VENV)/installed-test
	$(PYTEST) -m slow

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/installed-test
	$(BIN)/pyright --pythonpath $(BIN)/python

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(INSTALL) .
	touch $@

$(VENV)/installed-test: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(INSTALL) '.[$(EXTRAS)]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist *.egg-info
