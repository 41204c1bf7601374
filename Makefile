# `make train` and `make test` are all a fresh machine needs, besides Python 3.11 and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Byte code is made as modules are imported: most of what is installed never is.
PIP := $(BIN)/pip install --quiet --quiet --disable-pip-version-check --no-compile -c constraints.txt
SOURCES := homeostat echo_reference tests benchmarks

.PHONY: train test clean

train: $(VENV)/.train
	$(BIN)/echo-reference train

test: $(VENV)/.test
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/pytest -n 2

clean:
	rm -rf $(VENV)

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: pyproject.toml constraints.txt | $(BIN)/pip
	@echo 'Installing; this takes a minute or two the first time.'
	$(PIP) -e '.[echo,espeak]'
	touch $@

# Only a vocabulary file of openai-whisper is read, so its gigabyte of dependencies stays out.
$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/pip
	@echo 'Installing; this takes a minute or two the first time.'
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps openai-whisper==20250625
	touch $@ $(VENV)/.train
