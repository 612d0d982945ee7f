# One command each: `make demo` on a fresh machine runs the demo, `make test` passes the tests.
VENV ?= .venv
PYTHON ?= python3
# Of `make soak`: how long, with which random numbers, from which round on.
MINUTES ?= 30
SEED ?= 0
FIRST ?= 0

.PHONY: demo test soak bench lint clean

demo: $(VENV)/.installed
	$(VENV)/bin/invad-fast demo invad-demo

# A file of tests to a process; threads that wait leave the cores to those that work.
test: $(VENV)/.installed
	OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/pytest -n logical --maxprocesses 4 --dist loadfile

soak: $(VENV)/.installed
	SOAK_MINUTES=$(MINUTES) SOAK_SEED=$(SEED) SOAK_FIRST=$(FIRST) \
		SOAK_SUMMARY=docs/measured/soak.md $(VENV)/bin/pytest -m soak tests/soak

bench: $(VENV)/.installed
	$(VENV)/bin/pytest bench/ --benchmark-only

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Not editable, and plain `pytest` (no checkout on the path): the tests run what a user gets.
$(VENV)/.installed: pyproject.toml setup.py MANIFEST.in $(shell git ls-files csrc invad_fast kernels 2>/dev/null)
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --upgrade-strategy only-if-needed ".[test,bench,dev]"
	touch $@

clean:
	rm -rf $(VENV) build invad-demo
