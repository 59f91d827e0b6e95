package filter

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/testdns"
	"signpost/keys"
	"signpost/milter"
	"signpost/policy"
)

// bodySize and fieldCount are the body size and the number of fields of an ordinary message.
const (
	bodySize   = 4 << 10
	fieldCount = 20
)

// ordinary is a typical message: twenty fields and 4 KiB of text.
type ordinary struct {
	session  milter.Session
	envelope milter.Envelope
	fields   []dkim.Field // with LF in folds, as Postfix passes them
	body     []byte
}

func ordinaryMessage(author string) ordinary {
	o := ordinary{
		session: milter.Session{Client: netip.MustParseAddr("192.0.2.25"), Name: "mail.example.com", PTR: "mail.example.com",
			HELO: "mail.example.com", Daemon: "smtpd", MTA: "mx.example.org", SMTP: true},
		envelope: milter.Envelope{Sender: "ann@example.com"},
		body:     bytes.Repeat([]byte(strings.Repeat("eight or ", 7)+"nine\r\n"), bodySize/69),
	}
	add := func(name, value string) { o.fields = append(o.fields, dkim.Field{Name: name, Value: value}) }
	add("Received", " from mail.example.com (mail.example.com [192.0.2.25])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\n"+
		"\tby mx.example.org (Postfix) with ESMTPS id 4ZzXyW1234z9s\n\tfor <bob@example.org>; Wed, 25 Nov 2026 12:00:00 +0000 (UTC)")
	add("Received", " from [10.0.0.7] (unknown [10.0.0.7])\n\tby mail.example.com (Postfix) with ESMTPSA id 4ZzXyV1234z9s;\n\tWed, 25 Nov 2026 11:59:58 +0000 (UTC)")
	add("Date", " Wed, 25 Nov 2026 12:59:57 +0100")
	add("From", " Ann Example <"+author+">")
	add("To", " Bob Example <bob@example.org>")
	add("Cc", " carol@example.org, dave@example.net")
	add("Subject", " The minutes of yesterday's meeting,\n and what is left to do")
	add("Message-ID", " <20261125115957.GA1234@example.com>")
	add("In-Reply-To", " <20261124090000.GA4321@example.org>")
	add("References", " <20261123080000.GA1111@example.org>\n <20261124090000.GA4321@example.org>")
	add("Reply-To", " ann@example.com")
	add("MIME-Version", " 1.0")
	add("Content-Type", " text/plain; charset=utf-8")
	add("Content-Transfer-Encoding", " 8bit")
	add("Content-Language", " en")
	add("User-Agent", " Mutt/2.2.12 (2023-09-09)")
	for i := 1; len(o.fields) < fieldCount; i++ {
		add(fmt.Sprintf("X-Mailer-Note-%d", i), " nothing that anybody reads")
	}
	return o
}

// signed returns the message with a relaxed/relaxed signature of domain on top.
func (o ordinary) signed(tb testing.TB, domain string, key crypto.Signer) ordinary {
	tb.Helper()
	var fields []dkim.Field
	for _, f := range o.fields {
		fields = append(fields, dkim.Field{Name: f.Name, Value: dkim.CRLF(f.Value)})
	}
	signer, err := dkim.NewSigner(fields, []dkim.Key{{Domain: domain, Selector: "key", Signer: key}}, time.Now(), time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	signer.Write(o.body)
	signatures, err := signer.Sign()
	if err != nil {
		tb.Fatal(err)
	}
	top := dkim.Field{Name: signatures[0].Name, Value: strings.ReplaceAll(signatures[0].Value, "\r\n", "\n")}
	o.fields = append([]dkim.Field{top}, o.fields...)
	return o
}

// play passes the message to the filter as Postfix does.
func (o ordinary) play(ctx context.Context, f *Filter) (milter.Edits, milter.Reply) {
	m := f.Begin(ctx, o.session, o.envelope)
	for _, field := range o.fields {
		m.Header(field.Name, field.Value)
	}
	m.EndHeaders("4ZzXyW1234z9s")
	m.Body(o.body)
	return m.Finish(ctx)
}

func rsaKey(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// zoneFor returns the DNS records of example.com: SPF by address, the key, and p=reject.
func zoneFor(tb testing.TB, key crypto.Signer) string {
	tb.Helper()
	record, err := dkim.FormatKeyRecord(key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("example.com. TXT \"v=spf1 ip4:192.0.2.0/24 -all\"\nkey._domainkey.example.com. TXT %q %q\n_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\n",
		record[:50], record[50:])
}

// served returns a filter that queries a name server. It logs as the daemon does, but discards the lines.
func served(tb testing.TB, zone string) (*Filter, *testdns.Server) {
	tb.Helper()
	server, err := testdns.Start(zone)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(server.Stop)
	log := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return &Filter{
		Keys: func() *keys.Snapshot { return &keys.Snapshot{Set: &keys.Set{}} },
		Resolver: dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: 10 * time.Second,
			Now: time.Now, Log: log}),
		MessageTimeout: 20 * time.Second, Expire: 7 * 24 * time.Hour, Now: time.Now, Log: log,
		Rules: policy.Rules{Reject: policy.RejectOnEvidence, Quarantine: policy.QuarantineTag,
			TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
	}, server
}

// hosting makes the filter sign for example.com.
func hosting(tb testing.TB, f *Filter, key *rsa.PrivateKey) {
	tb.Helper()
	dir := tb.TempDir()
	keyDir := filepath.Join(dir, "example.com")
	if err := os.Mkdir(keyDir, 0o700); err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	metadata, err := json.Marshal(keys.Metadata{Domain: "example.com", Selector: "key", Algorithm: "rsa", Bits: 2048, Created: now, Activated: &now})
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	for name, data := range map[string][]byte{"key.json": metadata, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(filepath.Join(keyDir, name), data, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	set, err := keys.Store{State: dir, Dir: dir, Now: time.Now}.Load(nil)
	if err != nil {
		tb.Fatal(err)
	}
	snapshot := &keys.Snapshot{Set: set, Hosted: map[string]bool{"example.com": true}}
	f.Keys = func() *keys.Snapshot { return snapshot }
}

// benchWay measures messages that are handled one at a time, and 64 concurrent messages.
func benchWay(b *testing.B, f *Filter, o ordinary, want string) {
	check := func(b *testing.B) {
		if edits, reply := o.play(b.Context(), f); reply.Code != 0 || len(edits.Insert) != 1 || !strings.Contains(edits.Insert[0].Name+edits.Insert[0].Value, want) {
			b.Fatalf("%+v %+v", edits, reply)
		}
	}
	b.Run("alone", func(b *testing.B) {
		check(b)
		b.ReportAllocs()
		for b.Loop() {
			o.play(b.Context(), f)
		}
	})
	b.Run("64", func(b *testing.B) {
		check(b)
		b.ReportAllocs()
		b.SetParallelism(32) // of two cores
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				o.play(b.Context(), f)
			}
		})
	})
}

// BenchmarkVerify measures an inbound message that passes all checks, with all answers in the cache.
func BenchmarkVerify(b *testing.B) {
	key := rsaKey(b)
	f, _ := served(b, zoneFor(b, key))
	benchWay(b, f, ordinaryMessage("ann@example.com").signed(b, "example.com", key), "dmarc=pass")
}

// BenchmarkVerifyUnsigned measures the same message without its signature. The result is the cost without RSA.
func BenchmarkVerifyUnsigned(b *testing.B) {
	f, _ := served(b, zoneFor(b, rsaKey(b)))
	benchWay(b, f, ordinaryMessage("ann@example.com"), "dmarc=pass")
}

// BenchmarkSign measures an outbound message.
func BenchmarkSign(b *testing.B) {
	key := rsaKey(b)
	f, _ := served(b, "")
	hosting(b, f, key)
	o := ordinaryMessage("ann@example.com")
	o.session.Client = netip.MustParseAddr("198.51.100.7")
	benchWay(b, f, o, dkim.SignatureField)
}

// slowDNS is the time that each answer takes, as from a distant resolver.
const slowDNS = 20 * time.Millisecond

// BenchmarkRounds measures the time from the first recipient to the verdict with an empty cache, in multiples of slowDNS.
func BenchmarkRounds(b *testing.B) {
	key := rsaKey(b)
	zone := zoneFor(b, key) + "spf.example. TXT \"v=spf1 include:a.example include:b.example include:c.example -all\"\n" +
		"a.example. TXT \"v=spf1 ip4:203.0.113.1 -all\"\nb.example. TXT \"v=spf1 ip4:203.0.113.2 -all\"\nc.example. TXT \"v=spf1 ip4:192.0.2.25 -all\"\n"
	for _, c := range []struct{ name, author, sender string }{
		{"all names are the same", "ann@example.com", "ann@example.com"},
		{"the author below the signer", "ann@news.example.com", "ann@example.com"},
		{"SPF includes three", "ann@example.com", "ann@spf.example"},
		{"warm", "ann@example.com", "ann@example.com"},
	} {
		b.Run(c.name, func(b *testing.B) {
			f, server := served(b, zone)
			server.SetDelay(slowDNS)
			o := ordinaryMessage(c.author).signed(b, "example.com", key)
			o.envelope.Sender = c.sender
			o.play(b.Context(), f)
			for b.Loop() {
				if c.name != "warm" {
					f.Resolver = dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: 10 * time.Second, Now: time.Now, Log: f.Log})
				}
				o.play(b.Context(), f)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(slowDNS), "rounds/op")
		})
	}
}

// BenchmarkFinished compares messages without a record, with a record, and with a record whose lookups are converted at once.
func BenchmarkFinished(b *testing.B) {
	f, _ := served(b, zoneFor(b, rsaKey(b)))
	o := ordinaryMessage("ann@example.com")
	o.play(b.Context(), f)
	for _, c := range []struct {
		name     string
		finished func(*decision.Record)
	}{{"none", nil}, {"record", func(*decision.Record) {}}, {"lookups", func(r *decision.Record) { r.Answered.Lookups() }}} {
		b.Run(c.name, func(b *testing.B) {
			f.Finished = c.finished
			b.ReportAllocs()
			for b.Loop() {
				o.play(b.Context(), f)
			}
		})
	}
}
