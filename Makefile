# Every target has a help line after "##"; `make` alone prints them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# dev is tuned to run well enough for all tests; release is for installing.
PROFILE ?= dev
# cargo puts the profile "dev" into a folder named "debug".
FOLDER := $(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
TARGET := $(or $(CARGO_TARGET_DIR),target)
TREE := $(TARGET)/longshore

.PHONY: help
help: ## Show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install-deps
install-deps: ## Install what the build and the demo need (as root), or name the command
	@tools/install-deps build

.PHONY: build
build: install-deps ## Build everything into target/longshore/{bin,lib,share}
	@echo "building with profile $(PROFILE)"
	@# The whole workspace in one go: tests then find every dependency built with the same features.
	@cargo build --locked --profile $(PROFILE) --workspace
	@# Static linking is asked of this one binary, which cargo can only do by a command of its own.
	@cargo rustc --locked --profile $(PROFILE) -p longshore-init --bin longshore-init -- -C target-feature=+crt-static
	@tools/build-wasm
	@tools/assemble "$(TARGET)/$(FOLDER)" "$(TREE)"

.PHONY: demo
demo: build ## Run an image on overlay, then the same image on vfs, and clean up
	@LONGSHORE_TREE="$(TREE)" tools/demo

.PHONY: test
test: ## Run all tests: units, doc examples, end to end
	@tools/install-deps build test
	@$(MAKE) --no-print-directory build
	@TREE="$(TREE)" tools/test

.PHONY: check
check: ## Format, clippy, licences, docs, schemas, shell scripts: what CI checks
	@tools/install-deps build
	@tools/check

.PHONY: e2e
e2e: build ## Run the end-to-end scripts; ONLY="demo crash" picks some
	@tools/install-deps test
	@LONGSHORE_TREE="$(TREE)" tests/e2e/run-all $(ONLY)

.PHONY: conformance
conformance: build ## Run the conformance suites on every bundled driver file
	@LONGSHORE_TREE="$(TREE)" tools/conformance

.PHONY: bench
bench: ## Measure against runc and crun, both sides in one run (always a release build)
	@tools/install-deps build test
	@$(MAKE) --no-print-directory build PROFILE=release
	@LONGSHORE_TREE="$(TREE)" cargo run --locked --release -q -p longshore-bench

.PHONY: mutants
mutants: build ## Remove one defence at a time and see that a named test fails
	@tools/mutants

.PHONY: clean
clean: ## Remove what was built
	@cargo clean
