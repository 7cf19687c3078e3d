# tfalign: `make demo` and `make test` make their own environment, in .venv, and re-use it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test test-slow test-jax lint docs wheels parity clean

demo: $(VENV)/.installed
	$(BIN)/python -m experiments.pipeline --config=demo $(FLAGS)

test: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest -n $(WORKERS) $(FLAGS)

# in parts: a process has room for so many compiled programs alone (Linux: vm.max_map_count); the environments'
# programs are compiled as users compile, which takes longer and more of that room
SLOW := -n $(WORKERS) --dist loadfile --slow -m slow --durations=15
PARTS := training experiments trainers decoding models
test-slow: $(VENV)/.installed-test
	for part in $(PARTS); do $(BIN)/python -m pytest $(SLOW) tests/$$part $(FLAGS) || [ $$? = 5 ] || exit 1; done
	$(BIN)/python -m pytest $(SLOW) --optimized tests/environments $(FLAGS)
	$(BIN)/python -m pytest $(SLOW) $(addprefix --ignore=tests/,environments $(PARTS)) $(FLAGS)

# what computes and needs no TensorFlow, on Keras' JAX backend and without TensorFlow in the process
NEUTRAL := backend functional layers models decoding rewards objectives training
test-jax: $(VENV)/.installed-test
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
		$(BIN)/python -m pytest -n $(WORKERS) $(addprefix tests/,$(NEUTRAL)) $(FLAGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# the pages of docs/ and the API reference as a site, in build/site; any warning is an error
docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet -f docs/site/mkdocs.yml

# the two wheels of a release, in dist (docs/design/packaging.md): with TensorFlow, and light
wheels:
	rm -rf build/lib dist
	for wheel in light tensorflow; do \
		TFALIGN_WHEEL=$$wheel $(PYTHON) -m pip wheel --quiet --no-deps -w dist . || exit 1; done

# an installed environment is made again when what it should hold has changed; Python compiles a package's files
# when they are first imported, which for most is never
$(VENV)/.installed-test: EXTRAS := [all]
$(VENV)/.installed $(VENV)/.installed-test: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile -e .$(EXTRAS)
	touch $@

# parity with transformers: PEER=python of an environment with transformers and torch
parity: $(VENV)/.installed-test
	PYTHONPATH=. $(BIN)/python tests/parity/run.py --peer-python $(PEER)

clean:
	rm -rf $(VENV) build dist *.egg-info
