# Every target is a complete first command on a fresh machine: each one sets the environment up first.
PYTHON ?= python3
SETUP_FLAGS ?=
# 1: compile flash-attn too (needs nvcc); or the path or address of a wheel of it.
FLASH_ATTN ?=
FLASH_ATTN_FLAG := $(if $(FLASH_ATTN),--flash-attn $(filter-out 1,$(FLASH_ATTN)))
# Test processes: their tests mostly wait for other processes and for one core at a time.
TEST_PROCESSES ?= 2
# What test-fast tests: a folder or file, e.g. make test-fast TESTS=tests/unit/shared
TESTS ?= tests/unit
BIN := .venv/bin
# Libraries are installed without byte code: a process that may not write it compiles torch each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup bench bench-trl demo test test-fast unit integration k8s-test compose-test faults lint format docs lock lock-gpu audit clean
.NOTPARALLEL:

setup:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "set-up: missing: Python 3.11 or newer (no $(PYTHON) on the PATH): install it, or name one: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) scripts/setup_env.py $(SETUP_FLAGS) $(FLASH_ATTN_FLAG)

demo: setup
	@$(BIN)/perl-rl demo $(DEMO_FLAGS)

test: lint unit k8s-test integration

# While you work: under two minutes on two cores.
test-fast: lint
	$(BIN)/python -m pytest $(TESTS) -m "not slow" -n $(TEST_PROCESSES) --dist loadfile

unit: setup
	$(BIN)/python -m pytest tests/unit -n $(TEST_PROCESSES) --dist loadfile

# Builds the manifests in k8s/ and checks them; needs no cluster.
k8s-test: setup
	@if command -v kubectl >/dev/null 2>&1; then $(BIN)/python -m pytest tests/k8s; \
	else echo "k8s-test: skipped: kubectl is not installed; put version 1.27 or newer on the PATH (https://kubernetes.io/docs/tasks/tools/)"; fi

# The demo in containers; needs a Docker engine and a quarter of an hour, and is no part of make test.
compose-test: setup
	$(BIN)/python -m pytest tests/compose -s

# The tests of the view need a browser (Debian: apt-get install chromium); without one they are skipped.
integration: setup
	$(BIN)/python -m pytest tests/integration -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

# A hundred faults in under half an hour (docs/faults.md); as root, for a disk that can be filled.
faults: setup
	$(BIN)/python -m tests.faults.suite $(FAULTS_FLAGS)

# What docs/performance.md promises, in one table; 25 minutes of an idle machine. BENCH=NAME ... for some parts.
bench: setup
	$(BIN)/python -m bench $(BENCH) $(BENCH_FLAGS)

# TRL in an environment of its own, on top of the project's, so that both sides have the same torch and transformers.
bench-trl: setup
	$(BIN)/python -m venv .venv-trl
	.venv-trl/bin/python scripts/share_packages.py $(BIN)
	.venv-trl/bin/python -m pip install --quiet --no-deps -r requirements/trl.txt

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/python scripts/config_reference.py
	$(BIN)/python scripts/metrics_reference.py
	$(BIN)/python scripts/record_reference.py
	$(BIN)/python scripts/prepare_reference.py
	$(BIN)/python scripts/recipes.py --write
	$(BIN)/python scripts/boards.py

# The CPU set's constraints, from the environment as it is: run it after changing a requirement.
lock: setup
	@{ echo "# The CPU set's whole closure as installed and tested (Python 3.11, x86-64). Made by: make lock"; \
	$(BIN)/python -m pip list --format=freeze | grep -v -E '^(pip|perl-rl|perl_rl|torch|torchvision)=='; } > requirements/cpu.lock.new
	@mv requirements/cpu.lock.new requirements/cpu.lock

# The GPU set's constraints, resolved on any machine; versions stay where they still fit. torch is no part of it, as
# in cpu.lock, nor what the set-up leaves out of vLLM's requirements.
lock-gpu:
	@command -v uv >/dev/null 2>&1 || { echo "lock-gpu: missing: uv: install it, e.g. pipx install uv" >&2; exit 2; }
	@cp requirements/gpu.lock requirements/gpu.lock.new
	@uv pip compile $(addprefix requirements/,gpu.txt common.txt dev.txt build.txt deepspeed.txt) \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate --no-header --quiet \
	  $(addprefix --no-emit-package ,torch torchvision torchaudio torchcodec) -o requirements/gpu.lock.new >/dev/null
	@{ grep '^#' requirements/gpu.lock; cat requirements/gpu.lock.new; } > requirements/gpu.lock.both
	@mv requirements/gpu.lock.both requirements/gpu.lock && rm requirements/gpu.lock.new

# Known vulnerabilities of the locked versions; needs the network, so it is no part of make test.
audit: setup
	@command -v pip-audit >/dev/null 2>&1 || { echo "audit: missing: pip-audit: install it, e.g. pipx install pip-audit" >&2; exit 2; }
	pip-audit --disable-pip --no-deps -r requirements/cpu.lock
	pip-audit --disable-pip --no-deps -r requirements/gpu.lock

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
