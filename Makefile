# make demo   set up, downscale the bundled East Asia file, print its scores
# make test   set up, run all tests
# make check  what CI enforces beside the tests: style, types, import floors
# make docs   set up, write the pages as a site that opens offline, build/site/index.html
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: demo test check docs clean

$(VENV)/.dpdm: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.dpdm
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(VENV)/.docs: $(VENV)/.dpdm
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

demo: $(VENV)/.dpdm
	mkdir -p build
	$(BIN)/dpdm downscale sample_data/east_asia_coarse.nc build/east_asia_mean.nc --mean --climatology none --overwrite
	$(BIN)/dpdm downscale sample_data/east_asia_coarse.nc build/east_asia.nc --members 20 --keep members --climatology none --overwrite
	$(BIN)/dpdm evaluate build/east_asia.nc sample_data/east_asia_fine.nc \
		--coarse sample_data/east_asia_coarse.nc --climatology none \
		--also "one evaluation=build/east_asia_mean.nc"

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -E -W --keep-going -c docs . build/site

clean:
	rm -rf $(VENV) build
