# fobench: `make demo` and `make test` are all a newcomer needs.

PYTHON ?= python3
CONSTRAINTS ?= constraints/cpu.txt
VENV := .venv
BIN := $(VENV)/bin
DEMO_LIMIT ?= $(if $(TRAINED),24,36)
DEMO_OUTPUT ?= runs/demo
TRAINED := $(if $(wildcard reference_model/shipped/smollm2-135m/index.json),freeze-omni)
DEMO_SYSTEMS := cascade $(TRAINED)
PASSIVE := OMP_WAIT_POLICY=PASSIVE # idle threads do not spin: many processes share the cores

.PHONY: help install demo test check bench browser clean

help:
	@echo "make demo      install, fetch the default models, run the cascade and Freeze-Omni, write one report of both"
	@echo "make test      the fast tests"
	@echo "make check     ruff, mypy, tests"
	@echo "make bench     speed and size"
	@echo "make install   .venv with everything (CONSTRAINTS=constraints/gpu.txt on a CUDA machine)"

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[train,piper,hub,dev]"
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps "openai-whisper>=20240930"
	touch $@

install: $(VENV)/.installed

# An exit code of 1 is a scenario that failed: the report tells it.
demo: install
	$(BIN)/fobench assets pull
	rm -rf $(DEMO_OUTPUT)
	for system in $(DEMO_SYSTEMS); do \
	  $(BIN)/fobench run --system $$system --limit $(DEMO_LIMIT) --output $(DEMO_OUTPUT)/$$system || [ $$? = 1 ] || exit; \
	done
	$(BIN)/fobench report $(DEMO_SYSTEMS:%=$(DEMO_OUTPUT)/%) --output $(DEMO_OUTPUT)
	@echo "Open $(DEMO_OUTPUT)/report.html in a browser."

test: install
	$(PASSIVE) $(BIN)/python -m pytest

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PASSIVE) $(BIN)/python -m pytest

bench: install
	$(BIN)/python -m pytest tests/bench --benchmark-only -m ""

clean:
	rm -rf $(VENV) build *.egg-info runs
