# `make help` lists what there is.

SHELL := bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
SEEDS ?= 10000

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## a release that ships and two that are rolled back, in about a minute
	@cargo build --profile fast -p penstock-proxy -p penstock
	@$(or $(CARGO_TARGET_DIR),target)/fast/penstock demo $(ARGS)

.PHONY: test
test: ## everything: format, lints, licences, all tests, simulation
	@SEEDS=$(SEEDS) tests/run

.PHONY: lint
lint: ## format, clippy, licences and duplicates
	@tests/run format clippy licences

.PHONY: fmt
fmt: ## format the code
	@cargo fmt --all

.PHONY: sim
sim: ## simulate SEEDS=n hostile worlds
	@SEEDS=$(SEEDS) cargo test --profile fast -p penstock-core --lib simulator -- --ignored --nocapture

.PHONY: screenshots
screenshots: ## the page of real releases in a real browser, as pictures for docs/
	@tests/page/install
	@cargo build --quiet -p penstock -p penstock-proxy -p penstock-tests --bins
	@cargo run --quiet -p penstock-tests --example screenshots -- docs

.PHONY: cluster
cluster: ## a shell beside a whole Kubernetes, gone when it is left (as root)
	@tests/cluster/shell

.PHONY: e2e
e2e: ## scenarios on a whole Kubernetes (as root): ONLY=words in their names, KEEP=1 for a shell at the end
	@ONLY='$(ONLY)' $(if $(KEEP),KEEP=1) tests/cluster/e2e

.PHONY: charts
charts: ## the chart, its alerts and dashboards, on a whole Kubernetes (as root): RECORD=1 writes golden files again
	@tests/charts/run $(if $(RECORD),--record)

.PHONY: bench
bench: ## the judge, the split, and the proxy beside its peers: docs/benchmarks.md (15 minutes)
	@cargo bench --profile fast -p penstock-core --bench judge
	@cargo bench --profile fast -p penstock-proxy --bench split
	@tests/bench/run proxy $(if $(QUICK),--quick,--document docs/benchmarks.md)

.PHONY: bench-proxy
bench-proxy: ## the proxy beside its peers, QUICK=1: in two minutes, ONLY='http1 memory': these lines
	@tests/bench/run proxy $(if $(QUICK),--quick) $(ONLY:%=--only %)

.PHONY: soak
soak: ## MINUTES=30 at 80 % of the highest load with a reload each second
	@tests/bench/run soak --minutes $(if $(QUICK),1,$(or $(MINUTES),30))

.PHONY: fuzz
fuzz: ## TIME=60 seconds for each fuzzer of what the proxy reads, ONLY=names for some
	@TIME=$(or $(TIME),60) proxy/fuzz/run $(ONLY)

.PHONY: crds
crds: ## write the CustomResourceDefinitions and docs/api.md again
	@cargo run --quiet -p penstock-crds --bin crdgen
	@git --no-pager diff --stat -- crds docs/api.md
