# One command for each wish; every set-up step happens once and leaves a stamp in .venv.
#   make demo                                   four questions about a real CT
#   make demo CT=scan.nii.gz QUESTION="..."     your own
#   make test                                   everything that CI runs
#   make test-pacs                              the part of it that speaks to a real archive (Orthanc)
#   make test-server                            the part of it that starts real servers
#   make test-experts                           experts with the real nnU-Net (an environment of 1.7 GB below build/)
#   make fuzz                                   some 100,000 wrong requests to the server, and as many wrong files
#   make bench-server                           what the server adds to an answer, and many clients at once
#   make bench-batch                            24 CTs at once and in turn, killed and begun anew, and how Ray scales
#   make sbom                                   what is installed, as CycloneDX (build/sbom.json)
#   make audit                                  its known weaknesses, by pip-audit (asks pypi.org)
#   make desktop                                the Slicer module with real views, outside Slicer
#   make pictures                               the pictures of README and docs
#   make bench                                  the table of times and memory
#   make lint | make clean
# On Linux without a GPU pass PyTorch's CPU index to skip the much larger CUDA build: see README, "Install".

PYTHON     ?= python3
TORCH_ARGS ?=
OUT        ?= demo
TESTS      ?= Testing/Unit Testing/Host Testing/Pacs Testing/Server Testing/Batch
CT         ?=
QUESTION   ?=

BIN   := .venv/bin
PIP   := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PINS   = $$($(BIN)/python -c 'import sys; print("-c constraints-py311.txt" if sys.version_info[:2] == (3, 11) else "")')
CHECK := $(BIN)/python -m ctreasoner.system

export CT QUESTION OUT

.DEFAULT_GOAL := help
.PHONY: help demo test test-pacs test-server test-experts fuzz bench-server bench-batch sbom audit desktop pictures bench lint clean

help:
	@sed -n '2,16s/^# \{0,1\}//p' Makefile

demo: .venv/.engine
	@if [ -n "$$CT" ]; then \
	  $(BIN)/ctreasoner ask "$$CT" "$${QUESTION:-What is here?}" --out "$$OUT"; \
	else \
	  $(BIN)/ctreasoner demo --out "$$OUT"; \
	fi

test: .venv/.dev
	$(CHECK) dev
	for tests in $(TESTS); do $(BIN)/python -m pytest $$tests || exit; done    # one process each: torch and Qt need not meet

test-pacs: .venv/.dev
	$(BIN)/python -m pytest Testing/Pacs

test-server: .venv/.dev
	$(BIN)/python -m pytest Testing/Server

test-experts: .venv/.dev
	$(BIN)/python -m pytest Testing/Unit/test_experts.py Testing/Experts

fuzz: .venv/.dev
	CTREASONER_FUZZ=4000 $(BIN)/python -m pytest -s Testing/Server/test_fuzz.py
	CTREASONER_FUZZ=10000 $(BIN)/python -m pytest --hypothesis-seed=1 -k "forged or mutated" \
	  Testing/Unit/test_bad_input_files.py Testing/Unit/test_dicom_hostile.py

bench-server: .venv/.dev
	$(BIN)/python Testing/Server/bench_server.py

bench-batch: .venv/.dev
	$(BIN)/python Testing/Batch/bench_batch.py

sbom: .venv/.engine build/tools/.ready
	build/tools/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json
	@echo "build/sbom.json holds what is installed in .venv."

audit: .venv/.engine build/tools/.ready
	@$(BIN)/python Testing/Unit/audit_packages.py build/tools/bin/pip-audit "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

build/tools/.ready: | .venv/.python
	@echo "Setting up build/tools: cyclonedx-bom and pip-audit (about 90 MB)."
	$(BIN)/python -m venv build/tools
	build/tools/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0 pip-audit==2.10.1
	@touch $@

desktop: .venv/.dev
	PYTHONPATH=Testing/Host $(BIN)/python -m host

pictures: .venv/.dev
	$(BIN)/ctreasoner demo --out demo
	$(BIN)/python docs/pictures.py demo/report.html docs/pictures
	$(BIN)/python docs/data_picture.py docs/pictures
	$(BIN)/python docs/overview_picture.py docs/pictures
	$(BIN)/python Testing/Host/record_demo.py build/recording/demo
	$(BIN)/python Testing/Host/make_pictures.py docs/pictures build/recording/demo

bench: .venv/.bench
	$(BIN)/ctreasoner bench

lint: .venv/.dev
	$(BIN)/ruff check CTReasoner Testing

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "CTReasoner needs Python 3.11 or newer; '$(PYTHON)' is older or missing. Name another one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "This Python cannot make virtual environments. Install the package python3-venv (Debian, Ubuntu: apt-get install python3-venv)."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@touch $@

.venv/.torch: | .venv/.python
	@echo "Setting up .venv: PyTorch first. The engine takes about 1.8 GB on disk with PyTorch for the CPU, some minutes once."
	$(PIP) $(TORCH_ARGS) 'torch==2.13.0'
	@touch $@

.venv/.engine: pyproject.toml constraints-py311.txt | .venv/.torch
	@echo "Setting up .venv: the engine (part of the 1.8 GB)."
	$(PIP) $(PINS) -e '.[engine]'
	$(CHECK) engine
	@touch $@

.venv/.bench: .venv/.engine
	@echo "Setting up .venv: MONAI for the comparison (about 50 MB more)."
	$(PIP) $(PINS) -e '.[engine,train]'
	@touch $@

.venv/.dev: .venv/.engine
	@echo "Setting up .venv: what the tests need (about 1.6 GB more: VTK and Slicer's core, Ray, dcmqi, MONAI, pytest)."
	$(PIP) $(PINS) -e '.[engine,pacs,server,mcp,batch,dev]'
	@touch $@
