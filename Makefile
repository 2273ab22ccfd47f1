# Every target first creates what it needs: a virtual environment in .venv, from the hashed locks in requirements/.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# One worker more than the two cores of a small machine, because tests that wait for real servers leave a core idle.
WORKERS ?= 3
SUITE  := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet

# Engines that are too heavy for every development environment, each in one of its own: make test-engines ENGINE=vllm
ENGINES ?= .cache/engines
ENGINE  ?= $(patsubst tests/engines/%.txt,%,$(wildcard tests/engines/*.txt))

.PHONY: demo test test-twice test-engines check bench lock clean help

help:
	@echo "make demo    start the demo: a real Triton, simulated vLLM and GPUs, a load generator, the control plane"
	@echo "make test    run the tests; the summary names those whose real component is missing"
	@echo "make test-twice  run them, and once more, alone, those that failed beside real servers; it names those that pass then"
	@echo "make test-engines  install engines of some GB into $(ENGINES), and run the tests that need them; ENGINE=vllm: one of them"
	@echo "make check   run ruff, mypy --strict (of tests and benchmarks too), import-linter, and look for marks of merge conflicts"
	@echo "make bench   run the benchmarks; each prints a ratio against a named peer"
	@echo "make lock    renew requirements/*.lock from pyproject.toml"
	@echo "make clean   remove all files that make created"
	@echo "ARGS adds options: make demo ARGS='--listen 127.0.0.1:8081', make test ARGS='tests/unit -q'"

demo: $(VENV)/.demo
	@$(BIN)/controlplane demo $(ARGS)

# Hundreds of tests start a process of their own, and each would compile the whole project where the shell forbids bytecode.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.dev
	$(SUITE) $(ARGS)

test-twice: export PYTHONDONTWRITEBYTECODE =
test-twice: $(VENV)/.dev
	@# pytest ends with 1 when tests failed, and with others when it did not run them all
	$(SUITE) --cache-clear $(ARGS) || { [ $$? -eq 1 ] && $(BIN)/python -m tests.second_try; }

test-engines: $(VENV)/.dev $(ENGINE:%=$(ENGINES)/%/.made)
	TEST_ENGINES=$(ENGINES) $(BIN)/python -m pytest $(ENGINE:%=tests/engines/test_%.py) $(ARGS)

# NAME.sh, where there is one, does what a file of requirements cannot say.
$(ENGINES)/%/.made: tests/engines/%.txt
	@echo "installing $* into $(ENGINES)/$* ($$(sed -n '1s/^.*: //p' $<))..."
	@$(PYTHON) -m venv $(ENGINES)/$*
	@$(ENGINES)/$*/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@if [ -f tests/engines/$*.sh ]; then sh tests/engines/$*.sh $(ENGINES)/$*/bin/python; fi
	@touch $@

check: $(VENV)/.dev
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	! git grep -nE '^(<{7}|>{7}) '

bench: $(VENV)/.dev
	@set -e; for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file; done

lock: $(VENV)/.dev
	$(PIP) uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements/dev.lock
	$(BIN)/uv pip compile pyproject.toml --extra demo --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --constraint requirements/dev.lock --output-file requirements/demo.lock
	$(BIN)/uv pip compile pyproject.toml --extra postgres --extra triton --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --constraint requirements/dev.lock --output-file requirements/image.lock
	$(BIN)/uv pip compile requirements/build.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements/build.lock

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv does not work here; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

# Stamps: one for each lock. They are renewed when the lock or the project's metadata changes.
$(VENV)/.demo: requirements/demo.lock pyproject.toml hatch_build.py bin/cp controlplane/web/package-lock.json | $(VENV)/bin/python
	@echo "installing dependencies into $(VENV) (once)..."
	@$(PIP) --require-hashes -r requirements/demo.lock
	@$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml hatch_build.py bin/cp controlplane/web/package-lock.json | $(VENV)/bin/python
	@echo "installing dependencies into $(VENV) (once)..."
	@$(PIP) --require-hashes -r requirements/dev.lock
	@$(PIP) --no-deps --editable .
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build \
	  controlplane/web/node_modules controlplane/web/static/vendor
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
