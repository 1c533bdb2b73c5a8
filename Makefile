# Needs only make and Python 3.10 or newer with venv; everything else goes into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# Limits discovery to this machine.
export GDISPY_IP_ADDR = 127.0.0.1

# Codespell reads docs/words.txt, a dictionary of retired names; these files still have some of them.
OTHER_WORDS := "docs/_build,docs/words.txt,gdispy/web/assets/vendor"

.PHONY: run test lint check bench bench-network bench-waves chaos attack docs man clean format

run: $(READY)
	$(BIN)/python examples/first_run.py

test: $(READY)
	$(BIN)/python -m pytest tests -m "not chaos" -n 2 --dist loadgroup -q

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell -D docs/words.txt -S $(OTHER_WORDS) gdispy _gdispy_programs.py docs scripts *.md benchmarks examples deploy

check: lint
	$(BIN)/python -m pytest -q -n 2 --dist worksteal tests/unit tests/simulation tests/test_architecture.py

bench: $(READY)
	$(BIN)/python benchmarks/bench.py

bench-network: $(READY)
	$(BIN)/python benchmarks/network.py

bench-waves: $(READY)
	$(BIN)/python benchmarks/waves.py

# make chaos SECONDS=1800 SEED=7: seconds for each kind of cluster, and the seed.
chaos: $(READY)
	GDISPY_CHAOS_SECONDS=$(or $(SECONDS),30) $(if $(SEED),GDISPY_SEED=$(SEED)) $(BIN)/python -m pytest tests -m chaos -s

# make attack SECONDS=60 SEED=7 ONLY=floods: attacks on daemons that it starts; seconds in all.
attack: $(READY)
	$(BIN)/python -m tests.attack --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only "$(ONLY)")

docs: $(READY)
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build
	@echo "Open docs/_build/index.html"

# The pages of all commands: man -l docs/_build/man/gdispy.1
man: $(READY)
	$(BIN)/python docs/manual.py docs/_build/man

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "gdispy needs Python 3.10 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,progress,net,completion]'
	touch $(READY)

clean:
	rm -rf $(VENV) build docs/_build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
