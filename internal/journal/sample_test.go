package journal

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/spf"
	"signpost/policy"
)

// sample returns the record of the n-th message. One in ten messages fails DMARC and is rejected; the others pass.
func sample(n int) *decision.Record {
	domain := fmt.Sprintf("sender%d.example", n%100)
	client := netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)})
	record := fmt.Sprintf("v=spf1 ip4:203.0.0.0/16 include:_spf.%s include:mail.provider%d.example include:servers.mcsv.example -all", domain, n%20)
	key := fmt.Sprintf("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA%d", n%100) + keyTail
	e := policy.Evidence{
		QueueID:    fmt.Sprintf("4fXy%06Xz%03d", n*7919%(1<<24), n%997),
		Connection: policy.Connection{Client: client, Name: "mta" + fmt.Sprint(n%50) + "." + domain, PTR: "mta" + fmt.Sprint(n%50) + "." + domain, HELO: "mta" + fmt.Sprint(n%50) + "." + domain, SMTP: true, Daemon: "mx.example.net"},
		Envelope:   policy.Envelope{Sender: fmt.Sprintf("bounce+%d@%s", n, domain)},
		Author:     dmarc.Author{Domains: []string{domain}},
		MessageID:  fmt.Sprintf("<%08x.%d@%s>", n*2654435761%(1<<32), n, domain),
		Size:       int64(2000 + n%10000),
		SPF:        &spf.Result{Status: spf.Pass, Identity: spf.MailFrom, Domain: domain, Record: record},
		DKIM: []dkim.Result{{Status: dkim.Pass, Domain: domain, Selector: "s2048", Identity: "@" + domain, Algorithm: "rsa-sha256", KeyBits: 2048,
			Headers: []string{"from", "to", "subject", "date", "message-id", "mime-version", "content-type"}, Signature: fmt.Sprintf("%032x", n*48271) + keyTail[:312],
			KeyName: "s2048._domainkey." + domain, KeyRecord: key}},
		DMARC: []dmarc.Result{{Status: dmarc.Pass, Domain: domain, OrgDomain: domain, PolicyDomain: domain, Record: "v=DMARC1; p=reject; rua=mailto:dmarc@" + domain,
			Tag: "p", Published: "reject", Policy: "reject", Aligned: &dmarc.AlignedIdentifier{Method: dmarc.DKIM, Domain: domain}}},
	}
	r := &decision.Record{Version: decision.Version, Code: policy.DMARCPass, Assignment: policy.Assignment{Role: policy.RoleVerify}, Evidence: e,
		Verdict: policy.Verdict{Action: policy.Accept, Reasons: []policy.Reason{{Code: policy.DMARCPass, Domain: domain}}}, HandlerMS: 2, DNSQueries: 3, DNSMS: 12,
		Lookups: []dns.Lookup{
			{Name: domain + ".", Type: "TXT", Status: dns.NoError, Records: []string{record}, TTL: 3600, Took: dns.Millis(12 * time.Millisecond)},
			{Name: "s2048._domainkey." + domain + ".", Type: "TXT", Status: dns.NoError, Records: []string{key}, TTL: 3600, Took: dns.Millis(11 * time.Millisecond)},
			{Name: "_dmarc." + domain + ".", Type: "TXT", Status: dns.NoError, Records: []string{"v=DMARC1; p=reject; rua=mailto:dmarc@" + domain}, TTL: 3600, Cached: true},
		}}
	if n%10 == 9 {
		r.Evidence.SPF = &spf.Result{Status: spf.Fail, Identity: spf.MailFrom, Domain: domain, Record: record, Cause: spf.TermMatched, Term: "-all", RecordDomain: domain}
		r.Evidence.DKIM = nil
		r.Evidence.DMARC[0].Status, r.Evidence.DMARC[0].Aligned, r.Evidence.DMARC[0].Cause = dmarc.Fail, nil, dmarc.NoAlignedIdentifierPassed
		r.Code = policy.DMARCFail
		r.Verdict = policy.Verdict{Action: policy.Reject, Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "DMARC failed for " + domain},
			Reasons:  []policy.Reason{{Code: policy.DMARCFail, Domain: domain, Detail: "p=reject"}},
			Evidence: []policy.Reason{{Code: policy.NoAuthorSignature, Domain: domain}, {Code: policy.NoRelay}}}
	}
	return r
}

// bulky returns a message that takes about 8 KiB, because of a DNS answer that no other message has.
func bulky(n int) *decision.Record {
	r := sample(n)
	text := make([]byte, dns.MaxShortened*3/4-10) // in base64, as large as the journal stores
	rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, n))).Read(text)
	r.Lookups = append(r.Lookups, dns.Lookup{Name: "x.example.", Type: "TXT", Status: dns.NoError, Records: []string{base64.StdEncoding.EncodeToString(text)}})
	return r
}

const keyTail = "q2vUt0hQ0XJ1kq4H8sYz3w5m7n9b1c3d5f7h9j1l3n5p7r9t1v3x5z7B9D1F3H5J7L9N1P3R5T7V9X1Z3" +
	"ab2cd4ef6gh8ij0kl2mn4op6qr8st0uv2wx4yz6AB8CD0EF2GH4IJ6KL8MN0OP2QR4ST6UV8WX0YZ2ab4" +
	"cd6ef8gh0ij2kl4mn6op8qr0st2uv4wx6yz8AB0CD2EF4GH6IJ8KL0MN2OP4QR6ST8UV0WX2YZ4ab6cd8" +
	"ef0gh2ij4kl6mn8op0qr2st4uv6wx8yz0AB2CD4EF6GH8IJ0KL2MN4OP6QR8ST0UV2WX4YZ6ab8cd0IDAQAB"
