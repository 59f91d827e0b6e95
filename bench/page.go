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
	// Text between these marks is written by hand. It is kept.
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
	fmt.Fprintf(&b, "# Performance\n\nWritten by `make bench` on %s, in one run in which the servers were measured alternately. %s\n\n", f.date, f.machine)
	fmt.Fprintf(&b, "Signpost %s, %s; %s.\n\n![Processor time for each message](performance.svg)\n\nThe picture omits dkimpy-milter, because its long bars would make the others too short, and Signpost without journal.\n", f.commit, f.compiler, strings.Join(f.versions, ", "))
	b.WriteString("\n## Targets\n\n| | target | measured | |\n|---|---|---|---|\n")
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
		b.WriteString("\"Ratio\" is Signpost's processor time divided by the row's: the median of the rounds, with the lowest and the highest round.\n\n| | server | messages/s | CPU ms | p50 ms | p99 ms | peak MiB | ratio |\n|---|---|--:|--:|--:|--:|--:|--:|\n")
		for _, m := range r.cells {
			if m.role != role {
				continue
			}
			name := strings.TrimPrefix(m.String(), role+" ")
			for _, row := range m.rows {
				ratio := r.compared(m.cell, row.name, cpuRatio).text(twoDecimals)
				if row.name == bareName {
					fmt.Fprintf(b, "| %s | %s | | %.3f | | | | %s |\n", name, row.name, milliseconds(row.cpu), ratio)
				} else {
					fmt.Fprintf(b, "| %s | %s | %.1f | %.3f | %.2f | %.2f | %.1f | %s |\n", name, row.name, row.perSecond(), milliseconds(row.cpu),
						milliseconds(row.p50), milliseconds(row.p99), float64(row.peak)/(1<<20), ratio)
				}
				name = ""
			}
		}
	}
}

func (r *report) otherTables(b *strings.Builder) {
	fmt.Fprintf(b, "\n## Through a real Postfix\n\nsmtp-source sends messages of 4 KiB in %d sessions. They are verified and discarded.\n\n| | messages/s | ratio to no milter | milter's CPU ms |\n|---|--:|--:|--:|\n", postfixSessions)
	for _, t := range r.postfix {
		fmt.Fprintf(b, "| %s | %.1f | %s | %.3f |\n", t.name, t.perSecond(), r.throughputRatio(t).text(twoDecimals), milliseconds(t.cpu))
	}
	fmt.Fprintf(b, "\n## %d idle connections\n\nThe table has the memory of each connection, in KiB.\n\n| | after the negotiation | after one message |\n|---|--:|--:|\n", idleConnections)
	for _, c := range r.idle {
		fmt.Fprintf(b, "| %s | %.1f | %.1f |\n", c.name, float64(c.fresh)/1024, float64(c.spent)/1024)
	}
}

// method is the part of the page that describes the measurement and its limits.
const method = `
## How it is measured

The program in bench/ sends messages to each server over a unix socket, as Postfix does. The program uses the client of go-milter. It
imitates Postfix 3.7, which was observed with strace(1):

- the same negotiation, except SMFIP_SKIP, which go-milter does not support;
- macros before every packet, packets of at most 65535 bytes, and writes of 4096 bytes;
- no wait for replies that the server negotiated not to send;
- ABORT between two messages of a connection.

The program runs in network and mount namespaces, with a name server at 127.0.0.1:53. Messages have about twenty header fields. The part of
a message beyond 8 KiB is base64. Messages to verify have one RSA-2048 signature, relaxed/relaxed. Messages to sign come from an
authenticated user. "8 sessions of 10" means eight concurrent sessions with ten messages on each connection.

The servers are measured alternately, in several rounds. Combinations that a target mentions have twice as many rounds. Each number is the
median of the rounds, but the peak is the highest of all rounds. Ratios and differences are calculated for each round, from two servers
that were measured in it. Their median is followed by the lowest and the highest: "0.21 (0.19 to 0.24)".

- Processor time is read from the CPU clocks of the servers and their children, to the nanosecond. It includes work after the last reply,
  such as writing the journal.
- "Bare cryptography" is SHA-256 over the message and one RSA signature, or its verification, by Go's library, on all cores at once.
- The peak is VmHWM, reset before each round. Memory that a child shares with its parent is counted once.
- The messages are sent from the same machine. This affects messages/s and latencies, but not processor time.
- If few messages were measured, the p99 is the time of the slowest message.

Each server must return the correct results before the measurement, and for every message during it:

- another library verifies the signature that the server made;
- dkim, spf and dmarc pass for a genuine message;
- a changed body fails;
- a message with a forged From of a domain with p=reject is rejected.

Signpost has its default settings, so its journal is enabled. "Signpost without journal" is the same program with
` + "`journal.enabled = false`" + `. It was measured in the combinations with targets for the journal, through Postfix, and with idle connections.

OpenDKIM and dkimpy-milter check only DKIM. So only their DKIM results are tested, and they do less work than the other servers.

- OpenDKIM and OpenDMARC have Debian's settings, but do not write to syslog, which saves them time. In OpenDKIM, Nameservers is 127.0.0.1.
  Debian's OpenDKIM uses libunbound, which has a cache. OpenDMARC has no cache. In production, OpenDMARC would use a caching resolver on the
  same host. So the measurements with a DNS delay of 20 ms put OpenDMARC at a disadvantage.
- rspamd runs its milter proxy in self-scan mode, with one process as in its worker-proxy.inc. It uses the modules spf, dkim, dmarc,
  dkim_signing and milter_headers. By default, every installation also uses rspamd's own rules, rules/rspamd.lua. On this page, only the
  rows "rspamd+rules" use these rules. These rows were measured only for combinations that a target mentions.
- dkimpy-milter is not measured through Postfix. It is not measured with 64 sessions of 10 MiB either, because this would take minutes.

The packages have benchmarks too. To compare two versions of the source with benchstat:

	go test -run '^$' -bench . -count 8 ./internal/... >old
	go test -run '^$' -bench . -count 8 ./internal/... >new
	go tool -C bench benchstat ../old ../new

To compare two builds of the program alternately: ` + "`make bench BENCH=\"-baseline OLD/signpost -servers signpost -size 4k\"`" + `.
`

// facts states the machine and the versions with which the numbers were measured.
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
	model, flags := processor(string(cpu))
	debian, err := os.ReadFile("/etc/debian_version")
	if err != nil {
		return f, err
	}
	f.machine = fmt.Sprintf("%d cores of %s, Linux %s, Debian %s. %s", runtime.NumCPU(), model, unix.ByteSliceToString(kernel.Release[:]),
		strings.TrimSpace(string(debian)), flags)
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
