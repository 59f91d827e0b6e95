# make test   everything that CI does: installs what it needs, builds, vets, tests against a real Postfix
# make short  the tests that need only Go: no server, no root, a minute
# make demo   a user's mail through a private Postfix, signed and checked, in front of your eyes
# make fuzz   each fuzz target for ten minutes, or FUZZTIME=1m
# make bench  Signpost beside OpenDKIM, OpenDMARC, rspamd and dkimpy-milter; a part of it with BENCH="-only verify -size 4k"
# make bench-journal  the journal with ten million messages, or ROWS=100000
# make conformance  docs/conformance.md anew, from what the tests counted
# make build  bin/signpost, bin/dkimkey and bin/greyskip, static
# make man    the manual pages: bin/man/signpost.8, signpost.toml.5, dkimkey.1, greyskip.1
# make deb    bin/signpost_VERSION_ARCH.deb, for this machine or GOARCH=arm64
# make install  into PREFIX (/usr/local), below DESTDIR; docs/install.md says what is left to do
# make machine  README's steps on an emulated Debian machine with its own systemd and Postfix, or SUITE=trixie; minutes, as root
# make bare  README's commands on a new Debian 12 with only git and make, or SUITE=trixie; up to an hour, as root
# make matrix  the long checks: make bare and make machine on each supported Debian, years of dkimkey with faults, an operator and runs at once; hours, as root
# make screenshots  bin/screenshots/: each page of signpost web in the sizes of a phone and of a desktop, light and dark; docs/page.png, the picture in README.md
# make cross  bin/OS-ARCH/ for the other systems that are supported

VERSION = $(shell scripts/version)
PREFIX = /usr/local
# scripts/setup installs Go there where the machine has none or an old one. Servers are in sbin, which users do not have in PATH.
export PATH := $(shell scripts/setup path):$(PATH):/usr/local/sbin:/usr/sbin:/sbin
GOBUILD = CGO_ENABLED=0 go build -buildvcs=auto -trimpath -ldflags "-s -w -X signpost/internal/cli.version=$(VERSION)"

.PHONY: build man test short fuzz bench bench-journal conformance demo go setup fmt clean deb install cross screenshots machine bare matrix

build: go
	$(GOBUILD) -o bin/ ./cmd/...

man: build
	@mkdir -p bin/man
	bin/signpost manual > bin/man/signpost.8
	bin/signpost manual dist/signpost.toml > bin/man/signpost.toml.5
	bin/dkimkey manual > bin/man/dkimkey.1
	bin/greyskip manual > bin/man/greyskip.1

deb: go
	@rm -f bin/signpost_*.deb
	@scripts/deb bin

install: build
	scripts/install bin "$(DESTDIR)" "$(PREFIX)"

cross: go
	GOOS=linux GOARCH=arm64 $(GOBUILD) -o bin/linux-arm64/ ./cmd/...
	GOOS=freebsd GOARCH=amd64 $(GOBUILD) -o bin/freebsd-amd64/ ./cmd/...
	GOOS=freebsd GOARCH=arm64 $(GOBUILD) -o bin/freebsd-arm64/ ./cmd/...

machine:
	scripts/machine $(SUITE)

bare:
	scripts/bare $(SUITE)

matrix:
	scripts/matrix

short: go
	go test -short ./...

test: setup build
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	@# With the flags of GOBUILD, no package is compiled a second time.
	CGO_ENABLED=0 go vet -trimpath ./...
	CGO_ENABLED=0 GOFLAGS=-trimpath go tool staticcheck ./...
	@# This code does not run, so it is compiled without optimisation, in less time.
	GOOS=freebsd go build -gcflags='all=-N -l' ./...
	GOOS=freebsd go vet -gcflags='all=-N -l' ./...
	@# A module of its own; staticcheck is a tool of this one.
	staticcheck=$$(go tool -n staticcheck) && cd bench && go vet ./... && GOOS=freebsd go vet ./... && $$staticcheck ./... && go test -race ./...
	@rm -rf bin/conformance
	@# SQLite, which is C turned into Go, is several times as slow under the race detector, and is not what it is to look at.
	SIGNPOST_CONFORMANCE="$(CURDIR)/bin/conformance" go test -race -timeout 30m -gcflags='modernc.org/sqlite/lib=-race=false' -parallel 8 ./...
	@# 100,000 SPF checks by a second evaluator, and thousands of large messages: minutes under the race detector, which skips them.
	CGO_ENABLED=0 go test -trimpath -run 'TestAnswersAreVerdicts|TestCostOfMessage|TestFlood|TestBound$$' ./internal/spfset ./internal/journal
	@scripts/conformance check
	@test "$$(id -u)" -eq 0 || echo "make test: the tests that need root were skipped"

conformance: setup
	@rm -rf bin/conformance
	SIGNPOST_CONFORMANCE="$(CURDIR)/bin/conformance" go test ./...
	@scripts/conformance write

fuzz: setup
	scripts/fuzz $(FUZZTIME)

bench: setup build
	go build -C bench -o ../bin/bench .
	bin/bench $(BENCH)

bench-journal: go
	SIGNPOST_JOURNAL_ROWS=$(or $(ROWS),10000000) go test ./internal/journal -run '^$$' -bench . -benchtime 3x -timeout 2h

demo: setup build
	go run ./internal/demo

screenshots: setup
	@mkdir -p bin/screenshots
	SIGNPOST_SCREENSHOTS="$(CURDIR)/bin/screenshots" go test -count=1 -run TestInBrowser ./internal/web
	cp bin/screenshots/page.png docs/page.png

go:
	@scripts/setup go

setup: go
	@scripts/setup

fmt: go
	gofmt -w $$(git ls-files '*.go')

clean:
	rm -rf bin
