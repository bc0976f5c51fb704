# A Rust toolchain is all that these targets presuppose; scripts/ fetches or starts the rest.
.DEFAULT_GOAL := help
.PHONY: help run check test test-one bench soak sim fmt lint build man sbom docs fuzz screenshots console-screenshots clean cargo

ARGS ?=
QUICK ?=
SECONDS ?= 300
MINUTES ?= 30
SEED ?=
SEEDS ?= 1000
NAME ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: cargo ## deliver the sample events and keep running; ARGS=--once ends after the table
	@exec scripts/demo $(ARGS)

check: cargo ## check format, lints, tests that need no broker, architecture and docs: a minute on a warm tree
	@exec scripts/check-quick

test: cargo ## check everything: the above, tests on two RabbitMQ, scripts, compose file, Prometheus, Chromium
	@exec scripts/with-broker scripts/check

test-one: cargo ## run the tests whose name has NAME=… in it
	@test -n "$(NAME)" || { echo "make: say which: make test-one NAME=ladder" >&2; exit 2; }
	@exec scripts/with-broker scripts/tests "$(NAME)"

bench: cargo ## measure against floors and hand-written loops; QUICK=1 takes two minutes and fails on a regression
	@exec scripts/bench $(if $(QUICK),--quick) $(ARGS)

soak: cargo ## break everything at random for MINUTES=30 and judge event by event; SEED=… repeats a run
	@exec scripts/soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

sim: cargo ## simulate SEEDS=1000 hours of faults, each by its seed; SEED=… repeats one
	@HOOKBRO_SIM_SEED=$(or $(SEED),1) HOOKBRO_SIM_SEEDS=$(if $(SEED),1,$(SEEDS)) \
	    cargo test --locked --test sim -- --exact every_seed_keeps_every_promise --nocapture

build: cargo ## build the release binary
	cargo build --release --locked

man: build ## write the manual pages to target/man
	target/release/hookbro man --out target/man

sbom: cargo ## write hookbro.cdx.json, the bill of materials (CycloneDX)
	@exec scripts/sbom

docs: cargo ## write docs/configuration.md from config/default.toml
	HOOKBRO_WRITE_DOCS=1 cargo test --locked --test it docs::the_page_of_settings

fuzz: cargo ## fuzz the event head and the AMQP headers; SECONDS=300 each
	@scripts/fuzz event_head $(SECONDS)
	@scripts/fuzz amqp_headers $(SECONDS)

screenshots: cargo ## draw docs/dashboard-*.png from a run of four minutes
	@exec scripts/screenshots

console-screenshots: cargo ## draw docs/console-*.png from a run
	@exec scripts/check-console --screenshots

fmt: cargo ## format the code
	cargo fmt --all

lint: cargo ## check format and lints
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

clean: cargo ## remove what builds and runs left behind
	@scripts/broker remove .run/broker
	rm -rf .run
	cargo clean

cargo:
	@command -v cargo >/dev/null || { \
	    echo "make: cargo is missing: install Rust from https://rustup.rs and open a new shell" >&2; exit 1; }
