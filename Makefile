# make demo   set up everything, then run robertaEMO from speech to a validated model (on 2 cores: up to 6 minutes each)
# make test   the same set-up, then the whole test suite
#
# VENV=DIR     the virtual environment to use (made when it is missing; a torch or fairseq in it is kept)
# JOBS=N       processes that run the tests
# TORCH=SPEC   what to install when the environment holds no torch
VENV ?= .venv
TORCH ?= torch==2.13.0
PYTHON ?= python3
JOBS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
FAIRSEQ := fairseq-fixed==0.12.3.1
KEEP := $(VENV)/.emofair-constraints.txt

.PHONY: venv demo test lint bench clean

venv: $(VENV)/.emofair-ready

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The order matters: torch first, then fairseq's needs, fairseq itself without build isolation (an isolated build would
# fetch another torch) and without its torchaudio, which nothing uses; emofair last. What is there already is kept.
$(VENV)/.emofair-ready: setup.py | $(BIN)/python
	@echo "[set-up 1/4] torch"
	@$(BIN)/python -c "import torch" 2>/dev/null || $(PIP) "$(TORCH)"
	@$(BIN)/python -c "from importlib.metadata import version as v; print('torch==' + v('torch'))" > $(KEEP)
	@echo "[set-up 2/4] what fairseq needs"
	@$(BIN)/python -c "import fairseq" 2>/dev/null || $(PIP) -c $(KEEP) numpy cython "setuptools>=64" wheel ninja packaging \
		cffi regex sacrebleu bitarray tqdm scikit-learn "hydra-core==1.3.2" "omegaconf==2.3.0"
	@echo "[set-up 3/4] fairseq (compiled once, about 3 minutes on 2 cores; pip keeps the result)"
	@$(BIN)/python -c "import fairseq" 2>/dev/null || \
		PATH="$(abspath $(BIN)):$$PATH" env -u CUDA_HOME $(PIP) --no-build-isolation --no-deps "$(FAIRSEQ)"
	@echo "[set-up 4/4] emofair"
	@$(PIP) -c $(KEEP) --no-build-isolation -e ".[demo]"
	@$(BIN)/emofair doctor
	@touch $@

$(VENV)/.emofair-test-ready: $(VENV)/.emofair-ready
	@echo "[set-up, tests] pytest, ruff, transformers, snakemake and other references"
	@$(PIP) -c $(KEEP) --no-build-isolation -e ".[demo,test]"
	@touch $@

demo: $(VENV)/.emofair-ready
	PATH="$(abspath $(BIN)):$$PATH" bash examples/robertaemo/demo.sh

test: $(VENV)/.emofair-test-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/.emofair-test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.emofair-test-ready
	$(BIN)/python benchmarks/robertaemo.py
	$(BIN)/python benchmarks/speech.py
	$(BIN)/python benchmarks/kmeans.py

clean:
	rm -rf demo_out
