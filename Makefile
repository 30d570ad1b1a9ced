# make run: set up, run the whole benchmark, show the main table. make ablation: the ablation study. make test: the tests;
# make test-full: those too that need longer or more than 4 GiB. make reference: take the default run's metrics,
# settings and two figures into git: `dvc metrics diff` and `dvc params diff` compare with them, the README shows them.
# All may be called in any order and any number of times; what is done is not done again.

PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: run ablation test test-full reference clean

run: $(VENV)/installed
	@$(VENV)/bin/python workflow/scripts/run.py

ablation: $(VENV)/installed
	@$(VENV)/bin/python workflow/scripts/run.py ablation
	@test ! -e results/runs/default/report.html || $(VENV)/bin/python workflow/scripts/run.py  # claims and report take it in

test: $(VENV)/installed
	@$(VENV)/bin/python -m ruff check --quiet .
	@$(VENV)/bin/python -m snakefmt --check Snakefile workflow
	@$(VENV)/bin/python -m mypy
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-full: test
	@$(VENV)/bin/python -m pytest -m full

reference: $(VENV)/installed
	cp results/runs/default/metrics.json results/runs/default/params.json results/reference/
	cp results/runs/default/figures/accuracy_latency.png results/runs/default/figures/strip.png docs/figures/

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) workflow/scripts/preflight.py
	@echo "setting up $(VENV): about two minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Removes what was made and can be made again; the data in DVC's cache and your own under data/folder stay.
clean:
	rm -rf $(VENV) .snakemake results/[!r]* results/runs
