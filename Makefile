# A Rust toolchain is all that these targets presuppose; scripts/ fetches or starts the rest.
.DEFAULT_GOAL := help
.PHONY: help run test bench fmt lint build clean cargo

ARGS ?=
QUICK ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: cargo ## deliver the sample events and keep running; ARGS=--once ends after the table
	@exec scripts/with-broker scripts/demo $(ARGS)

test: cargo ## check everything: format, lints, tests, scripts, compose file, Prometheus
	@exec scripts/with-broker scripts/check

bench: cargo ## measure against floors and hand-written loops; QUICK=1 takes two minutes and fails on a regression
	@exec scripts/bench $(if $(QUICK),--quick) $(ARGS)

build: cargo ## build the release binary
	cargo build --release --locked

fmt: cargo ## format the code
	cargo fmt --all

lint: cargo ## check format and lints
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings

clean: cargo ## remove what builds and runs left behind
	@scripts/broker remove .run/broker
	rm -rf .run
	cargo clean

cargo:
	@command -v cargo >/dev/null || { \
	    echo "make: cargo is missing: install Rust from https://rustup.rs and open a new shell" >&2; exit 1; }
