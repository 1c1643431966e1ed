PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Windows has the same commands written out in README.md.

.PHONY: demo gallery test test-comfyui fuzz fuzz-interrupts bench clean

demo: $(VENV)/.installed
	$(BIN)/randar demo --out out --force

# docs/gallery.md and its pictures, drawn anew by the built-in model.
gallery: $(VENV)/.installed
	$(BIN)/python docs/make_gallery.py

# A worker for each core, of one thread: the networks of the tests are too small to share. The tests of a file stay
# together, since they share what is costly to set up, and go to the workers in the order of tests/conftest.py. Plain
# pytest runs all of them one after the other.
test: $(VENV)/.installed
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
ifdef COMFYUI_DIR
	$(MAKE) test-comfyui
else
	@echo "Tests inside ComfyUI skipped: make test COMFYUI_DIR=/path/to/ComfyUI runs them too."
endif

# Inside the ComfyUI of COMFYUI_DIR: the node tests in its own Python, then a real server. COMFYUI_PYTHON is the Python that
# runs it, by default that of a venv in its folder. pytest goes into a folder of ours: nothing is installed there.
COMFYUI_PYTHON ?= $(firstword $(wildcard $(COMFYUI_DIR)/.venv/bin/python $(COMFYUI_DIR)/venv/bin/python) $(PYTHON))
COMFYUI_ROOT = $(abspath $(COMFYUI_DIR))
HOST_TESTS := build/host-tests

test-comfyui: $(VENV)/.installed
	@test -f "$(COMFYUI_DIR)/main.py" || { echo "COMFYUI_DIR='$(COMFYUI_DIR)' has no main.py: give the folder of a ComfyUI."; exit 2; }
	$(BIN)/python -m pip --python "$(COMFYUI_PYTHON)" install -q --upgrade --target $(HOST_TESTS) pytest
	cd "$(COMFYUI_ROOT)" && NODE_TEST_HOST="$(COMFYUI_ROOT)" PYTHONPATH="$(CURDIR)/$(HOST_TESTS)" "$(COMFYUI_PYTHON)" -m pytest \
		-q -p no:cacheprovider -c "$(CURDIR)/pyproject.toml" --rootdir "$(CURDIR)" "$(CURDIR)"/tests/nodes \
		"$(CURDIR)"/tests/devices/test_nodes_on_gpu.py "$(CURDIR)"/tests/devices/test_gpu_shortage.py \
		"$(CURDIR)"/tests/devices/test_node_memory.py
	$(BIN)/python -m pip install -q playwright
	COMFYUI_DIR="$(COMFYUI_ROOT)" COMFYUI_PYTHON="$(COMFYUI_PYTHON)" $(BIN)/pytest tests/comfyui

# Random graphs in the ComfyUI of COMFYUI_DIR, N of them from SEED on. Failures go to build/fuzz.
N ?= 200
SEED ?= 0

fuzz: $(VENV)/.installed
	@test -f "$(COMFYUI_DIR)/main.py" || { echo "COMFYUI_DIR='$(COMFYUI_DIR)' has no main.py: give the folder of a ComfyUI."; exit 2; }
	$(BIN)/python tests/fuzz/graphs.py --comfyui "$(COMFYUI_ROOT)" --python "$(COMFYUI_PYTHON)" --count $(N) --seed $(SEED)

# Interrupts at random times, as many.
fuzz-interrupts: $(VENV)/.installed
	$(BIN)/python tests/fuzz/interrupts.py --comfyui "$(COMFYUI_ROOT)" --python "$(COMFYUI_PYTHON)" --count $(N) --seed $(SEED)

# Seconds after which a measurement is stopped and projected. With 8 all of it took 53 minutes on two cores.
BENCH_LIMIT ?= 15

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/speed decode --suite --limit $(BENCH_LIMIT) --out out/bench/decode.md
	$(BIN)/python benchmarks/speed tokenizer --limit $(BENCH_LIMIT) --out out/bench/tokenizer.md
	$(BIN)/python benchmarks/speed linear_layers --out out/bench/linear-layers.md
	$(BIN)/python benchmarks/speed launches --out out/bench/launches.md

clean:
	rm -rf $(VENV) build out *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install "pip>=22"
	$(BIN)/python -m pip install -c constraints.txt -e ".[standalone,train,dev]"
	touch $@
