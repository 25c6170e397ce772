# What there is to do here. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Found, not listed: a new charm or module is taken in as soon as it is there.
MODULES := $(shell go list -m -f '{{.Dir}}')
PACKAGES := $(addsuffix /...,$(MODULES))
CHARMS := $(sort $(patsubst %/charmcraft.yaml,%,$(wildcard charms/*/charmcraft.yaml)))
BUNDLES := $(sort $(wildcard bundles/*.yaml))
# Each says in its first lines what it is laid over.
OVERLAYS := $(sort $(wildcard overlays/*.yaml tests/overlays/*.yaml))

# The store is dqlite, a C library; its Go binding wants this tag. Without it all else builds.
TAGS := libsqlite3
export GOFLAGS := $(strip $(shell go env GOFLAGS) -tags=$(TAGS))

# What programs print for --version. A charm's is that of the last commit that changed what
# charms are built of, so that other commits leave the archives as they are.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
CHARM_SOURCES := charms internal go.mod go.sum
CHARM_VERSION := $(shell git describe --tags --always $$(git log -1 --format=%H -- $(CHARM_SOURCES)) 2>/dev/null)$(shell \
	git diff --quiet HEAD -- $(CHARM_SOURCES) 2>/dev/null || echo -dirty)
STAMP = $(if $(VERSION),-ldflags "-X github.com/dcib/dcib/internal/version.stamped=$(VERSION)")

# The race detector needs a C compiler, which build-deps brings where it can.
RACE = $(if $(shell command -v gcc),-race)
FUZZTIME ?= 20s

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

# ---- building ----

.PHONY: bin build-deps charms clean install
bin: ## Build bin/dcib and what the tests need
	@mkdir -p bin
	@go build $(STAMP) -o bin/ ./cmd/dcib ./tests/suite

build-deps: bin # The Debian packages that the charms' build-packages name, where they are missing
	@bin/dcib pack --prepare $(CHARMS)

charms: build-deps ## Pack each charm into dist/<name>.charm
	@bin/dcib pack --version "$(CHARM_VERSION)" --out dist $(CHARMS)

PREFIX ?= /usr/local
install: bin/dcib ## Install dcib into PREFIX/bin (default /usr/local); DESTDIR goes before it
	@install -d "$(DESTDIR)$(PREFIX)/bin"
	@install -m 755 bin/dcib "$(DESTDIR)$(PREFIX)/bin/dcib"

.PHONY: standins
standins: ## Write stand-ins for the charms from Charmhub into dist/standins
	@go run ./tests/catalog --out dist/standins

clean: ## Remove what was built (boxes are not touched: see box-down)
	@rm -rf bin dist

# ---- the box ----

# Several can stand side by side: make box BOX=t1
BOX ?= box

.PHONY: box box-status box-down box-purge
box: charms demo ## A real data centre on this machine (root, Debian 12 or Ubuntu)
	@bin/dcib box --name $(BOX) up

# An application that does nothing, for docs/tutorial.md.
.PHONY: demo
demo: bin/dcib
	@bin/dcib pack --out dist tests/charms/idle

box-status: bin/dcib ## What there is of it
	@bin/dcib box --name $(BOX) status

box-down: bin/dcib ## Take it away, and check that nothing is left
	@bin/dcib box --name $(BOX) down

box-purge: bin/dcib ## The same, and what was built and downloaded for it
	@bin/dcib box --name $(BOX) purge

# go knows better than make whether there is something to build.
.PHONY: bin/dcib
bin/dcib:
	@mkdir -p bin
	@go build $(STAMP) -o bin/dcib ./cmd/dcib

# ---- checking ----

.PHONY: words lint lint-quick lint-format lint-vet lint-charms lint-modules lint-static lint-shell lint-vuln
lint: lint-quick lint-modules lint-static lint-shell lint-vuln ## Check everything that can be checked without running it
lint-quick: words lint-format lint-vet lint-charms

lint-format:
	@echo "== gofmt"
	@unformatted=$$(gofmt -l .); \
	if [[ -n $$unformatted ]]; then echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; fi

# docs/explanation/glossary.md says why; the list is tests/words/words.txt.
words: ## Look for words that the project does not use
	@go run ./tests/words

lint-vet: build-deps
	@echo "== go vet"
	@go vet $(PACKAGES)
	@go vet -tags box,contract,$(TAGS) $(PACKAGES)

lint-charms: bin standins
	@echo "== charms, bundles, overlays"
	@bin/dcib lint $(CHARMS) $(BUNDLES) $(OVERLAYS)

# Inside the workspace a forgotten require is not seen; a user of the module alone sees it.
lint-modules: build-deps
	@for m in $(MODULES); do \
		echo "== $${m#$(CURDIR)/} alone"; \
		(cd "$$m" && GOWORK=off go build -o /dev/null ./... && GOWORK=off go vet ./...); \
	done

lint-static: build-deps tools
	@echo "== staticcheck"
	@bin/staticcheck -tags box,contract,$(TAGS) $(PACKAGES)

lint-shell:
	@echo "== shellcheck"
	@command -v shellcheck >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y shellcheck >/dev/null; } \
		|| { echo "cannot find or install shellcheck: run apt-get update && apt-get install shellcheck as root"; exit 1; }
	@scripts=$$(git ls-files -co --exclude-standard | while read -r f; do \
		if [[ -f $$f ]] && head -c 64 "$$f" | head -n 1 | grep -qaE '^#!.*[/ ](ba|da)?sh( |$$)'; then echo "$$f"; fi; done); \
	[[ -z $$scripts ]] || shellcheck $$scripts

# The database is on the Internet: a machine that cannot reach it has not checked anything,
# and says so.
lint-vuln: build-deps tools
	@echo "== govulncheck"
	@for m in $(MODULES); do \
		if out=$$(cd "$$m" && GOWORK=off $(CURDIR)/bin/govulncheck ./... 2>&1); then continue; fi; \
		if grep -q 'fetching vulnerabilities' <<<"$$out"; then \
			echo "NOT CHECKED: the vulnerability database (vuln.go.dev) cannot be reached from here"; break; \
		fi; \
		echo "$$m: $$out"; exit 1; \
	done

.PHONY: tools
tools:
	@mkdir -p bin
	@cd tools && GOWORK=off go build -o ../bin/ tool

# ---- testing ----

.PHONY: check unit test e2e fuzz
check: lint-quick unit ## The inner loop: formats, vet, metadata, unit tests (no root, no containers)

unit: build-deps
	@bin/suite unit $(RACE) $(PACKAGES)

# The code of both agents is built once; then it is in Go's cache, and this takes seconds.
.PHONY: contract
contract: bin ## The charms' hook tools and metadata against the code of Juju 3.6 and 4 (no root)
	@bin/suite contract -tags contract,$(TAGS) -count=1 ./tests/contract

test: lint check contract e2e ## Everything but faults, maas-test, tutorial-test and bench, on a real LXD and a real Juju (root, Debian 12 or Ubuntu)

# The how-tos that the real suites run have it.
.PHONY: jq
jq:
	@command -v jq >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y jq >/dev/null; } \
		|| { echo "cannot find or install jq: run apt-get update && apt-get install jq as root"; exit 1; }

# The real suites run one after another, each in its own state folder.
.PHONY: faults maas-test bench tutorial-test
e2e: charms standins jq
	@cd tests && ../bin/suite -v box -tags box,$(TAGS) -count=1 -p 1 -timeout 40m ./e2e/... ./bundles/...

# Machines that die need minutes until Juju and LXD have seen it, so this is not in `test`.
faults: charms standins jq ## Break real machines at chosen moments, and what day two brings (root; about two and a half hours)
	@cd tests && ../bin/suite -v faults -tags box,$(TAGS) -count=1 -p 1 -timeout 150m ./faults/... ./daytwo/...

# Of MAAS's packages it has stand-ins, unless DCIB_MAAS_SOURCE says where there are others.
maas-test: charms ## Regions and racks of MAAS on real machines (root; about 12 minutes)
	@cd tests && ../bin/suite -v maas -tags box,$(TAGS) -count=1 -parallel 8 -timeout 40m ./maas/

# It begins with `make box`, which packs what it needs.
tutorial-test: bin ## Run docs/tutorial.md as written, on a box of its own (root; about 15 minutes)
	@cd tests && ../bin/suite -v tutorial -tags box,$(TAGS) -count=1 -timeout 40m ./tutorial/

bench: charms ## What things cost on a real box, each beside the way without us
	@cd tests && go test -v -tags box,$(TAGS) -count=1 -timeout 90m ./bench/...

fuzz: build-deps ## Run each fuzz test for FUZZTIME (20s)
	@for p in $$(go list $(PACKAGES)); do \
		for f in $$(go test -list '^Fuzz' "$$p" | grep '^Fuzz' || true); do \
			echo "== $$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) "$$p"; \
		done; \
	done
