# Two commands do everything on a machine that has git, make and Python 3.11 or newer: `make demo` and `make test`.
# Each sets up what it needs in .venv and reuses it the next time.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
DOCS_STAMP := .venv/.docs
NODE_STAMP := node_modules/.installed
# One test process per core (at most four), each computing with one thread, so that they do not fight for the cores.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile
PIP_FLAGS := --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test quick lab notebooks screenshots lint types tests coverage notebook-tests docs bench clean

demo: $(STAMP)
	$(BIN)/clipdiy-lab demo

lab: $(STAMP)
	$(BIN)/jupyter lab --ip=127.0.0.1 notebooks/01_first_look.ipynb

# The set-up. torch and torchvision come in one command, so that they are a pair; `doctor` proves that they are.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "clipdiy_lab needs Python 3.11 or newer; found $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11."; exit 1; }
	@test -x $(BIN)/python || { echo "Making .venv ..."; $(PYTHON) -m venv .venv; }
	@echo "Installing (torch is large: some minutes the first time) ..."
	@$(BIN)/python -m pip install $(PIP_FLAGS) -e ".[hf,lab,openvino,scale,spectral,test]"
	@$(BIN)/clipdiy-lab doctor
	@touch $@

test: lint types tests notebook-tests

# While working: no browser, no cluster, nothing that was measured to be slow (tests/slow.txt).
quick: lint types
	$(TESTS) --quiet -m "not slow and not browser and not cluster"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports

# mypy for Python, and for a program that uses the package; for the instrument's JavaScript TypeScript's compiler, which only reads it, and prettier.
types: $(STAMP) $(NODE_STAMP)
	$(BIN)/mypy
	$(BIN)/mypy tests/typed_client.py
	@if test -d node_modules/typescript; then node_modules/.bin/tsc -p . && npm run --silent format >/dev/null; \
	  else echo "npm is not on this machine, so the types of the JavaScript are not checked."; fi

$(NODE_STAMP): package.json package-lock.json
	@if command -v npm >/dev/null; then npm ci --no-audit --no-fund --loglevel=error; \
	  elif test "$$CI" = true; then echo "CI must have npm" >&2; exit 1; fi
	@mkdir -p node_modules && touch $@

tests: $(STAMP)
	$(TESTS) --durations=40

# Apart, because counting lines makes the tests take half as long again.
coverage: $(STAMP)
	$(TESTS) --cov --cov-report=term:skip-covered

notebook-tests: $(STAMP)
	$(TESTS) --nbval --nbval-current-env --nbval-cell-timeout=300 \
	  --nbval-sanitize-with notebooks/sanitize.cfg -p no:cacheprovider -W default notebooks

# Executes the notebooks in place, without times and widget state, so that only what changed differs, and puts a picture
# beside every figure; commits nothing.
notebooks: $(STAMP)
	$(BIN)/python -m jupyter nbconvert --to notebook --execute --inplace --coalesce-streams \
	  --ExecutePreprocessor.store_widget_state=False --ExecutePreprocessor.record_timing=False notebooks/*.ipynb
	$(BIN)/python tools/illustrate.py notebooks/*.ipynb

# The site, with warnings as errors and without a network, into docs/_build/html. Its tools are installed for it alone.
docs: $(DOCS_STAMP)
	MYPYPATH=docs/_ext $(BIN)/mypy docs/conf.py docs/_ext
	OMP_NUM_THREADS=1 $(BIN)/python docs/_ext/build.py

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install $(PIP_FLAGS) -e ".[docs]"
	@touch $@

# Pictures of the explorer and the board, taken in JupyterLab, and the film of the README; needs Chromium.
screenshots: $(STAMP)
	$(BIN)/python tools/screenshots.py docs/images
	$(BIN)/python tools/animate.py docs/images/instrument.webp

# Speed beside the official loop, and how cost grows; what cheaper encodings cost in mIoU. Writes benchmarks/results/ and
# the tables of the documents.
bench: $(STAMP)
	PYTHON=$(BIN)/python bash benchmarks/idle.sh
	$(BIN)/python benchmarks/frontier.py
	$(BIN)/python benchmarks/explorer.py

clean:
	rm -rf .venv out
