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

# Debian packages: what the build links (systemd), what the tests talk to.
BUILD_PACKAGES := libsystemd-dev pkg-config gcc libc6-dev
TEST_PACKAGES := mosquitto mosquitto-clients prometheus prometheus-alertmanager chromium shellcheck python3-venv systemd zstd

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
	@cargo build --release --quiet -p rackmark -p rackmark-sampler -p rackmark-collect -p rackmark-sim-nvml
	@seconds=""; if [ -n "$(DEMO_SECONDS)" ]; then seconds="--seconds $(DEMO_SECONDS)"; fi; \
	if [ -e /proc/driver/nvidia/version ]; then \
	  exec $(RELEASE)/rackmark demo $$seconds; \
	else \
	  echo "no NVIDIA driver on this machine: simulating $(DEMO_GPUS) GPUs, profile $(DEMO_PROFILE)"; \
	  folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; trap : INT; \
	  $(RELEASE)/nvml-sim prepare --profile $(DEMO_PROFILE) --gpus $(DEMO_GPUS) --dir "$$folder/sim"; \
	  $(RELEASE)/rackmark demo --simulated "$$folder/sim" $$seconds; \
	fi

.PHONY: test
test: setup-test ## Run every test
	@cargo build --workspace --bins --lib
	cargo nextest run --workspace --no-fail-fast
	cargo test --workspace --doc --quiet

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

# --- measurements ------------------------------------------------------------

BENCHES := bench-line bench-telemetry bench-faults bench-delivery bench-health

.PHONY: bench $(BENCHES)
bench: $(BENCHES) ## Print every figure of SPECIFICATION.md, about 20 minutes

$(BENCHES): bench-%: setup-test
	@cargo build --release --quiet --workspace --bins --lib
	@$(RELEASE)/rackmark-bench $*

.PHONY: docs
docs: ## Rewrite the generated references
	UPDATE_GOLDEN=1 cargo nextest run --workspace --no-fail-fast -j 1 -E 'binary(golden) or binary(docs) or test(reference)'
