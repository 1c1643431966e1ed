PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Windows has the same commands written out in README.md.

.PHONY: demo test test-comfyui bench clean

demo: $(VENV)/.installed
	$(BIN)/randar demo --out out

test: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/pytest
ifdef COMFYUI_DIR
	$(MAKE) test-comfyui
else
	@echo "Tests inside ComfyUI skipped: make test COMFYUI_DIR=/path/to/ComfyUI runs them too."
endif

# The tests start the ComfyUI of COMFYUI_DIR with the Python that runs it (COMFYUI_PYTHON when it is not in a venv there).
test-comfyui: $(VENV)/.installed
	@test -f "$(COMFYUI_DIR)/main.py" || { echo "COMFYUI_DIR='$(COMFYUI_DIR)' has no main.py: give the folder of a ComfyUI."; exit 2; }
	COMFYUI_DIR="$(COMFYUI_DIR)" COMFYUI_PYTHON="$(COMFYUI_PYTHON)" $(BIN)/pytest tests/comfyui

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/decode.py

clean:
	rm -rf $(VENV) build out *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install "pip>=22"
	$(BIN)/python -m pip install -c constraints.txt -e ".[standalone,train,dev]"
	touch $@
