.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# a test process a core and one more, as many wait for servers; the fast tests first, a module's tests together
PARALLEL := -n $(shell expr $$(nproc) + 1) --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

# Else every new interpreter, and a run of Dagster starts several, compiles all it imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test up lint style fast proofs bench soak lock sbom clean

help:  ## list these targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-7s %s\n", $$1, $$2}'

demo: .venv/installed  ## simulated marketplace, 30 nights of equity, one retraining, one matching, a summary
	$(BIN)/litgo demo

test: .venv/installed style  ## lint, all tests (fast ones first; types and definitions are among the others)
	$(BIN)/python -m pytest $(PARALLEL)

up: .venv/installed  ## Dagster, MLflow and Postgres on loopback until Ctrl-C
	@exec $(BIN)/litgo up

lint: style  ## ruff, mypy, dg check defs
	LITGO_PROOFS=all $(BIN)/python -m pytest -n 0 litgo_pipelines_tests/test_static.py

style: .venv/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

fast: .venv/installed  ## the fast tests only
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

proofs: .venv/installed  ## the long proofs whatever their inputs, and the file that says they passed
	$(BIN)/python -m litgo_pipelines_tests.proofs

bench: .venv/installed  ## the ratios of docs/benchmarks.md, on a quiet machine (80 minutes)
	for name in equity_nightly matching training_snapshot retraining import_time fair_allocation text_similarity experiments quality_monitor off_policy arm_fairness exporter alert_noise distributed deliveries latency; do $(BIN)/python -m benchmarks.$$name; done

soak: .venv/installed  ## everything at once under 1 case a second, with processes killed, for 20 minutes
	$(BIN)/python -m benchmarks.soak

sbom: .venv/installed  ## bill of materials of the locked packages, CycloneDX, in build/
	@mkdir -p build
	$(BIN)/python -m litgo_pipelines.tools.sbom requirements.lock >build/sbom.json
	$(BIN)/python -m litgo_pipelines.tools.sbom deploy/requirements.lock >build/sbom-image.json

clean:  ## remove the environment and all local state
	rm -rf .venv .litgo

# Nothing is resolved: the lock file names every package, dependencies included, with its hashes. Its pip comes first,
# then the others in two halves at once: most of the time goes into reading lists of files and unpacking.
.venv/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	awk '/^pip==/ { on = 1 } on { print } on && !/\\$$/ { exit }' requirements.lock >.venv/pip.lock
	$(BIN)/python -m pip install --quiet --require-hashes --requirement .venv/pip.lock
	awk '/^[^ #]/ { half = !half } { print >(".venv/half" half ".lock") }' requirements.lock
	$(LOCKED) .venv/half0.lock & first=$$!; $(LOCKED) .venv/half1.lock && wait $$first
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

LOCKED := $(BIN)/pip install --quiet --require-hashes --no-deps --no-compile --requirement
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock"
LOCK := $(COMPILE) pyproject.toml --extra embeddings --extra metrics --extra scale --extra traces

lock:  ## rewrite the lock files (needs uv; versions stay unless UPGRADE=--upgrade)
	$(LOCK) $(UPGRADE) --extra dev --output-file requirements.lock
	$(LOCK) --constraint requirements.lock --output-file deploy/requirements.lock
	$(COMPILE) deploy/kubernetes.in --constraint requirements.lock --output-file deploy/kubernetes.lock
