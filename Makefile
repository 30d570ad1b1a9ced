# make run: set up, run the whole benchmark, show the main table. make ablation: the ablation study. make test: the tests.
# All may be called in any order and any number of times; what is done is not done again.

PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: run ablation test clean

run: $(VENV)/installed
	@$(VENV)/bin/python workflow/scripts/run.py

ablation: $(VENV)/installed
	@$(VENV)/bin/python workflow/scripts/run.py ablation
	@test ! -e results/report.html || $(VENV)/bin/python workflow/scripts/run.py  # claims and report take it in

test: $(VENV)/installed
	@$(VENV)/bin/python -m pytest -n 2 --dist loadfile
	@$(VENV)/bin/python -m ruff check --quiet .

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) workflow/scripts/preflight.py
	@echo "setting up $(VENV): about two minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Removes what was made and can be made again; the data in DVC's cache and your own under data/folder stay.
clean:
	rm -rf $(VENV) .snakemake results
