# `make demo` and `make test` work as the only command typed on a fresh machine: each target first
# makes sure that the toolchain can build components.
CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help wasm demo test soak lint bench eval fuzz

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

wasm: ## Give the Rust toolchain the target wasm32-wasip2, if it lacks it
	@scripts/install-wasm-target.sh

demo: wasm ## From words to a running agent behind the gate, on this machine only
	@scripts/demo.sh

test: wasm ## Run every test
	@scripts/test.sh

soak: wasm ## Run the tests that do more where there is time, for at most an hour
	@scripts/soak.sh

lint: wasm ## Check format, lints, contracts and dependencies
	@scripts/lint.sh

bench: wasm ## Measure; the numbers also go to target/bench.json
	@scripts/bench.sh

eval: wasm ## Have a model write 30 agents and try them; MODEL=name BASE_URL=http://.../v1 KEY_ENV=VARIABLE
	@MODEL='$(MODEL)' BASE_URL='$(BASE_URL)' KEY_ENV='$(KEY_ENV)' scripts/eval.sh $(CASES)

SECONDS ?= 20
fuzz: ## Fuzz every target, SECONDS=20 each; TARGETS="url policy" for some
	@FUZZ_SECONDS=$(SECONDS) scripts/fuzz.sh $(TARGETS)
