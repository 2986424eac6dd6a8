# make demo   a PaddleSeg checkpoint, built, converted and verified, from nothing; of another model with ARCH=segformer
# make test   the tests; `make test-slow` the long ones that have not passed as things are, with ALL=1 everything
# make lint   ruff and mypy
# make tables   everything that is generated from the maps, anew; measures models that are new, or NAMES="unet fcn"
# make drafts   drafts every map with the map hidden, and says what comes out right; or NAMES="UNet FCN"
# make docs   these pages as a site, in build/site; without the network
# make package   wheel and sdist, built, checked, and installed as strangers would
# make fuzz   200,000 damaged and hostile inputs into every entry point, and a million pickles beside CPython's
# make bench  the tables of the README; `make bench-zoo` the speed of each architecture, `make bench-programs` of programs
# make reference   PaddleSeg in an environment of its own, without torch

PYTHON ?= python3
VENV ?= .venv
# PyPI's torch for Linux brings several GB of CUDA; this index has the builds for the CPU
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# what `make demo` builds: any architecture in docs/zoo.md that paddleseg has
ARCH ?= pp_liteseg

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: reference demo test test-slow tables drafts lint format package docs bench bench-zoo bench-programs fuzz check clean

demo: $(INSTALLED)
	@rm -rf demo && mkdir -p demo
	@echo "== PaddleSeg builds a $(ARCH) and saves its weights"
	$(BIN)/python examples/build_checkpoint.py demo/paddle.pdparams $(ARCH)
	@echo "== ppls converts them, without Paddle"
	$(BIN)/ppls-convert demo/paddle.pdparams demo/out.safetensors
	@echo "== both frameworks run on the same inputs"
	$(BIN)/ppls-verify demo/paddle.pdparams demo/out.safetensors --tolerance 1e-4
	@echo "The converted model: $(CURDIR)/demo/out.safetensors"
	@echo "Use it: model = ppls.load('demo/out.safetensors')"

# one process per core; a file stays whole, since its tests share what is dear to build; in the order of tests/conftest.py
PYTEST := $(BIN)/python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder

test: $(INSTALLED)
	$(PYTEST)

test-slow: $(INSTALLED)
	$(PYTEST) $(if $(ALL),-m "slow or not slow",-p tests.outstanding -m slow)

tables: $(INSTALLED)
	$(BIN)/python scripts/tables.py $(NAMES)

drafts: $(INSTALLED)
	$(BIN)/python scripts/drafts.py $(NAMES)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

package: $(INSTALLED)
	$(BIN)/python scripts/package.py

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(INSTALLED)
	$(BIN)/python benchmarks/convert.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/large.py
	$(BIN)/python benchmarks/training.py

bench-zoo: $(INSTALLED)
	$(BIN)/python benchmarks/zoo.py $(NAMES)

bench-programs: $(INSTALLED)
	$(BIN)/python benchmarks/programs.py $(NAMES)

fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz --corpus
	$(BIN)/python -m tests.fuzz --inputs 200000
	$(BIN)/python -m tests.fuzz.differential --streams 1000000
	$(BIN)/python -m tests.fuzz.guided -runs=100000

# an environment without torch for `ppls-verify --reference-python .venv-reference/bin/python`
reference:
	@$(PYTHON) scripts/check_system.py
	$(PYTHON) -m venv .venv-reference
	.venv-reference/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		paddlepaddle paddleseg 'numpy<2' setuptools
	@echo "ppls-verify --reference-python $(CURDIR)/.venv-reference/bin/python"

# Python, venv and the system's libraries that PaddleSeg's OpenCV wants
check:
	@$(PYTHON) scripts/check_system.py

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) scripts/check_system.py
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --retries 1 --extra-index-url $(TORCH_INDEX) torch
	$(PIP_INSTALL) --editable '.[verify,export,dev]'
	@touch $@

clean:
	rm -rf $(VENV) demo
