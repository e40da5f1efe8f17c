PYTHON ?= python3
BIN := .venv/bin
PROCESSES ?= 2
export PYTHONUNBUFFERED := 1

.PHONY: demo test test-fast lint format bench docs clean

# installs into .venv once, and afresh when the requirements change: what is no longer asked for goes
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,products,download,classical,tune,cluster,s3,gcs,https,onnx,downscale,report]"
	touch $@

# a simulated world, five models, one table; then the gaps filled with the network's run
demo: .venv/.installed
	rm -rf demo
	$(BIN)/python -m sgdsm compare experiment=demo output=demo
	$(BIN)/python predict.py run=demo/pconv3d output=demo/filled.nc
	@echo "look at demo/report.html, demo/filled.nc and demo/pconv3d/figures/"

# two processes, each with one thread: PROCESSES=1 for one after another
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal

# without the tests that are marked as slow
test-fast: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal -m "not slow"

lint: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/.docs: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

# the pages, into docs/build: any warning is an error; then what they say is run
docs: .venv/.docs
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/build
	OMP_NUM_THREADS=1 $(BIN)/python docs/check.py docs/build

# figures of speed on this machine; see benchmarks/RESULTS.md
bench: .venv/.installed
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/layer.py
	$(BIN)/python benchmarks/scale.py terabyte train 60 model=pconv3d trainer.memory_gib=4
	$(BIN)/python benchmarks/scale.py terabyte predict 60 model=pconv3d trainer.memory_gib=4

clean:
	rm -rf .venv demo build docs/build docs/api dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
