# fobench: `make demo` and `make test` are all a newcomer needs.

PYTHON ?= python3
CONSTRAINTS ?= constraints/cpu.txt
VENV := .venv
BIN := $(VENV)/bin
DEMO_LIMIT ?= 12
DEMO_OUTPUT ?= runs/demo
TINY_OUTPUT ?= runs/tiny
BENCH_ARGS ?=
GPU_ARGS ?=
REGRESSION_OUTPUT ?= runs/regression
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 0
TRAINED := $(if $(wildcard reference_model/shipped/any/index.json),freeze-omni)
PASSIVE := OMP_WAIT_POLICY=PASSIVE # idle threads do not spin: many processes share the cores
# TEST_PROCESSES: one thread each (tests/conftest.py). A process takes tests in order, so most tests of a module share its fixtures.
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

.PHONY: help install demo test fuzz regression train-tiny lint check bench bench-report gpu-report clean

help:
	@echo "make demo        install, fetch the default models, run the benchmark, write a report"
	@echo "make test        the fast tests"
	@echo "make fuzz        broken and odd inputs of every parser for a minute (FUZZ_SECONDS, FUZZ_SEED)"
	@echo "make regression  a run of scripted systems, held to its baseline in reports/baselines"
	@echo "make train-tiny  all six stages of the trainer on a tiny model, in a few minutes"
	@echo "make lint        ruff, mypy, rules of import"
	@echo "make check       lint and test"
	@echo "make bench       speed and size: pytest-benchmark over tests/bench"
	@echo "make bench-report  every figure of speed and size into reports/performance, in about ten minutes (BENCH_ARGS)"
	@echo "make gpu-report  latency, memory and sessions on a GPU into reports/gpu-NAME, in ten minutes (GPU_ARGS)"
	@echo "make clean       remove .venv, build and runs"
	@echo "make install     .venv with everything (CONSTRAINTS=constraints/gpu.txt on a CUDA machine)"

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[train,piper,hub,codecs,plots,dev]"
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps "openai-whisper>=20240930"
	touch $@

install: $(VENV)/.installed

# With a finished checkpoint of Freeze-Omni: it and the cascade, in one table; a question of each of the 12 categories, the
# whole suite by DEMO_LIMIT=240. An exit code of 1 is a scenario that failed: the report tells it.
demo: install
	$(BIN)/fobench assets pull
	rm -rf $(DEMO_OUTPUT)
ifeq ($(TRAINED),)
	$(BIN)/fobench run --limit $(DEMO_LIMIT) --output $(DEMO_OUTPUT) --open
else
	for system in cascade $(TRAINED); do \
	  $(BIN)/fobench run --system $$system --limit $(DEMO_LIMIT) --output $(DEMO_OUTPUT)/$$system || [ $$? = 1 ] || exit; \
	done
	$(BIN)/fobench report $(DEMO_OUTPUT)/cascade $(DEMO_OUTPUT)/$(TRAINED) --output $(DEMO_OUTPUT) --open
endif

test: install
	$(PYTEST)

fuzz: install
	$(PASSIVE) $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED)

regression: install
	rm -rf $(REGRESSION_OUTPUT)
	$(BIN)/fobench run --config reports/baselines/controls.toml --output $(REGRESSION_OUTPUT)

train-tiny: install
	$(BIN)/fobench assets pull piper-joe-medium whisper-tiny.en-ct2
	$(PASSIVE) OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m reference_model.train.release.smoke_test --out $(TINY_OUTPUT)

# mypy knows the package of plugins/ by a link: its name is fobench_plugins.
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/types && ln -sfn ../../plugins build/types/fobench_plugins
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

bench: install
	$(BIN)/python -m pytest tests/bench --benchmark-only -m ""

# On an otherwise idle machine. BENCH_ARGS="--part decode" measures one part again, "--compare OLD.json" compares.
bench-report: install
	$(BIN)/fobench assets pull
	$(BIN)/python -m reports.tools.bench_report $(BENCH_ARGS)

# Without a network: by .venv, where there is one, else by PYTHON with what it has (the command names what is missing).
# GPU_ARGS="--device cpu --size tiny" tries it where there is no GPU.
gpu-report:
	$(if $(wildcard $(VENV)/.installed),$(BIN)/python,$(PYTHON)) -m reports.tools.gpu_report $(GPU_ARGS)

clean:
	rm -rf $(VENV) build *.egg-info runs
