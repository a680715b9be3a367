# Short names for what is done often. What a check consists of stands in .ci/run, so that
# `make ci` on a desk and the same script elsewhere cannot differ.
.DEFAULT_GOAL := help
.PHONY: help build test lint fmt race fuzz soak integration demo bench image ci clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/waybill
	CGO_ENABLED=1 go build -o bin/ ./cmd/waybill

test: ## run README's test command and count the tests
	@bash .ci/run test

lint: ## check format, lint and import arrows
	@bash .ci/run lint

fmt: ## format everything as lint wants it
	@bash .ci/run format

race: ## run the concurrent packages under the race detector
	@bash .ci/run race

fuzz: ## run every fuzz test FUZZTIME times (200000x)
	@bash .ci/run fuzz

soak: ## live through new seeds for SOAK (8h), or until something is wrong
	@SOAK=$${SOAK:-8h} bash integration/seeds/run

integration: ## run every script of integration/
	@bash .ci/run integration

demo: ## run the demo and look for its sentence
	@bash .ci/run demo

bench: ## run the project's benchmark; ARGS are passed on
	go run ./cmd/waybill bench $(ARGS)

image: ## build the container images; BASE, REPOSITORY and TAG as in deploy/image
	@deploy/image

ci: ## run everything that must pass, some 20 minutes
	@bash .ci/run

clean: ## remove what was built
	rm -rf bin
