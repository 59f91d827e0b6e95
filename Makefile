# make test   all checks of CI: installs the tools, builds, vets, and tests with a real Postfix
# make short  runs the tests that need only Go: no server, no root; a minute
# make demo   sends mail through a private Postfix, and shows how it is signed and verified
# make race   runs all tests with the race detector, which make test uses only where goroutines run
# make fuzz   runs each fuzz target for ten minutes, or FUZZTIME=1m
# make vuln   looks for known vulnerabilities in the code that the programs call; it queries vuln.go.dev, or VULNDB=URL
# make bench  compares the speed with OpenDKIM, OpenDMARC, rspamd and dkimpy-milter, and with the journal disabled; a part of it:
#             BENCH="-only verify -size 4k"; bin/bench -h lists the options
# make bench-journal  the speed of a journal with ten million messages, or ROWS=100000
# make conformance  writes docs/conformance.md from the counts of the tests
# make build  builds bin/signpost, bin/signpost-cluster, bin/dkimkey and bin/greyskip, statically linked
# make man    writes the manual pages: bin/man/signpost.8, signpost-cluster.8, signpost.toml.5, dkimkey.1, greyskip.1
# make deb    builds bin/signpost_VERSION_ARCH.deb, for this machine or GOARCH=arm64
# make release  builds bin/release: archives and packages for all supported systems, an SBOM of each, and SHA256SUMS; docs/release.md
# make image  builds the container images bin/release/signpost-VERSION-image-ARCH.tar, for amd64 and arm64
# make apt-repo KEY=FINGERPRINT  bin/apt, an apt repository of the packages in bin/release or PACKAGES=DIRECTORY; docs/install.md
# make install  installs into PREFIX (/usr/local), below DESTDIR; docs/install.md has the remaining steps
# make machine  tests with the Postfix of Debian 12, or SUITE=trixie: the tests of mail and of doctor, and the steps of README.md on an
#             emulated machine with systemd; minutes, as root
# make bare  runs the commands of README.md on a new Debian 12, or SUITE=trixie, that has only git and make; up to an hour, as root
# make released  installs, upgrades and downgrades the package by apt on a new Debian 12, or SUITE=trixie; PACKAGES=bin/release tests those
# make soak   sends mail between two Postfixes during faults, and judges each message: an hour, or SOAK=6h; SEED=N repeats a run; as root
# make greyskip-sample  looks up the senders of dist/greyskip.domains, where DNS is available
# make matrix  the long checks: make bare, make machine and make released on each supported Debian, the release, the container image,
#             simulated years of dkimkey, make race; hours, as root
# make screenshots  bin/screenshots/: each page of signpost web in mobile and desktop size, light and dark; docs/page.png, the picture in README.md
# make cross  builds bin/OS-ARCH/ for the other supported systems

PREFIX = /usr/local
# scripts/setup installs Go in its own directory if the machine has none or another one. Servers are in sbin, which is not in the PATH of
# users.
export PATH := $(shell scripts/setup path):$(PATH):/usr/local/sbin:/usr/sbin:/sbin

# make test runs the race detector for the packages that start goroutines (layout_test.go): for all tests of CONCURRENT, and for the tests of
# PARTLY that do things at the same time.
# The packages that take longest are first, so that the others run beside them.
CONCURRENT = $(addprefix ./,internal/e2e internal/cluster internal/lookup cmd/signpost-cluster milter keys internal/allowlist internal/daemon internal/dns internal/doctor/domain internal/filter internal/metrics internal/monitor internal/report/send internal/term internal/top internal/web)
PARTLY = $(addprefix ./,cmd/dkimkey cmd/signpost internal/journal)
AT_ONCE = YearAtOnce|Beside|KeptConcurrently|WhileServing|WaitsForMail|TestTwice|WithoutDNS|ContextEnds|Follow|HostileConnections|TestMetrics|TestHealth|TestKept$$|TestHeld|TestBroken|DiskFull|CausesOfLoss
# SQLite, which is C translated to Go, is several times slower with the race detector, and is not what the detector is to check.
RACE = -race -gcflags='modernc.org/sqlite/lib=-race=false'

SOAK ?= 1h
SEED ?=

.PHONY: build man test short fuzz bench bench-journal conformance demo go setup fmt clean deb install cross release screenshots machine bare matrix vuln image race greyskip-sample soak apt-repo released

build: go
	scripts/build bin

man: build
	@mkdir -p bin/man
	bin/signpost manual > bin/man/signpost.8
	bin/signpost-cluster manual > bin/man/signpost-cluster.8
	bin/signpost manual dist/signpost.toml > bin/man/signpost.toml.5
	bin/dkimkey manual > bin/man/dkimkey.1
	bin/greyskip manual > bin/man/greyskip.1

deb: go
	@rm -f bin/signpost_*.deb
	@scripts/deb bin

image: go
	@GOARCH=amd64 scripts/image bin/release
	@GOARCH=arm64 scripts/image bin/release

apt-repo:
	@scripts/apt-repo "$(KEY)" "$(or $(PACKAGES),bin/release)" "$(or $(REPOSITORY),bin/apt)"

install: build
	@scripts/stage bin bin/stage
	DESTDIR="$(DESTDIR)" bin/stage/install "$(PREFIX)"

cross: go
	GOOS=linux GOARCH=arm64 scripts/build bin/linux-arm64
	GOOS=freebsd GOARCH=amd64 scripts/build bin/freebsd-amd64
	GOOS=freebsd GOARCH=arm64 scripts/build bin/freebsd-arm64

release: go
	@scripts/release

machine:
	scripts/machine $(SUITE)

bare:
	scripts/bare $(SUITE)

released:
	scripts/released $(or $(SUITE),bookworm) $(PACKAGES)

soak:
	scripts/setup matrix
	SIGNPOST_SOAK="$(SOAK)" SIGNPOST_SEED="$(SEED)" go test -count=1 -timeout 0 -v -run '^TestSoak$$' ./internal/soak

greyskip-sample: build
	scripts/greyskip-sample

matrix:
	scripts/matrix

race: setup
	go test $(RACE) -timeout 1h -parallel 8 ./...

short: go
	go test -short ./...

test: setup build
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	@# The flags are those of scripts/build, so that no package is compiled twice.
	CGO_ENABLED=0 go vet -trimpath ./...
	CGO_ENABLED=0 GOFLAGS=-trimpath go tool staticcheck ./...
	@# This code is not run: without optimization, it is compiled faster.
	GOOS=freebsd go build -gcflags='all=-N -l' ./...
	GOOS=freebsd go vet -gcflags='all=-N -l' ./...
	@# bench is a separate module; staticcheck is a tool of the main one.
	staticcheck=$$(go tool -n staticcheck) && cd bench && export CGO_ENABLED=0 GOFLAGS=-trimpath && go vet ./... && $$staticcheck ./... && \
		GOOS=freebsd go vet -gcflags='all=-N -l' ./... && CGO_ENABLED=1 GOFLAGS= go test $(RACE) -vet=off ./...
	@rm -rf bin/conformance
	@# The race detector makes tests several times slower. make race runs it for all tests.
	SIGNPOST_CONFORMANCE="$(CURDIR)/bin/conformance" go test $(RACE) -p 3 -vet=off -timeout 30m -parallel 8 $(CONCURRENT)
	go test $(RACE) -vet=off -timeout 30m -parallel 8 -run '$(AT_ONCE)' $(PARTLY)
	@# Many of these tests wait for a server, so three packages at a time use two processors better than two.
	SIGNPOST_CONFORMANCE="$(CURDIR)/bin/conformance" CGO_ENABLED=0 go test -p 3 -trimpath -vet=off -timeout 30m -parallel 8 \
		$$(go list ./... | grep -vxF "$$(go list $(CONCURRENT))")
	@scripts/conformance check
	@test "$$(id -u)" -eq 0 || echo "make test: the tests that need root were skipped"

conformance: setup
	@rm -rf bin/conformance
	SIGNPOST_CONFORMANCE="$(CURDIR)/bin/conformance" go test ./...
	@scripts/conformance write

fuzz: setup
	scripts/fuzz $(FUZZTIME)

# The database is not reachable everywhere, so this is not part of make test.
vuln: go
	for module in . bench; do (cd $$module && go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 $(if $(VULNDB),-db $(VULNDB)) ./...) || exit; done

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
