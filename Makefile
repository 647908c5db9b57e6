# SPDX-License-Identifier: Apache-2.0
# proofhouse: prove AppArmor on a kernel build before anyone ships it.

GO      ?= go
KERNEL  ?=
QEMU    ?=
SMOKE   ?=
ARGS    ?=
E2E     ?= ./machines ./runs ./cmd/proofhouse ./nsmgr ./containers ./cmd/nsmgr ./reports/page
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null)$(shell git diff --quiet HEAD 2>/dev/null || echo ', modified')
ARCH    ?= $(shell $(GO) env GOARCH)
GUEST_DIR = $(if $(filter-out $(shell $(GO) env GOARCH),$(ARCH)),bin/$(ARCH))
LDFLAGS  = -s -w -X 'proofhouse/internal/version.linked=$(COMMIT)'
GOLANGCI = $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VALE     = $(GO) run github.com/vale-cli/vale/v3/cmd/vale@v3.21.0 --output=line

# What `proofhouse run` gets of the variables above.
RUN_FLAGS = $(foreach k,$(KERNEL),--kernel '$(k)') $(if $(SMOKE),--smoke) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup build nsmgr-lxc run test test-unit test-e2e test-vm isolation-docs mutants mutants-kernel lint words bench bench-loop deb clean

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make run SMOKE=1                  a verdict in a minute'
	@echo '  make run KERNEL=debian:trixie     another kernel: a spec, or the path of a bzImage, a .deb, a build tree'
	@echo '  make run ARGS="--script open"     any flag of "proofhouse run"'
	@echo '  make setup QEMU=backports         QEMU 10, where Debian 12 has a slower one'

# With ARCH= another architecture than this host's, also the programs of its guests
# and boards, static, into bin/ARCH.
build: ## build everything into bin/ (ARCH=arm64: the programs for arm64 guests and boards too, into bin/arm64)
	@mkdir -p bin $(GUEST_DIR)
	$(if $(GUEST_DIR),CGO_ENABLED=0 GOARCH=$(ARCH) $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $(GUEST_DIR)/ ./cmd/guest-init ./cmd/nsmgr ./cmd/probe)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o bin/ ./cmd/...
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/ginkgo github.com/onsi/ginkgo/v2/ginkgo
	CGO_ENABLED=0 $(GO) test -c -trimpath -ldflags '-s -w' -o bin/suite.test ./suite

nsmgr-lxc: ## build bin/nsmgr-lxc, for nsmgr's container commands on this machine (takes lxc-dev and a C compiler)
	CGO_ENABLED=1 $(GO) build -trimpath -buildmode=pie -tags lxc -o bin/nsmgr-lxc ./cmd/nsmgr

setup: build ## install what is missing here (QEMU=1 or QEMU=backports: QEMU too)
	@bin/proofhouse setup $(if $(QEMU),--qemu $(QEMU))

# Setup installs the QEMU that the kernel's architecture needs.
run: build ## run the suite on a kernel (KERNEL=SPEC, SMOKE=1)
	@bin/proofhouse setup $(foreach k,$(KERNEL),--kernel '$(k)') $(if $(QEMU),--qemu $(QEMU))
	@bin/proofhouse run $(RUN_FLAGS)

test: build ## run the project's own tests, on real kernels too
	@bin/proofhouse setup --qemu $(or $(QEMU),1)
	$(MAKE) --no-print-directory test-unit test-e2e

test-unit: ## only the tests that boot nothing
	$(GO) vet ./...
	$(GO) test ./...

test-e2e: build ## only the tests that boot kernels
	PROOFHOUSE_E2E=$(CURDIR)/bin $(GO) test -p 1 -count=1 -timeout 120m -v -run '^TestE2E' $(E2E)

.PHONY: test-boards
test-boards: build ## the faults of a board, on a simulated one: an hour (docs/boards.md)
	@bin/proofhouse setup --qemu $(or $(QEMU),1)
	PROOFHOUSE_E2E=$(CURDIR)/bin PROOFHOUSE_BOARDS=1 $(GO) test -p 1 -count=1 -timeout 120m -v -run '^TestE2EBoard' ./machines/testboard ./cmd/proofhouse

.PHONY: test-arm64
test-arm64: build ## the tests of arm64 guests (the first time builds a guest root: minutes)
	@bin/proofhouse setup --qemu $(or $(QEMU),1) --kernel debian:trixie --kernel debian:trixie:arm64
	PROOFHOUSE_E2E=$(CURDIR)/bin PROOFHOUSE_ARM64=debian:trixie:arm64 \
		$(GO) test -p 1 -count=1 -timeout 120m -v -run '^TestE2EArm64' ./cmd/proofhouse

.PHONY: test-faults
test-faults: build ## 200 faults at random moments of runs on UML, half an hour at most (FAULTS=N in each half, SEED=N)
	PROOFHOUSE_E2E=$(CURDIR)/bin PROOFHOUSE_FAULTS=$(or $(FAULTS),100) PROOFHOUSE_FAULTS_SEED=$(SEED) \
		$(GO) test -p 1 -count=1 -timeout 60m -v -run '^TestE2EFaults' ./runs ./cmd/proofhouse

.PHONY: test-packages
test-packages: build ## install, use, upgrade and remove nsmgr's packages in guests of these suites, and reboot them (GUESTS=)
	set -e; for g in $(or $(GUESTS),bookworm trixie sid); do \
		PROOFHOUSE_GUEST=$$g PROOFHOUSE_E2E=$(CURDIR)/bin $(GO) test -count=1 -timeout 60m -v -run '^TestE2E(Packages|Reboot)$$' ./cmd/nsmgr; \
	done

test-vm: build ## the tests of nsmgr on Debian's kernels, under QEMU
	@bin/proofhouse setup --qemu $(or $(QEMU),1)
	PROOFHOUSE_E2E=$(CURDIR)/bin PROOFHOUSE_KERNELS="debian:bookworm debian:trixie debian:trixie-backports" \
		$(GO) test -p 1 -count=1 -timeout 150m -v -run '^TestE2E' ./nsmgr ./containers ./cmd/nsmgr

# Before a release: see CONTRIBUTING.md. A run with failures also makes the page; one
# whose results cannot be read leaves the page as it is.
isolation-docs: build ## run the isolation matrix on UML and Debian's kernels, and make docs/isolation.md of it
	@bin/proofhouse setup --qemu $(or $(QEMU),1)
	rm -rf out/isolation-docs
	-bin/proofhouse run --label-filter isolation --out out/isolation-docs -k uml:debian:forky -k debian:bookworm -k debian:trixie -k debian:trixie-backports
	$(GO) run ./cmd/isolation-doc out/isolation-docs > out/isolation.md
	mv out/isolation.md docs/isolation.md

# The kernel for mutants, where KERNEL names no other.
MUTANTS ?= out/mutants-kernel

mutants: build ## count which of the planted faults the suite catches (KERNEL= a kernel with faults; docs/mutants.md; hours)
	@bin/proofhouse mutants run --kernel '$(or $(KERNEL),$(MUTANTS)/um/linux)' $(ARGS)

mutants-kernel: build ## build a User Mode Linux kernel with planted faults from Debian's source (half an hour)
	tree=$$(bin/proofhouse mutants source $(MUTANTS)) && \
	$(MAKE) -C "$$tree" ARCH=um O=$(abspath $(MUTANTS))/um KCONFIG_ALLCONFIG=$(CURDIR)/docs/small-uml.config allnoconfig && \
	$(MAKE) -C "$$tree" ARCH=um O=$(abspath $(MUTANTS))/um -j$$(nproc)

lint: words ## gofmt, vet, golangci-lint, and the words of documents and comments
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	$(GOLANGCI) run ./...

# docs/isolation.md is generated from texts that are checked, and has IDs that never change.
words: ## check the words of documents and comments
	$(VALE) $$(git ls-files '*.md' '*.go' | grep -v -e /testdata/ -e '^docs/isolation.md$$')

# apidiff knows which changes break the programs of others.
APIDIFF = $(GO) run golang.org/x/exp/cmd/apidiff@v0.0.0-20250911091902-df9299821621
BASE   ?= HEAD
.PHONY: api
api: ## compare the API of the package nsmgr with that of a commit (BASE=COMMIT)
	set -e; old=$$(mktemp -d); trap 'git worktree remove --force "$$old/tree"; rm -rf "$$old"' EXIT; \
	git worktree add -q --detach "$$old/tree" $(BASE); \
	(cd "$$old/tree" && $(APIDIFF) -w "$$old/api" proofhouse/nsmgr); \
	$(APIDIFF) "$$old/api" proofhouse/nsmgr

bench: build ## measure the boot, the harness's own time, and nsmgr against LXC's way
	PROOFHOUSE_E2E=$(CURDIR)/bin PROOFHOUSE_BENCH="$(or $(KERNEL),uml:debian:forky debian:trixie)" $(GO) test -count=1 -timeout 60m -run '^$$' -bench . -benchtime 5x ./cmd/proofhouse ./nsmgr

bench-loop: build ## measure a run of the whole suite against a plain loop over its scripts (an hour)
	PROOFHOUSE_E2E=$(CURDIR)/bin PROOFHOUSE_BENCH_LOOP="$(or $(KERNEL),uml:debian:forky debian:trixie)" $(GO) test -count=1 -timeout 200m -run '^$$' -bench BenchmarkLoop -benchtime 1x ./cmd/proofhouse

# What packages are made of. nsmgr-lxc needs lxc-dev and a C compiler, or
# LXCBIN=FILE, an nsmgr that was built with liblxc elsewhere.
VERSION    ?= 0.1.0
MAINTAINER ?= proofhouse developers <proofhouse@localhost>
DEB        ?= out/deb
# For another architecture (ARCH=arm64) there is nsmgr: what is static.
PACKAGES   ?= nsmgr $(if $(GUEST_DIR),,proofhouse) $(if $(LXCBIN),nsmgr-lxc)
LXCBIN     ?= $(if $(GUEST_DIR),,$(if $(shell pkg-config --exists lxc 2>/dev/null && echo yes),bin/nsmgr-lxc))
NFPM        = $(GO) tool -modfile=packaging/go.mod nfpm
export VERSION ARCH MAINTAINER LXCBIN
export BIN   = $(CURDIR)/$(or $(GUEST_DIR),bin)
export BUILD = $(abspath $(DEB))/build
# The oldest libc that nsmgr-lxc runs with.
export LIBC  = $(shell objdump -T $(LXCBIN) 2>/dev/null | grep -o 'GLIBC_2[.0-9]*' | sed s/GLIBC_// | sort -uV | tail -1)

deb: build $(filter nsmgr-lxc,$(notdir $(filter bin/nsmgr-lxc,$(LXCBIN)))) ## make Debian packages of nsmgr and proofhouse in out/deb (ARCH=arm64: of nsmgr for arm64)
	rm -rf $(DEB) && mkdir -p $(BUILD)
	set -e; for p in nsmgr proofhouse; do \
		bin/$$p man | gzip -9n > $(BUILD)/$$p.1.gz; \
		for s in bash zsh fish; do bin/$$p completion $$s > $(BUILD)/$$p.$$s; done; \
	done
	packaging/copyright > $(BUILD)/copyright
	for p in nsmgr nsmgr-lxc proofhouse; do packaging/changelog $$p | gzip -9n > $(BUILD)/$$p.changelog.gz; done
	set -e; for p in $(PACKAGES); do \
		$(NFPM) package --config packaging/$$p.yaml --packager deb --target $(DEB)/; \
	done

clean: ## remove bin/ and out/ (proofhouse cache clean removes what was fetched)
	rm -rf bin out
