package e2e

import (
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/testmilter"
)

// reporter is another site that sends reports to example.net.
type reporter struct {
	domain string
	key    crypto.Signer
	zone   string
}

func newReporter(t *testing.T, domain, service string) reporter {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	record, err := dkim.FormatKeyRecord(public)
	if err != nil {
		t.Fatal(err)
	}
	return reporter{domain, key, fmt.Sprintf("k._domainkey.%s. IN TXT %q\n_dmarc.%s. IN TXT \"v=DMARC1; p=none\"\n", domain, record+service, domain)}
}

// report returns a signed message with this media type.
func (r reporter) report(t *testing.T, media, name string) []byte {
	t.Helper()
	body := "--b\r\nContent-Type: text/plain\r\n\r\nA report\r\n--b\r\nContent-Type: " + media + "; name=\"" + name + "\"\r\nContent-Transfer-Encoding: base64\r\n\r\nH4sIAAAAAAAAAw==\r\n--b--\r\n"
	fields := []dkim.Field{{Name: "From", Value: " reports@" + r.domain}, {Name: "To", Value: " dmarc@example.net"},
		{Name: "Date", Value: " Tue, 01 Dec 2026 00:10:00 +0000"}, {Name: "Message-ID", Value: " <1@" + r.domain + ">"},
		{Name: "Subject", Value: " Report domain: example.net Submitter: " + r.domain + " Report-ID: 1"},
		{Name: "MIME-Version", Value: " 1.0"}, {Name: "Content-Type", Value: " multipart/mixed; boundary=b"}}
	s, err := dkim.NewSigner(fields, []dkim.Key{{Domain: r.domain, Selector: "k", Signer: r.key}}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte(body))
	signatures, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range append(signatures, fields...) {
		text.WriteString(f.Name + ":" + f.Value + "\r\n")
	}
	return []byte(text.String() + "\r\n" + body)
}

// copies returns the names of the copies of reports.
func (w *world) copies() []string {
	w.t.Helper()
	all, err := filepath.Glob(filepath.Join(w.dir, "state", "reports", "in", "*.eml"))
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// A report of another site is kept and delivered. With discard, it is kept and not delivered. A forged report and ordinary mail are delivered
// and not kept. Postfix accepts each of them.
func TestReceivedReports(t *testing.T) {
	const name = "receiver.example!example.net!1764547200!1764633599.xml.gz"
	honest, tls := newReporter(t, "receiver.example", ""), newReporter(t, "tls.example", "; s=tlsrpt")
	w := newWorld(t, setup{zone: honest.zone + tls.zone, config: "[reports.receive]\naddresses = [\"dmarc@example.net\"]"})
	forged := newReporter(t, "receiver.example", "") // signs with another key
	send := func(to string, message []byte) {
		t.Helper()
		s := w.dial(w.SMTP, "ADDR=203.0.113.9 NAME=mail.receiver.example")
		w.cmd(s, 250, "MAIL FROM:<bounce@elsewhere.example>")
		for r := range strings.FieldsSeq(to) {
			w.cmd(s, 250, "RCPT TO:<"+r+">")
		}
		if _, err := s.Data(250, message); err != nil {
			t.Fatal(err)
		}
	}
	delivered, kept := 0, 0
	check := func(what string, copies, deliveries int) {
		t.Helper()
		delivered, kept = delivered+deliveries, kept+copies
		w.mail(delivered)
		if got := w.copies(); len(got) != kept {
			t.Errorf("%s: %d copies, want %d", what, len(got), kept)
		}
	}
	send("DMARC@example.net", honest.report(t, "application/gzip", name))
	check("a report", 1, 1)
	if data, err := os.ReadFile(w.copies()[0]); err != nil || !strings.Contains(string(data), `"reporter":"receiver.example"`) || !strings.Contains(string(data), "H4sIAAAAAAAAAw==\r\n") {
		t.Errorf("%s %v", data, err)
	}
	w.logged("report=kept", "action=accept")
	send("dmarc@example.net", forged.report(t, "application/gzip", name))
	check("a forged report", 0, 1)
	w.logged("report=unauthenticated")
	send("dmarc@example.net", tls.report(t, "application/tlsrpt+gzip", "x.json.gz"))
	check("a TLS report", 1, 1)
	send("dmarc@example.net", tls.report(t, "application/gzip", name))
	check("an aggregate report with a key for TLS reports", 0, 1)
	send("ann@example.net", honest.report(t, "application/gzip", name))
	check("a report to another address", 0, 1)

	data, err := os.ReadFile(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.config, []byte(strings.Replace(string(data), "[reports.receive]", "[reports.receive]\ndiscard = true", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.start("signpost")
	send("dmarc@example.net", honest.report(t, "application/gzip", name))
	w.logged("action=discard", "code=report_received")
	check("discarded", 1, 0)
	send("dmarc@example.net bob@example.net", honest.report(t, "application/gzip", name))
	check("to another recipient too", 1, 2)
	send("dmarc@example.net", []byte("From: ann@receiver.example\r\nSubject: Report domain: example.net\r\n\r\nHello\r\n"))
	check("ordinary mail", 0, 1)
	send("dmarc@example.net", honest.report(t, "application/zip", "photos.zip"))
	check("in doubt", 1, 1)
	send("dmarc@example.net", forged.report(t, "application/gzip", name))
	check("forged, with discard", 0, 1)
	if all, err := w.Mailbox(); err != nil || len(all) != delivered {
		t.Errorf("%d messages delivered, want %d, %v", len(all), delivered, err)
	}
	if left, err := filepath.Glob(filepath.Join(w.dir, "state", "reports", "in", "*~*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files: %q", left)
	}
}

// While 1900 clients send 10 MiB to a report address at the same time, mail continues to flow, the memory does not grow with the
// messages, the spool stays within its limit, and the log has one line about it.
func TestFloodOfReports(t *testing.T) {
	const clients, size = 1900, 64 << 10
	const pieces = 10<<20/size - 1 // nearly the limit of a message
	w := newWorld(t, setup{program: "plain/signpost", alone: true, zone: "_dmarc.flood.example. IN TXT \"v=DMARC1; p=none\"\nflood.example. IN TXT \"v=spf1 +all\"\n",
		config: "[reports.receive]\naddresses = [\"dmarc@example.net\"]\n[journal]\nenabled = false"})
	before := w.peak()
	var begun, done sync.WaitGroup
	release := make(chan struct{})
	begun.Add(clients)
	failed := make(chan error, clients)
	piece := testmilter.Packet('B', strings.Repeat("0123456789abcde\n", size/16))
	for range clients {
		done.Go(func() {
			err := func() error {
				c, err := net.Dial("unix", filepath.Join(w.dir, "milter.sock"))
				if err != nil {
					begun.Done()
					return err
				}
				defer c.Close()
				_, err = c.Write(floodBegin())
				begun.Done()
				if err != nil {
					return err
				}
				<-release
				for range pieces {
					if _, err := c.Write(piece); err != nil {
						return err
					}
				}
				if _, err := c.Write(testmilter.Packet('E', "")); err != nil {
					return err
				}
				// The answers are those to the negotiation and to the end of the message, which ends in "c" (continue).
				var answer []byte
				for buf := make([]byte, 4096); !strings.HasSuffix(string(answer), "\x00\x00\x00\x01c"); {
					k, err := c.Read(buf)
					if err != nil {
						return fmt.Errorf("%q: %w", answer, err)
					}
					answer = append(answer, buf[:k]...)
				}
				return nil
			}()
			if err != nil {
				failed <- err
			}
		})
	}
	begun.Wait()
	s := w.dial(w.SMTP, "ADDR=203.0.113.9 NAME=mail.stranger.example")
	w.send(s, 250, "ann@flood.example")
	close(release)
	begin := time.Now()
	w.send(s, 250, "ann@flood.example")
	if took := time.Since(begin); took > 45*time.Second {
		t.Errorf("a message took %v during the flood", took)
	}
	done.Wait()
	close(failed)
	for err := range failed {
		t.Fatal(err)
	}
	after := w.peak()
	t.Logf("peak before %d KiB, after %d KiB; %d copies in %v", before, after, len(w.copies()), time.Since(begin))
	// A connection needs up to 100 KiB for its buffers. The messages have 10 MiB.
	if after-before > clients*150 {
		t.Errorf("the flood added %d KiB to the peak of %d KiB", after-before, before)
	}
	var total int64
	for _, name := range w.copies() {
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		total += fi.Size()
	}
	if total > 512<<20 || len(w.copies()) == 0 {
		t.Errorf("%d copies, %d bytes", len(w.copies()), total)
	}
	if n := w.lines("no copy of a message to a report address is kept"); n < 1 || n > 2 {
		t.Errorf("%d lines about the limit", n)
	}
	if left, err := filepath.Glob(filepath.Join(w.dir, "state", "reports", "in", "*~*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files: %q", left)
	}
}

// floodBegin returns the packets of a message to a report address up to its body.
func floodBegin() []byte {
	const client = "203.0.113.9"
	var all []byte
	for _, p := range []struct {
		code byte
		data string
	}{
		{'O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff"},
		{'D', "C{client_addr}\x00" + client + "\x00{client_name}\x00c.example\x00{client_ptr}\x00c.example\x00{client_connections}\x001\x00{daemon_name}\x00mx.example\x00v\x00Postfix 3.7.11\x00j\x00mx.example\x00"},
		{'C', "c.example\x004\x00\x19" + client + "\x00"}, {'H', "c.example\x00"},
		{'M', "<x@flood.example>\x00"}, {'R', "<dmarc@example.net>\x00"},
		{'L', "From\x00 x@flood.example\x00"}, {'L', "Subject\x00 Report domain: example.net\x00"},
		{'L', "Content-Type\x00 application/gzip; name=\"flood.example!example.net!1!2.xml.gz\"\x00"},
		{'D', "Ni\x00QUEUEID\x00"}, {'N', ""}, {'B', "x\r\n"},
	} {
		all = append(all, testmilter.Packet(p.code, p.data)...)
	}
	return all
}

// signpost reports discover finds the addresses in DNS for which Postfix accepts mail, and doctor's checks agree with Postfix.
func TestDiscoverReports(t *testing.T) {
	w := newWorld(t, setup{zone: ". IN NS a.root.test.\n_dmarc.example.org. IN TXT \"v=DMARC1; p=none; rua=mailto:dmarc@example.net,mailto:new@example.net,mailto:x@elsewhere.example\"\nexample.org._report._dmarc.example.net. IN TXT \"v=DMARC1\"\n",
		config: "[reports.receive]\naddresses = [\"dmarc@example.net\", \"unknown@nowhere.example\"]"})
	etc := filepath.Join(w.Dir, "etc")
	if out, code := w.reports("discover", "--postfix", etc); code != 0 || !strings.Contains(out, "addresses = [\"dmarc@example.net\", \"unknown@nowhere.example\", \"new@example.net\"]") {
		t.Errorf("%d %s", code, out)
	}
	out, _ := exec.CommandContext(w.context(), filepath.Join(programs, "plain", "signpost"), "-c", w.config, "doctor", "--postfix", etc, "--json").Output()
	var findings []struct{ Check, Level, What string }
	if err := json.Unmarshal(out, &findings); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got []string
	for _, f := range findings {
		if strings.HasPrefix(f.Check, "receive-") {
			got = append(got, f.Level+" "+f.Check+": "+f.What)
		}
	}
	slices.Sort(got)
	want := []string{"green receive-size: Postfix accepts reports of 10 MB", "red receive-recipient: Postfix does not accept mail to nowhere.example",
		"yellow receive-rua: reports to new@example.net are not read"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
