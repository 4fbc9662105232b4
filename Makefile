# Everything that a developer or a newcomer runs. Each target does all its own set-up.

VENV     := .venv
OFFICIAL := .venv-official
BENCH    := .venv-bench
MOUNT    ?= $(HOME)/keep
DATA     ?= $(or $(XDG_DATA_HOME),$(HOME)/.local/share)/arvados-standalone
PYTHON   ?= python3
TESTS    ?= tests

.PHONY: help setup mount unmount test check format bench bench-quick clean

help:
	@echo "make mount    start the standalone cluster and mount it  (MOUNT=DIR DATA=DIR)"
	@echo "make unmount  end both"
	@echo "make test     all checks and all tests, real mounts included  (TESTS=PATH for a part)"
	@echo "make check    ruff, mypy and the import layers"
	@echo "make bench    measure us, the official driver and the machine, half an hour; and bench-quick"
	@echo "make setup    the virtual environment in $(VENV), and what it needs from Debian"
	@echo "make format   format the code"
	@echo "make clean    remove what the other targets made in this directory"

setup: $(VENV)/.complete

mount: setup
	@scripts/mount-standalone $(VENV)/bin/arv-mount "$(MOUNT)" "$(DATA)"

unmount:
	@scripts/unmount-standalone "$(MOUNT)" "$(DATA)"

test: check $(OFFICIAL)/.complete
	scripts/install-debian-packages tests
	$(VENV)/bin/pytest $(TESTS)

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest -q tests/t0_units/test_layers.py

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# Nothing else should run meanwhile. Root's rights let it empty the kernel's caches for cold rows.
bench: $(BENCH)/.complete $(OFFICIAL)/.complete
	$(BENCH)/bin/python -m benchmarks.bench --write --charts docs

bench-quick: $(BENCH)/.complete $(OFFICIAL)/.complete
	$(BENCH)/bin/python -m benchmarks.bench --quick

clean:
	rm -rf $(VENV) $(OFFICIAL) $(BENCH) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.complete: pyproject.toml setup.py scripts/install-debian-packages
	scripts/install-debian-packages
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --upgrade pip "setuptools>=78.1.1"
	PYTHONWARNINGS=ignore $(VENV)/bin/pip install --quiet --disable-pip-version-check \
	    --editable ".[dev]"
	touch $@

# The official driver, to compare with. It has an environment of its own because its package has
# the same name as ours.
$(OFFICIAL)/.complete: $(VENV)/.complete Makefile
	$(PYTHON) -m venv $(OFFICIAL)
	$(OFFICIAL)/bin/pip install --quiet --disable-pip-version-check "arvados-fuse>=3.2,<3.3"
	touch $@

# For benchmarks only: our driver runs from here too, without the tools of development.
$(BENCH)/.complete: pyproject.toml setup.py scripts/install-debian-packages
	scripts/install-debian-packages tests
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check --upgrade pip "setuptools>=78.1.1"
	PYTHONWARNINGS=ignore $(BENCH)/bin/pip install --quiet --disable-pip-version-check \
	    --editable ".[bench]"
	touch $@
