# lmcourse: two commands matter, `make book` and `make test`; both start from nothing but Python.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
INDEX  := _build/html/index.html
TRITON_3_6 := _build/triton-3.6/.ready
export PYTHONHASHSEED = 0
# Notebooks store what one thread computes, and figures are drawn inline.
test chapters: export OMP_NUM_THREADS = 1
unexport MPLBACKEND

.PHONY: help book serve test chapters data bench lock clean

help:
	@echo "make book      build the book (environment included) and print where it is"
	@echo "make test      run everything CI checks (environment included)"
	@echo "make serve     build the book and open it in a browser"
	@echo "make chapters  re-execute the notebooks in place"
	@echo "make data      rebuild the shipped texts, messages and word vectors and compare"
	@echo "make bench     measure against peers; writes benchmarks/results/"
	@echo "make lock      recompile requirements.txt from pyproject.toml"
	@echo "make clean     remove the built book and the environment"

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "lmcourse needs Python 3.11 or newer, this is %d.%d; say make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

book: $(READY)
	$(BIN)/jupyter-book build . -n -W --keep-going --quiet
	@echo "The book is at $(CURDIR)/$(INDEX)"

serve: book
	$(BIN)/python -m webbrowser -t "file://$(CURDIR)/$(INDEX)"

# The version of Triton that torch 2.11 brings; its compiler is tested beside the one in the environment.
$(TRITON_3_6): Makefile
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(@D) triton==3.6.0
	@touch $@

test: book $(if $(filter Linux,$(shell uname -s)),$(TRITON_3_6))
	$(BIN)/python -m tests.chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist loadfile
	$(BIN)/python -m pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout 300 --nbval-sanitize-with tests/nbval.cfg chapters

chapters: $(READY)
	$(BIN)/python -m lmcourse.book.execute chapters/*.ipynb

data: $(READY)
	$(BIN)/python -m lmcourse.data.build

bench: $(READY)
	for script in benchmarks/[a-z]*.py; do $(BIN)/python -m benchmarks.$$(basename $$script .py) || exit 1; done

# Keeps the versions that are locked; `make lock LOCK_FLAGS=--upgrade` moves all but torch to the newest.
# Needs a CPU build of torch in reach of pip (PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu),
# otherwise the lock fills with CUDA packages.
lock: $(READY)
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --extra book --extra test --strip-extras --allow-unsafe --no-emit-options --upgrade-package torch==2.13.0 $(LOCK_FLAGS) --output-file requirements.txt pyproject.toml
	sed -i.bak -e 's/+cpu$$//' -e "s/^triton==[^ ]*$$/& ; platform_system == 'Linux'/" requirements.txt && rm requirements.txt.bak

clean:
	rm -rf _build $(VENV)
