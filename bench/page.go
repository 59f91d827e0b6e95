package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pageFile    = "docs/performance.md"
	pictureFile = "docs/performance.svg"
	// Text between these marks is written by hand and kept.
	keptBegin = "<!-- by hand: begin -->\n"
	keptEnd   = "<!-- by hand: end -->\n"
	keptFirst = "\n## Where the time goes\n\n"
)

// write writes the page and the picture.
func (r *report) write(f facts) error {
	old, err := os.ReadFile(pageFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(pageFile, []byte(r.page(f, kept(string(old)))), 0o644); err != nil {
		return err
	}
	return os.WriteFile(pictureFile, []byte(r.picture()), 0o644)
}

// kept returns the text between the marks of the page.
func kept(page string) string {
	_, rest, begun := strings.Cut(page, keptBegin)
	text, _, ended := strings.Cut(rest, keptEnd)
	if !begun || !ended {
		return keptFirst
	}
	return text
}

func (r *report) page(f facts, byHand string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Performance\n\nWritten by `make bench` on %s, in one run in which the servers took turns. %s\n\n", f.date, f.machine)
	fmt.Fprintf(&b, "Signpost %s, %s; %s.\n\n![Processor time for each message](performance.svg)\n\nThe picture leaves dkimpy-milter out, beside whose bars the others would be dots.\n", f.commit, f.compiler, strings.Join(f.versions, ", "))
	b.WriteString("\n## What was asked for\n\n| | wanted | measured | |\n|---|---|---|---|\n")
	for _, t := range r.targets() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", t.what, t.want, t.result(), t.met())
	}
	b.WriteString(keptBegin + byHand + keptEnd)
	r.cellTables(&b)
	r.otherTables(&b)
	b.WriteString(method)
	return b.String()
}

func (r *report) cellTables(b *strings.Builder) {
	for _, role := range []string{signing, verifying} {
		fmt.Fprintf(b, "\n## %s\n\n", map[string]string{signing: "Signing", verifying: "Verifying"}[role])
		b.WriteString("\"Ratio\" is Signpost's processor time to that of the row.\n\n| | server | messages/s | CPU ms | p50 ms | p99 ms | peak MiB | ratio |\n|---|---|--:|--:|--:|--:|--:|--:|\n")
		for _, m := range r.cells {
			if m.role != role {
				continue
			}
			name := strings.TrimPrefix(m.String(), role+" ")
			for _, row := range m.rows {
				ratio := r.ratio(m.cell, row.name)
				if row.name == bareName {
					fmt.Fprintf(b, "| %s | %s | | %.3f | | | | %.2f |\n", name, row.name, milliseconds(row.cpu), ratio)
				} else {
					fmt.Fprintf(b, "| %s | %s | %.1f | %.3f | %.2f | %.2f | %.1f | %.2f |\n", name, row.name, row.perSecond(), milliseconds(row.cpu),
						milliseconds(row.p50), milliseconds(row.p99), float64(row.peak)/(1<<20), ratio)
				}
				name = ""
			}
		}
	}
}

func (r *report) otherTables(b *strings.Builder) {
	fmt.Fprintf(b, "\n## Through a real Postfix\n\nsmtp-source with %d sessions, messages of 4 KiB that are verified and thrown away.\n\n| | messages/s | to none | milter's CPU ms |\n|---|--:|--:|--:|\n", postfixSessions)
	for _, t := range r.postfix {
		fmt.Fprintf(b, "| %s | %.1f | %.2f | %.3f |\n", t.name, t.perSecond, t.perSecond/r.postfix[0].perSecond, milliseconds(t.cpu))
	}
	fmt.Fprintf(b, "\n## %d idle connections\n\nMemory of each, in KiB.\n\n| | after the negotiation | after one message |\n|---|--:|--:|\n", idleConnections)
	for _, c := range r.idle {
		fmt.Fprintf(b, "| %s | %.1f | %.1f |\n", c.name, float64(c.fresh)/1024, float64(c.spent)/1024)
	}
}

// method describes the measurement and its limits.
const method = `
## How it is measured

bench plays Postfix's side of the milter protocol, with go-milter's client, to each server on a unix socket: the same negotiation
(except SMFIP_SKIP, which that client does not know), macros
before every packet, packets of at most 65535 octets and writes of 4096, no waiting where the server agreed that there is no
reply, ABORT between two messages of a connection: as strace(1) shows Postfix 3.7 to do it. It has a network and a mount
namespace of its own, with a name server at 127.0.0.1:53. Messages have about twenty header fields; what is over 8 KiB is
base64. Those to verify bear one signature by RSA-2048, relaxed/relaxed; those to sign come from a user who is logged in.
"8 sessions of 10" are eight at once, ten messages on each connection. The servers take turns; each number is the median of
the rounds, of which the cells that are judged have twice as many, the peak the highest.

- Processor time is read from the servers' own clocks, to the nanosecond, children included. "Bare cryptography" is SHA-256 over
  the message and one RSA signature (or the look at one) by Go's library, on all cores at once.
- The peak is VmHWM, set back before each round; what a child shares with its parent is counted once.
- The load comes from the same machine, so that messages/s and latencies contain it; processor time does not.
- A cell of few messages has their slowest as its p99.

Before anything is measured each server has to give the right answers, and during it every message: a signature that another
library verifies; dkim, spf and dmarc pass; a changed body fails; a forged sender of a domain with p=reject is refused. By
design OpenDKIM and dkimpy-milter know DKIM alone, so that they are held to that and their numbers are for less work.

- OpenDKIM and OpenDMARC are set up as Debian does, without syslog, which is in their favour. OpenDKIM sees 127.0.0.1 as its
  Nameservers: Debian's is built with libunbound, which has a cache. OpenDMARC has none, in life its cache is the resolver next
  to it: DNS of 20 ms is harder on it than life.
- rspamd has the milter proxy that scans by itself, one process as in its own worker-proxy.inc, and spf, dkim, dmarc,
  dkim_signing and milter_headers of its modules. Its own rules, rules/rspamd.lua, which every installation has unless somebody
  takes them out, are in the row of that name only, and that only in the cells that are judged.
- dkimpy-milter is left out of 64 sessions of 10 MiB, which would take minutes, and of Postfix.

The parts have benchmarks of their own; two states of the source are compared with benchstat:

	go test -run '^$' -bench . -count 8 ./internal/... >old
	go test -run '^$' -bench . -count 8 ./internal/... >new
	go tool -C bench benchstat ../old ../new

Two builds of the whole, taking turns: ` + "`make bench BENCH=\"-baseline OLD/signpost -servers signpost -size 4k\"`" + `.
`

// facts state on which machine and with which versions the numbers were measured.
type facts struct {
	date, machine, commit, compiler string
	versions                        []string
}

func findFacts() (f facts, err error) {
	f.date = time.Now().UTC().Format("2 January 2006")
	f.compiler = runtime.Version()
	if f.commit, err = output("git", "describe", "--always", "--dirty"); err != nil {
		return f, err
	}
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return f, err
	}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return f, err
	}
	_, rest, _ := strings.Cut(string(cpu), "model name\t: ")
	model, _, _ := strings.Cut(rest, "\n")
	debian, err := os.ReadFile("/etc/debian_version")
	if err != nil {
		return f, err
	}
	f.machine = fmt.Sprintf("%d cores of %s, Linux %s, Debian %s.", runtime.NumCPU(), model, unix.ByteSliceToString(kernel.Release[:]), strings.TrimSpace(string(debian)))
	for _, p := range []string{"opendkim", "opendmarc", "rspamd", "dkimpy-milter", "postfix"} {
		version, err := output("dpkg-query", "-W", "-f", "${Version}", p)
		if err != nil {
			return f, err
		}
		f.versions = append(f.versions, p+" "+version)
	}
	return f, nil
}

func output(argv ...string) (string, error) {
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
