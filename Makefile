# `make demo` runs the whole pipeline, `make test` the tests that take minutes, `make test-all`
# every test that needs no Docker. All create .venv on first use and reuse it afterwards.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
LOCAL  := $(VENV)/.local

# A default install of torch on Linux includes CUDA: gigabytes that nothing here uses.
# PyTorch's own index has the CPU build; if it does not answer within a few seconds,
# the default index is used.
TORCH       := torch==2.13.0
TORCH_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: install demo test test-rest test-all test-faults fuzz mutation bench-vision bench-pipeline bench-gallery bench-accuracy bench-plan bench-strangers bench-images check docs format clean test-container lock

install: $(STAMP)

$(VENV)/.torch:
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 0 --timeout 5 \
		--index-url $(TORCH_INDEX) $(TORCH) >/dev/null 2>&1 \
		|| { echo "PyTorch's own index does not answer: installing $(TORCH) from the default one"; \
		     $(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH); }
	@touch $@

$(STAMP): pyproject.toml .ci/install.py $(VENV)/.torch
	@echo "Installing facectl into $(VENV) (the first time takes a few minutes)"
	@$(PYTHON) .ci/install.py $(VENV) local,models,dev
	@touch $(LOCAL) $@

# Recognising faces needs no torch: only building models from other weights, and the tests.
$(LOCAL): pyproject.toml .ci/install.py
	@echo "Installing facectl into $(VENV)"
	@$(PYTHON) .ci/install.py $(VENV) local,web
	@touch $@

demo: $(LOCAL)
	@$(BIN)/facectl demo

# The number of test processes; tests that share a local cloud run in one of them.
WORKERS ?= 3
PYTEST  := $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope
REST    := faults or slow

test: check
	@$(PYTEST) -m "not container and not ($(REST))"

# What `make test` leaves out: faults and load in their short form, long comparisons.
test-rest: install
	@$(PYTEST) -m "not container and ($(REST))"

test-all: test
	@$(MAKE) --no-print-directory test-rest

# Injects faults into the local cloud while frames are in flight, and prints the table of
# docs/RELIABILITY.md. `make test-rest` has the short form; LONG=1 takes a quarter of an hour.
test-faults: install
	@FACECTL_FAULTS=$(if $(LONG),long,short) $(BIN)/python -m pytest -m faults tests/faults

# Fuzzes each parser of untrusted bytes for SECONDS; findings are written to build/fuzz.
# Atheris has wheels for Linux on x86-64 only, so `make install` does not install it.
SECONDS ?= 60
fuzz: install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@for target in request message image gallery; do \
		$(BIN)/python tests/fuzz/fuzz.py $$target build/fuzz -max_total_time=$(SECONDS) \
			-rss_limit_mb=1024 -timeout=20 -verbosity=0 -print_final_stats=1 || exit 1; done

# Mutates operators, comparisons and constants in copies of a module and runs its tests on
# each: `make mutation MODULE=lambda_src/contract.py`; without MODULE, all modules. It fails
# below 85 % killed. See tests/mutation/README.md.
mutation: install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutation]'
	@$(BIN)/python tests/mutation/mutate.py $(MODULE)

# Builds and runs both images, based on FACECTL_BASE_IMAGE if it is set. Needs Docker.
test-container: install
	@$(BIN)/python -m pytest -m container

# Pins the packages of the images with the hashes of their files.
lock:
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check pip-tools
	@cd dockerfiles && for name in face-detection face-recognition; do \
		CUSTOM_COMPILE_COMMAND="make lock" ../build/lock/bin/pip-compile --quiet --upgrade \
			--generate-hashes --strip-extras --no-emit-find-links --no-emit-index-url \
			--output-file $$name.requirements.txt $$name.requirements.in; done

# ONLY=embedding leaves out the detector and the cold starts.
bench-vision: install
	@$(BIN)/python benchmarks/vision.py $(if $(ONLY),--only $(ONLY))

# The CPU time of a frame by process, on a local cloud; some minutes. BEFORE=FILE is an earlier
# build/bench-pipeline.json to print beside.
bench-pipeline: install
	@$(BIN)/python benchmarks/pipeline.py $(if $(BEFORE),--compare $(BEFORE))

# Needs 6 GB of memory and some minutes for its gallery of a million people.
bench-gallery: install
	@$(BIN)/python benchmarks/gallery.py

# Writes the tables of docs/ACCURACY.md; needs a model with learned weights.
bench-accuracy: install
	@$(BIN)/python benchmarks/accuracy.py

# Writes the tables of docs/PEOPLE.md about strangers; needs a model with learned weights.
bench-strangers: install
	@$(BIN)/python benchmarks/strangers.py

# Needs a Docker engine that has BASE, and Debian's docker-registry.
BASE ?= facectl-base:bookworm
bench-images: install
	@$(BIN)/python benchmarks/images.py --base $(BASE)

# Ten settings on a local cloud against the predictions of the model; some minutes. On a quiet
# machine.
bench-plan: install
	@$(BIN)/python benchmarks/plan_validation.py --out build/bench-plan.json

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# Writes docs/COMMANDS.md from the help texts.
docs: install
	@$(BIN)/python docs/make_commands.py

format: install
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
