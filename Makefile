# make rollout   film a bundled agent          make test    everything that CI runs
# make bench     speed, as ratios              make format  rewrite the code's layout
# make docs      the site, build/site          make clean   remove what was built
ENV ?= Square-v0
PYTHON ?= python3
BIN := .venv/bin

.PHONY: rollout test lint types unit bench docs format clean

rollout: .venv/ready
	$(BIN)/python examples/rollout.py --env $(ENV)

test: lint types unit

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

unit: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --max-worker-restart 0

bench: .venv/ready
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/simulation.py --rounds 5 --resets 20 --starts 1

docs: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m sphinx -q -W --keep-going -c docs . build/site
	@echo build/site/index.html

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/ready: setup.cfg constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
