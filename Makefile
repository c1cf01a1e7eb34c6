# `make demo` and `make test` each do all the set-up that they need.
.DEFAULT_GOAL := help
.PHONY: help setup demo test parity fuzz bench-cpu gpu-bundle fmt clippy doc

export PATH := $(PATH):$(HOME)/.cargo/bin
# An empty variable would hide the link that the set-up makes.
ifeq ($(strip $(LIBTORCH)),)
unexport LIBTORCH
endif
ifeq ($(strip $(TRT_ONEDNN_LIBRARY)),)
unexport TRT_ONEDNN_LIBRARY
endif

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## get libtorch and oneDNN into .venv (LIBTORCH, TRT_ONEDNN_LIBRARY: use your own)
	@scripts/setup.sh

demo: ## train LeNet-5 on real digits, compare libtorch with the engines; then a mixed partition
	@scripts/setup.sh demo
	cargo run --release --example lenet5
	cargo run --release --example partition_mixed

test: ## set-up, format, clippy, docs and tests, as continuous integration runs them
	@scripts/setup.sh test
	@scripts/test.sh

parity: setup ## several hundred real models with and without engines; ONLY="resnet* hf-*" picks some
	@scripts/parity.sh all $(ONLY)

fuzz: setup ## random TorchScript programs, host against engines; N=20000 programs from SEED=0
	cargo test --workspace --test fuzz -- --programs $(or $(N),2000) --seed $(or $(SEED),0)

bench-cpu: setup ## the CPU engines and their peers: times, scaling, memory, callers; ARGS="--part table --only resnet*" picks some
	@scripts/bench_cpu.sh $(ARGS)

gpu-bundle: setup ## target/gpu-bundle: tests and benchmarks for a machine with a GPU, which needs torch 2.11 for Python alone
	@scripts/gpu-bundle.sh

fmt: ## format the Rust code
	cargo fmt --all

clippy: setup ## lint everything, warnings are errors
	cargo clippy --workspace --all-targets -- -D warnings

doc: setup ## build the documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
