# make test   everything that CI does: installs what it needs, builds, vets, tests against a real Postfix
# make demo   a user's mail through a private Postfix, signed and checked, in front of your eyes
# make fuzz   each fuzz target for ten minutes, or FUZZTIME=1m
# make bench  Signpost beside OpenDKIM, OpenDMARC, rspamd and dkimpy-milter; a part of it with BENCH="-only verify -size 4k"
# make conformance  docs/conformance.md anew, from what the tests counted
# make build  bin/signpost and bin/dkimkey, static
# make man    the manual pages: bin/man/signpost.8, signpost.toml.5, dkimkey.1

VERSION = 0.3

.PHONY: build man test fuzz bench conformance demo setup fmt clean

build:
	CGO_ENABLED=0 go build -buildvcs=auto -trimpath -ldflags "-s -w -X signpost/internal/cli.version=$(VERSION)" -o bin/ ./cmd/...

man: build
	@mkdir -p bin/man
	bin/signpost manual > bin/man/signpost.8
	bin/signpost manual dist/signpost.toml > bin/man/signpost.toml.5
	bin/dkimkey manual > bin/man/dkimkey.1

test: setup build
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	@rm -rf bin/conformance
	SIGNPOST_CONFORMANCE=$(CURDIR)/bin/conformance go test -race -parallel 8 ./...
	@scripts/conformance check

conformance:
	SIGNPOST_CONFORMANCE=$(CURDIR)/bin/conformance go test ./...
	@scripts/conformance write

fuzz: setup
	scripts/fuzz $(FUZZTIME)

bench: setup build
	go run ./internal/bench $(BENCH)

demo: setup build
	go run ./internal/demo

setup:
	@scripts/setup

fmt:
	gofmt -w $$(git ls-files '*.go')

clean:
	rm -rf bin
