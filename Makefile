GO ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# What make matrix runs: SOURCE:TARGET pairs of PostgreSQL versions, and versions for the tests of rows and commands.
MATRIX ?= 14:14 14:15 14:18 15:15 15:17 15:18 16:16 16:17 17:17 17:18 18:18
VERSIONS ?= 14 16 17 18
FUZZ_TIME ?= 30m
# How long the tests of one package may take: more on a machine that is busy.
TEST_TIMEOUT ?= 30m
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.DEFAULT_GOAL := build
.PHONY: build test test-bare test-large check bench demo regress fuzz matrix deps clean help

build: ## build bin/pg_scribe, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/pg_scribe ./cmd/pg_scribe

test: deps ## run all tests against throwaway PostgreSQL clusters
	$(GO) test -timeout $(TEST_TIMEOUT) ./...

test-bare: ## make demo and make test in a fresh, minimal Debian; root only, some 3 GB
	@.ci/bare

test-large: deps ## the tests that move values of half a gigabyte; some minutes, 4 GB of memory
	PG_SCRIBE_TEST_LARGE=1 $(GO) test -count=1 -timeout 30m -run TooLarge ./internal/e2e

check: ## formatting, go vet, staticcheck, go.mod
	@unformatted=$$(gofmt -l .) || exit 1; if [ -n "$$unformatted" ]; then \
		echo "gofmt would change:" >&2; echo "$$unformatted" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff

demo: deps build ## back up a live database, break it, restore it to the moment before
	$(GO) run ./internal/demo

bench: deps build ## measure against pg_recvlogical, pg_dump and psql
	$(GO) run ./bench

regress: deps build ## run PostgreSQL's regression suite under capture, restore it, compare
	$(GO) run ./internal/regress $(REGRESS)

fuzz: deps ## made-up commands of all kinds, restored and compared, for FUZZ_TIME
	$(GO) test -v -count=1 -timeout 0 ./internal/e2e -run '^TestRandomWork$$' -random-time $(FUZZ_TIME)

matrix: deps ## back up and restore across versions of PostgreSQL; gets the versions that are missing
	@.ci/postgresql $(sort $(subst :, ,$(MATRIX)) $(VERSIONS)) >/dev/null
	PG_SCRIBE_TEST_MATRIX="$(MATRIX)" $(GO) test -count=1 -timeout 30m ./internal/e2e ./restore/compare ./cmd/pg_scribe -run '^Test(Rehearse|Upgrade)?Versions$$'
	@set -e; for version in $(VERSIONS); do \
		bin=$$(.ci/postgresql $$version); echo "PG_SCRIBE_TEST_BIN=$$bin"; \
		PG_SCRIBE_TEST_BIN=$$bin $(GO) test -count=1 -timeout $(TEST_TIMEOUT) ./internal/e2e -skip 'UnderLoad|Versions|TestImportGraph'; \
	done

deps: ## install what the tests need (PostgreSQL server, compressors) where it is missing
	@.ci/deps

clean: ## remove what was built
	rm -rf bin

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
