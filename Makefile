# rackmark. `make demo` and `make test` do all their own set-up on a Debian 12
# with a Rust toolchain; the other targets are parts of them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

TOOLS := $(CURDIR)/.tools
PYTHON := $(TOOLS)/bin/python3
export PATH := $(TOOLS)/bin:$(PATH)
export RACKMARK_PYTHON := $(PYTHON)
# One shared folder for everything that is built.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
RELEASE := $(CARGO_TARGET_DIR)/release

DEMO_SECONDS ?=
DEMO_PROFILE ?= h200
DEMO_GPUS ?= 8

# Executions of each fuzz target; a release is preceded by 10 million.
FUZZ_RUNS ?= 200000
FUZZ_TARGETS := agent/hardware/fuzz/kernel_log agent/health/fuzz/trace \
  feed/fuzz/frame feed/fuzz/telemetry feed/fuzz/consumer feed/fuzz/downlink \
  feed/fuzz/event_log feed/fuzz/tpm_structures feed/fuzz/certificate feed/fuzz/bundle feed/fuzz/evidence \
  feed/fuzz/spdm feed/fuzz/proof firmware-hooks/fuzz/smbios firmware-hooks/fuzz/redfish firmware-hooks/fuzz/hook_output
# libFuzzer's coverage, on a stable compiler and without sanitizers.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1
FUZZ_BUILD := $(CARGO_TARGET_DIR)/fuzz

# Debian packages: what the build links (systemd), what the tests talk to.
BUILD_PACKAGES := libsystemd-dev libtss2-dev pkg-config gcc g++ libc6-dev
TEST_PACKAGES := mosquitto mosquitto-clients prometheus prometheus-alertmanager chromium shellcheck \
  python3-venv systemd swtpm swtpm-tools tpm2-tools zstd

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

# --- set-up ------------------------------------------------------------------

define install_packages
	@missing=""; for package in $(1); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q '^install ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" != 0 ]; then \
	    echo "These Debian packages are needed and you are not root; run:" >&2; \
	    echo "  sudo apt-get install --no-install-recommends$$missing" >&2; exit 1; \
	  fi; \
	  echo "installing$$missing"; \
	  apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	fi
endef

.PHONY: setup-build
setup-build:
	@command -v cargo >/dev/null || { echo "cargo is not on PATH: install a Rust toolchain (rustup.rs)" >&2; exit 1; }
	$(call install_packages,$(BUILD_PACKAGES))

.PHONY: setup-test
setup-test: setup-build $(TOOLS)/.installed
	$(call install_packages,$(TEST_PACKAGES))

# Test runner, dependency checker and the independent NVML client, from PyPI.
$(TOOLS)/.installed: tools.txt
	$(call install_packages,python3-venv)
	@python3 -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check -r tools.txt
	@touch $@

# --- the two commands of the README ------------------------------------------

.PHONY: demo
demo: setup-build ## Run the agent on this machine's GPUs, or on simulated ones
	@cargo build --release --quiet -p rackmark -p rackmark-sampler -p rackmark-collect -p rackmark-attest -p rackmark-firmware-hooks -p rackmark-gpu -p rackmark-sim-nvml -p rackmark-sim-cuda -p rackmark-sim-broker
	@seconds=""; if [ -n "$(DEMO_SECONDS)" ]; then seconds="--seconds $(DEMO_SECONDS)"; fi; \
	if [ -e /proc/driver/nvidia/version ]; then \
	  exec $(RELEASE)/rackmark demo $$seconds; \
	else \
	  echo "no NVIDIA driver on this machine: simulating $(DEMO_GPUS) GPUs, profile $(DEMO_PROFILE)"; \
	  folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; trap : INT; \
	  $(RELEASE)/nvml-sim prepare --profile $(DEMO_PROFILE) --gpus $(DEMO_GPUS) --attestation --dir "$$folder/sim"; \
	  $(RELEASE)/cuda-sim prepare --dir "$$folder/sim" >/dev/null; \
	  $(RELEASE)/nvml-sim do --dir "$$folder/sim" load $$(( $(DEMO_GPUS) - 1 )) idle >/dev/null; \
	  $(RELEASE)/nvml-sim do --dir "$$folder/sim" process $$(( $(DEMO_GPUS) - 1 )) remove all >/dev/null; \
	  $(RELEASE)/rackmark demo --simulated "$$folder/sim" $$seconds; \
	fi

.PHONY: test
test: setup-test ## Run every test
	@cargo build --workspace --bins --lib
	cargo nextest run --workspace --no-fail-fast
	cargo test --workspace --doc --quiet
	@$(MAKE) --no-print-directory fuzz

.PHONY: fuzz
fuzz: setup-test ## Fuzz every parser of what strangers send: FUZZ_RUNS=10000000 make fuzz
	@for target in $(FUZZ_TARGETS); do \
	  crate=$${target%/*}; name=$${target##*/}; \
	  RUSTFLAGS="$(FUZZ_FLAGS)" CARGO_TARGET_DIR=$(FUZZ_BUILD) cargo build --release --quiet \
	    --target $$(rustc -vV | sed -n 's/^host: //p') --manifest-path $$crate/Cargo.toml --bin $$name; \
	  corpus=$(FUZZ_BUILD)/corpus/$$name; log=$(FUZZ_BUILD)/$$name.log; mkdir -p $$corpus; \
	  seeds=""; if [ -d $$crate/seeds/$$name ]; then seeds=$$crate/seeds/$$name; fi; \
	  dictionary=""; if [ -f $$crate/$$name.dict ]; then dictionary=-dict=$$crate/$$name.dict; fi; \
	  if $(FUZZ_BUILD)/*/release/$$name -runs=$(FUZZ_RUNS) -max_len=4096 -timeout=5 $$dictionary \
	    -artifact_prefix=$(FUZZ_BUILD)/$$name- $$corpus $$seeds >$$log 2>&1; \
	  then echo "fuzz $$name: $$(grep -E '^Done' $$log), no finding"; \
	  else tail -40 $$log; echo "fuzz $$name: a finding, see $(FUZZ_BUILD)/$$name-*" >&2; exit 1; fi; \
	done

# --- quality -----------------------------------------------------------------

.PHONY: lint
lint: setup-test ## Format, clippy, documentation, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
	cargo deny --log-level error check licenses bans sources
	@if cargo deny --log-level error check advisories; then :; \
	elif cargo deny fetch db >/dev/null 2>&1; then echo "advisories: findings above" >&2; exit 1; \
	else echo "skipped: the advisory database cannot be fetched from here"; fi

# Rust's library for this target comes with rustup or a distribution; clang compiles ring's C for it.
WASM := wasm32-unknown-unknown

.PHONY: wasm
wasm: setup-build ## Build the verifier for browsers, where Rust's library for that is installed
	@if ! [ -d "$$(rustc --print target-libdir --target $(WASM))" ]; then \
	  echo "skipped: this toolchain has no library for $(WASM)"; \
	elif ! command -v clang >/dev/null; then echo "skipped: clang is not on PATH"; \
	else cargo build --release --package rackmark-feed --features verify,wasm-js --target $(WASM); fi

# --- kernels -----------------------------------------------------------------

.PHONY: kernels kernels-check
kernels: $(TOOLS)/.installed ## Compile the kernels and write their lock, after a change to agent/gpu/kernels
	@$(PYTHON) -B agent/gpu/kernels/build.py build

kernels-check: $(TOOLS)/.installed ## Compile the kernels again: same bytes, no spills, the declared instructions
	@$(PYTHON) -B agent/gpu/kernels/build_test.py --quiet
	@$(PYTHON) -B agent/gpu/kernels/build.py check

# --- measurements ------------------------------------------------------------

BENCHES := bench-line bench-telemetry bench-faults bench-delivery bench-health bench-verify bench-proof

.PHONY: bench $(BENCHES)
bench: $(BENCHES) bench-burn-in attacks ## Print every figure of SPECIFICATION.md, about 20 minutes

$(BENCHES): bench-%: setup-test
	@cargo build --release --quiet --workspace --bins --lib
	@$(RELEASE)/rackmark-bench $*

# Random single bits, wrong in memory and in products of a simulated GPU. RACKMARK_SEED says which.
BURN_IN_FAULTS ?= 10000
.PHONY: bench-burn-in
bench-burn-in: setup-test
	@cargo build --release --quiet -p rackmark-gpu -p rackmark-sim-cuda -p rackmark-sim-nvml
	@RACKMARK_FAULTS=$(BURN_IN_FAULTS) cargo test --release --quiet -p rackmark-gpu --test process \
	  random_single_bits -- --nocapture

.PHONY: attacks
attacks: setup-test ## Run every attack and count those that are refused
	@cargo build --workspace --bins --lib --quiet
	@report=$(CARGO_TARGET_DIR)/nextest/attacks/junit.xml; rm -f $$report; \
	cargo nextest run --workspace --profile attacks --no-fail-fast -E 'test(attack_)' || failed=yes; \
	$(PYTHON) agent/e2e/attacks.py $$report && [ -z "$${failed:-}" ]

.PHONY: docs
docs: ## Rewrite the generated references
	UPDATE_GOLDEN=1 cargo nextest run --workspace --no-fail-fast -j 1 -E 'binary(golden) or binary(docs) or test(reference)'
