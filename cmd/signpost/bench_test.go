package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/setup"
	"signpost/internal/testdns"
	"signpost/keys"
	"signpost/milter"
)

// slowDNS is the delay of each DNS answer, as from a distant resolver with an empty cache.
const slowDNS = 20 * time.Millisecond

// costliest returns a message that reaches every limit, and the zone for its lookups. It has a body of 10 MB and 1000 header fields, which
// are almost 1 MiB in total. Each of 8 signatures covers 200 names and has an l=; both canonicalizations are used. Each selector has four
// RSA keys of 8192 bits, none of which verifies the signature. Header From has four domains of eight labels, and SPF needs ten lookups.
func costliest(b *testing.B) (fields []dkim.Field, body []byte, zone string) {
	b.Helper()
	var z strings.Builder
	body = bytes.Repeat([]byte(strings.Repeat("eight or ", 7)+"nine\r\n"), 10_000_000/69)
	const signatures, names, large = 8, 200, 199
	var from []string
	for i := range 4 {
		domain := fmt.Sprintf("a.b.c.d.e.f%d.author%d.example", i, i)
		from = append(from, "x@"+domain)
	}
	for i := range signatures {
		domain := fmt.Sprintf("a.b.c.d.e.f.signer%d.example", i)
		canon := []string{"relaxed/relaxed", "relaxed/simple"}[i%2]
		l := len(body) - 1000*i
		sum := sha256.Sum256(body[:l])
		value := make([]byte, dkim.MaxRSABits/8)
		if _, err := rand.Read(value[1:]); err != nil {
			b.Fatal(err)
		}
		fields = append(fields, dkim.Field{Name: dkim.SignatureField, Value: fmt.Sprintf(
			" v=1; a=rsa-sha256; c=%s; d=%s; s=s; h=from%s; l=%d; bh=%s; b=%s", canon, domain, strings.Repeat(":x", names-1), l,
			base64.StdEncoding.EncodeToString(sum[:]), base64.StdEncoding.EncodeToString(value))})
		for range 4 {
			n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), dkim.MaxRSABits-1))
			if err != nil {
				b.Fatal(err)
			}
			n.SetBit(n.SetBit(n, 0, 1), dkim.MaxRSABits-1, 1)
			p := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: n, E: 1<<31 - 1}))
			fmt.Fprintf(&z, "s._domainkey.%s. 0 TXT \"p=\"", domain)
			for ; p != ""; p = p[min(250, len(p)):] {
				fmt.Fprintf(&z, " \"%s\"", p[:min(250, len(p))])
			}
			z.WriteString("\n")
		}
	}
	fields = append(fields, dkim.Field{Name: "From", Value: " " + strings.Join(from, ", ")})
	fields = append(fields, dkim.Field{Name: "Subject", Value: " [list] is the header the author's without these brackets?"})
	for len(fields) < 1000-large {
		fields = append(fields, dkim.Field{Name: "Y", Value: " y"})
	}
	for range large {
		fields = append(fields, dkim.Field{Name: "X", Value: " " + strings.Repeat("x ", 2500)})
	}
	z.WriteString("stranger.example. 0 TXT \"v=spf1")
	for i := range 10 {
		fmt.Fprintf(&z, " a:h%d.stranger.example", i)
	}
	z.WriteString(" -all\"\n")
	for i := range 10 {
		fmt.Fprintf(&z, "h%d.stranger.example. 0 A 192.0.2.1\n", i)
	}
	return fields, body, z.String()
}

// BenchmarkCostliestMessage measures the cost of the costliest message, and compares it with the limits of design.md section 6. For 11
// MB, a few seconds of processor time are allowed. The limit on the elapsed time is the message timeout.
func BenchmarkCostliestMessage(b *testing.B) {
	fields, body, zone := costliest(b)
	server, err := testdns.Start(zone)
	if err != nil {
		b.Fatal(err)
	}
	defer server.Stop()
	server.SetDelay(slowDNS)
	conf, err := config.Parse("config", nil)
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	var got *decision.Record
	f := setup.Filter(conf, log)
	f.Keys = func() *keys.Snapshot { return &keys.Snapshot{Set: &keys.Set{}} }
	f.Finished = func(r *decision.Record) { got = r }
	s := milter.Session{Client: netip.MustParseAddr("203.0.113.9"), HELO: "mail.stranger.example", MTA: "mx.example.org", SMTP: true}
	queries, before := len(server.Queries()), processorTime(b)
	for b.Loop() {
		f.Resolver = dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(server.Addr())}, Timeout: caseTimeout, Now: time.Now, Log: log})
		if _, _, err := play(context.Background(), f, s, milter.Envelope{Sender: "x@stranger.example"}, fields, bytes.NewReader(body)); err != nil {
			b.Fatal(err)
		}
	}
	per := func(x float64) float64 { return x / float64(b.N) }
	cpu := per((processorTime(b) - before).Seconds() * 1000)
	b.ReportMetric(cpu, "cpu-ms/op")
	b.ReportMetric(per(b.Elapsed().Seconds()*1000), "wall-ms/op")
	b.ReportMetric(per(float64(len(server.Queries())-queries)), "queries/op")
	tried := 0
	for _, r := range got.Evidence.DKIM {
		if r.KeyBits == dkim.MaxRSABits {
			tried++
		}
	}
	if tried != dkim.MaxSignatures {
		b.Errorf("%d signatures were tried with their keys, want %d: %+v", tried, dkim.MaxSignatures, got.Evidence.DKIM)
	}
	// The result was 0.3 s when this was written. The limit allows for busy and old machines.
	if cpu > 5_000 {
		b.Errorf("%.0f ms of processor time for one message", cpu)
	}
	if wall := time.Duration(per(float64(b.Elapsed()))); wall > conf.DNS.MessageTimeout+10*time.Second {
		b.Errorf("%v for one message", wall)
	}
}

// processorTime returns the processor time of the process, including the test's name server.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
