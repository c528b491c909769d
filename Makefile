# gadkit: from a marketplace graph to a ranked list of suspects.

DATASET ?= demo
GRAPHS ?= demo
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help env run test quick results gpu lab strip clean distclean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-10s %s\n", $$1, $$2 }'
	@echo
	@echo '  DATASET=...              a folder, a name, or a .npz, .mat or S-FFSD.csv file (default: $(DATASET))'
	@echo '  GRAPHS="..."             what make results measures: the same, several (default: $(GRAPHS))'
	@echo '  PYTHON=python3.12        the interpreter to make .venv with'
	@echo '  GADKIT_TORCH_BACKEND=cpu the torch to install, instead of what the GPU driver allows'

env:  ## make .venv and install gadkit into it, unless that is done
	@./setup.sh "$(PYTHON)"

run: env  ## execute the notebooks on DATASET and write build/DATASET/report/index.html
	@$(BIN)/gadkit run "$(DATASET)"

test: env  ## ruff and all tests, in two processes
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

quick: env  ## ruff and the tests that train and compile nothing, in under a minute
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

results: env  ## every model on GRAPHS under every protocol, ten splits; takes hours
	$(BIN)/python benchmarks/detection.py $(GRAPHS)

# With PYTHON=..., that interpreter as it is: a bare checkout beside torch, numpy, numba, cupy and
# matplotlib is enough.
gpu:  ## check the kernels on this machine's GPU and measure them, in 8 minutes
	@python="$(PYTHON)"; if [ -z "$$python" ]; then ./setup.sh && python=$(BIN)/python || exit; fi; \
	"$$python" benchmarks/operations.py

lab: env  ## open copies of the notebooks on DATASET in JupyterLab
	@$(BIN)/gadkit lab "$(DATASET)"

strip: env  ## remove outputs from notebooks/, as they are committed
	$(BIN)/jupyter nbconvert --to notebook --inplace --log-level=WARN \
	  --ClearOutputPreprocessor.enabled=True --ClearMetadataPreprocessor.enabled=True \
	  --ClearMetadataPreprocessor.preserve_cell_metadata_mask=tags \
	  --ClearMetadataPreprocessor.preserve_nb_metadata_mask=kernelspec notebooks/*.ipynb

# A folder under data/ is generated if it holds planted.npz, which only the generator writes.
# What was converted from somebody's file, or copied there, stays, and so do the notebooks that
# somebody may have changed in build/*/lab/.
clean:  ## remove build/, caches and generated data (not .venv, your data, your copies of notebooks)
	@if [ -e build ]; then echo 'removing build (but build/*/lab)'; \
	  find build -path 'build/*/lab' -prune -o ! -type d -exec rm -f {} + ; \
	  find build -depth -type d -empty -exec rmdir {} + ; fi
	@for made in gadkit.egg-info .pytest_cache .ruff_cache data/.[0-9]*.* data/*/.[0-9]*.* data/*/planted.npz; do \
	  case $$made in */planted.npz) made=$${made%/planted.npz};; esac; \
	  if [ -e "$$made" ]; then echo "removing $$made"; rm -rf "$$made"; fi; \
	done
	@echo 'removing __pycache__ and .ipynb_checkpoints'
	@find gadkit tests notebooks benchmarks tools \( -name __pycache__ -o -name .ipynb_checkpoints \) \
	  -prune -exec rm -rf {} +

distclean: clean  ## remove .venv as well
	@echo 'removing .venv'
	@rm -rf .venv
