package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/filter"
	"signpost/internal/forwarders"
	"signpost/internal/journal"
	"signpost/internal/setup"
	"signpost/internal/spf"
	"signpost/policy"
)

// mail is a message in the journal of these tests.
type mail struct {
	day            int // from 0 to 59
	client, name   string
	author         string
	pass           bool   // DMARC passes with the author's DKIM key
	signature      string // failing signature of the author's organization; "": none
	holds          bool   // the header of the signature still matches
	untagged       bool   // the header matches without the prefix that a list added to Subject
	signer, sealer string // domains of the relay
	saw            bool   // the sealer states that DMARC passed
	envelope       string // domain of the envelope sender
	spf            spf.Status
	relayed        []string
}

func (m mail) report() *decision.Record {
	e := policy.Evidence{
		Connection: policy.Connection{Client: netip.MustParseAddr(m.client), Name: m.name, SMTP: true},
		Envelope:   policy.Envelope{Sender: "x@" + m.envelope},
		Author:     dmarc.Author{Domains: []string{m.author}},
		Relayed:    m.relayed,
		SPF:        &spf.Result{Status: m.spf, Identity: spf.MailFrom, Domain: m.envelope},
		DMARC:      []dmarc.Result{{Status: dmarc.Fail, Domain: m.author, OrgDomain: m.author, PolicyDomain: m.author, Tag: "p", Published: "reject", Policy: "reject"}},
	}
	action := policy.Tag
	if m.signature != "" {
		e.DKIM = append(e.DKIM, dkim.Result{Status: dkim.Fail, Domain: m.author, Selector: "s", Signature: m.signature, HeaderHolds: m.holds, HoldsUntagged: m.untagged})
	}
	if m.pass {
		e.DMARC[0].Status, e.DMARC[0].Aligned, action = dmarc.Pass, &dmarc.AlignedIdentifier{Method: dmarc.DKIM, Domain: m.author}, policy.Accept
		e.DKIM[0].Status, e.DKIM[0].HeaderHolds = dkim.Pass, false
	}
	if m.signer != "" {
		e.DKIM = append(e.DKIM, dkim.Result{Status: dkim.Pass, Domain: m.signer, Selector: "s", Signature: "relay" + m.signature})
	}
	if m.sealer != "" {
		e.ARC = &dkim.Chain{Status: dkim.Pass, Sets: []dkim.Sealer{{Instance: 1, Domain: m.sealer, CV: "none", CoversFrom: true}}}
		if m.saw {
			e.SealedDMARC = []policy.SealedDMARC{{Instance: 1, Domain: m.author, Result: "pass"}}
		}
	}
	return &decision.Record{Assignment: policy.Assignment{Role: policy.RoleVerify}, Evidence: e, Verdict: policy.Verdict{Action: action}}
}

// twoMonths returns the mail of two months: a mailing list, a forwarder, the aliases of a university, and mail that must not be
// proposed. Each message of a source has a different signature, unless the source's function sets the signature.
func twoMonths() []mail {
	author := func(n, of int) string { return fmt.Sprintf("author%d.example", n%of) }
	list, footer := []string{"List-Id", "List-Post"}, "sig%dsig%dsig%d"
	kinds := []func(n int) mail{
		// A mailing list adds a footer to each message, and its name to the Subject of every third message.
		func(n int) mail {
			return mail{day: n * 2, client: "192.0.2.25", name: "lists.example.org", author: author(n, 7), holds: n%3 > 0, signer: "lists.example.org", envelope: "lists.example.org", spf: spf.Pass, relayed: list}
		},
		// A provider forwards mail. Signed mail arrives unchanged and passes; the other mail fails.
		func(n int) mail {
			m := mail{day: n * 2, client: fmt.Sprintf("192.0.2.%d", 130+n%2), name: fmt.Sprintf("out%d.isp.example", n%2), author: author(n, 9), spf: spf.Fail, pass: n%5 < 3}
			m.envelope = m.author
			return m
		},
		// The aliases of a university seal the mail, and add a warning at the top of the text.
		func(n int) mail {
			return mail{day: n * 2, client: fmt.Sprintf("2001:db8:7::%x", n), name: "relay.uni.example", author: author(n, 5), holds: n%4 > 0, sealer: "uni.example", saw: true, envelope: "uni.example", spf: spf.Pass, relayed: []string{"ARC-Seal"}}
		},
		// The newsletter software breaks the author's signature. The host that sends the newsletter adds its own signature.
		func(n int) mail {
			return mail{day: n * 2, client: "198.51.100.1", name: "out.esp.example", author: "shop.example", holds: true, signer: "esp.example", envelope: "esp.example", spf: spf.Pass, relayed: []string{"List-Id"}}
		},
		// A newsletter host has many customers. Some of them have not given the host a DKIM key.
		func(n int) mail {
			return mail{day: n * 2, client: "198.51.101.1", name: "out.esp2.example", author: author(n, 12), pass: n%2 > 0, signer: "esp2.example", envelope: "esp2.example", spf: spf.Pass, relayed: []string{"List-Id"}}
		},
	}
	spoofer := func(n int, number int) mail {
		domain := fmt.Sprintf("spoofer%d.example", number)
		return mail{day: n * 2, client: fmt.Sprintf("198.51.%d.7", 110+number), name: "mx." + domain, author: author(n, 8), signer: domain, envelope: domain, spf: spf.Pass, relayed: list}
	}
	spoofers := []func(m *mail, n int){
		func(m *mail, n int) { m.author, m.signature = "bank.example", "" },      // forges one domain
		func(m *mail, n int) { m.signature = "" },                                // forges several domains, without signatures
		func(m *mail, n int) {},                                                  // invents the signatures
		func(m *mail, n int) { m.sealer, m.saw, m.signer = m.signer, true, "" },  // seals the mail and states that DMARC passed
		func(m *mail, n int) { m.signature, m.holds = "sameforallofthem", true }, // repeats one genuine message
		func(m *mail, n int) { m.day, m.holds = 30, true },                       // sends genuine messages, all on one day
		func(m *mail, n int) { m.author, m.holds = "bank.example", true },        // sends genuine messages of one domain
		func(m *mail, n int) { m.holds = n%3 == 0 },                              // adds a few genuine messages as a cover
		func(m *mail, n int) {
			m.envelope, m.spf, m.signer = m.author, spf.Fail, ""
			m.name = "unknown"
			m.pass = n%2 > 0
		}, // sends some unchanged messages from a host without a name
		func(m *mail, n int) { m.signer, m.holds = "", n%4 == 0; m.relayed = nil }, // has a network whose hosts have names
	}
	for i, change := range spoofers {
		kinds = append(kinds, func(n int) mail {
			m := spoofer(n, i)
			m.signature = fmt.Sprintf(footer, i, n, n)
			change(&m, n)
			return m
		})
	}
	var all []mail
	for i, kind := range kinds {
		for n := range 30 {
			m := kind(n)
			if i < 5 && !(i == 1 && !m.pass) && !(i == 4 && !m.pass) {
				m.signature = fmt.Sprintf("%d-%d", i, n)
			}
			all = append(all, m)
		}
	}
	slices.SortStableFunc(all, func(a, b mail) int { return a.day - b.day })
	return all
}

// keepMails writes a journal for the last sixty days.
func keepMails(t *testing.T, conf *config.Config, all []mail) {
	t.Helper()
	var at atomic.Pointer[time.Time] // the journal's writer reads the time too
	at.Store(&time.Time{})
	j := journal.Open(journal.Options{Path: conf.JournalFile(), Limits: journal.Limits{Keep: 90 * 24 * time.Hour, MaxSize: 512 << 20, Addresses: journal.Omit},
		Now: func() time.Time { return *at.Load() }, Log: slog.New(slog.DiscardHandler)})
	for _, m := range all {
		day := time.Now().AddDate(0, 0, m.day-60)
		at.Store(&day)
		j.Add(m.report())
	}
	j.Close()
	if n := len(allEntries(t, conf)); n != len(all) {
		t.Fatalf("%d of %d are in the journal", n, len(all))
	}
}

func propose(t *testing.T, conf *config.Config, o forwardersOptions) (out string, err error) {
	t.Helper()
	var b bytes.Buffer
	err = proposeForwarders(t.Context(), conf, o, &b, &b)
	return b.String(), err
}

// The list, the forwarder and the university are proposed, with the evidence. Each is identified by a signer, a network or a sealer. A
// spoofer is not proposed, whatever it sends, and neither is a host of newsletters. An accepted entry is in the file, and is not
// proposed again.
func TestForwardersAreProposed(t *testing.T) {
	conf := stateIn(t)
	conf.DMARC.ForwardersFile = filepath.Join(t.TempDir(), "forwarders.toml")
	keepMails(t, conf, twoMonths())
	out, err := propose(t, conf, forwardersOptions{json: true})
	if err != nil {
		t.Fatal(err)
	}
	var all []forwarders.Proposal
	if err = json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatal(err, out)
	}
	var names []string
	for _, p := range all {
		names = append(names, fmt.Sprint(p.Kind, " ", p.Name, " ", p.What()))
	}
	slices.Sort(names)
	if want := []string{"network 192.0.2.130/31 forwarder", "sealer uni.example forwarder", "signer lists.example.org mailing list"}; !slices.Equal(names, want) {
		t.Fatalf("%q, want %q", names, want)
	}
	out, err = propose(t, conf, forwardersOptions{})
	for _, want := range []string{
		"# 30 messages failed DMARC, on 30 days from ", ", of 7 organizations: author0.example 5, author1.example 5, author2.example 4",
		"# 30 of these have a signature of their author's organization that a relay broke\n",
		"# 18 more were relayed unchanged and passed DMARC\n# 18 of all these messages are proved genuine", "# they came from 2 clients whose names are in isp.example and verified by DNS\n",
		"# each has an ARC chain that passes, last sealed by uni.example, which states that 30 had passed DMARC\n",
		"[[forwarder]]\nsigner = \"lists.example.org\"\ncomment = \"mailing list: 30 failing messages of 7 organizations on 30 days; 20 proved genuine\"\nexpires = ",
	} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %q is missing\n%s", err, want, out)
		}
	}
	// The printed text is a valid file of accepted forwarders.
	if parsed, err := config.ParseForwarders("printed", []byte(out)); err != nil || len(parsed) != 3 {
		t.Errorf("%v %v", parsed, err)
	}
	for _, name := range []string{"lists.example.org", "192.0.2.130/31"} {
		if out, err := propose(t, conf, forwardersOptions{accept: name, until: "2099-03-31"}); err != nil || !strings.Contains(out, "expires = 2099-03-31\n") {
			t.Fatal(out, err)
		}
		if conf.DMARC.Forwarders, err = config.LoadForwarders(conf.DMARC.ForwardersFile); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(conf.DMARC.ForwardersFile)
	if err != nil || len(conf.DMARC.Forwarders) != 2 || !strings.Contains(string(text), "# 30 messages failed DMARC") {
		t.Errorf("%v %s", err, text)
	}
	if out, err = propose(t, conf, forwardersOptions{}); err != nil || strings.Count(out, "[[forwarder]]") != 1 || !strings.Contains(out, "uni.example") {
		t.Errorf("%v\n%s", err, out)
	}
	for want, o := range map[string]forwardersOptions{
		`"spoofer3.example" is not proposed; the proposals are uni.example`: {accept: "spoofer3.example"},
		`--until 2026-01-01 has passed`:                                     {accept: "uni.example", until: "2026-01-01"},
		`--until "soon" is not a date`:                                      {accept: "uni.example", until: "soon"},
		`--until requires --accept NAME`:                                    {until: "2099-01-01"},
	} {
		if _, err := propose(t, conf, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A list adds its name to each Subject and a footer to each message, and does not seal. It is proposed, because the authors' signatures
// match after its name is removed from Subject. A list that changes the header in another way cannot be distinguished from a spoofer.
func TestTaggingListIsProposed(t *testing.T) {
	conf := stateIn(t)
	var all []mail
	for n := range 30 {
		tags := mail{day: n * 2, client: "192.0.2.25", name: "mail.tags.example", author: fmt.Sprintf("author%d.example", n%7), signature: fmt.Sprintf("a%d", n),
			signer: "tags.example", envelope: "tags.example", spf: spf.Pass, relayed: []string{"List-Id", "List-Post"}, untagged: true}
		rewrites := tags
		rewrites.client, rewrites.name, rewrites.signature, rewrites.signer, rewrites.untagged = "192.0.2.35", "mail.rewrites.example", fmt.Sprintf("b%d", n), "rewrites.example", false
		all = append(all, tags, rewrites)
	}
	keepMails(t, conf, all)
	out, err := propose(t, conf, forwardersOptions{})
	if err != nil || strings.Count(out, "[[forwarder]]") != 1 || !strings.Contains(out, "signer = \"tags.example\"") || !strings.Contains(out, "# 30 of all these messages are proved genuine") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A footer does not change the header that a broken signature covers. The daemon detects an unchanged header without further DNS queries.
func TestHeaderHolds(t *testing.T) {
	var record *decision.Record
	runCase(t, map[string]string{
		"dns":     "_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\nkey._domainkey.example.com. TXT \"%KEY%\"\n",
		"session": "client 203.0.113.9\nhelo mx.example\nfrom list@lists.example\nsign example.com key\nappend footer\n",
		"message": "From: ann@example.com\r\nSubject: as it was\r\n\r\ntext\r\n",
	}, "", func(f *filter.Filter) { wrap(f, func(r *decision.Record) { record = r }) })
	if d := record.Evidence.DKIM; len(d) != 1 || d[0].Status != dkim.Fail || !d[0].HeaderHolds {
		t.Errorf("%+v", d)
	}
}

// The daemon also detects a header in which a list only added its name to Subject.
func TestHoldsUntagged(t *testing.T) {
	var record *decision.Record
	runCase(t, map[string]string{
		"dns":     "_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\nkey._domainkey.example.com. TXT \"%KEY%\"\n",
		"session": "client 203.0.113.9\nhelo mx.example\nfrom list@lists.example\nsign example.com key\nset Subject: [list] as it was\nappend footer\n",
		"message": "From: ann@example.com\r\nSubject: as it was\r\n\r\ntext\r\n",
	}, "", func(f *filter.Filter) { wrap(f, func(r *decision.Record) { record = r }) })
	if d := record.Evidence.DKIM; len(d) != 1 || d[0].Status != dkim.Fail || d[0].HeaderHolds || !d[0].HoldsUntagged {
		t.Errorf("%+v", d)
	}
}

// check-config and doctor report forwarders whose acceptance has expired, and a configured file that does not exist.
func TestForwarderConcerns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "signpost.toml")
	accepted := filepath.Join(t.TempDir(), "accepted.toml")
	if err := os.WriteFile(file, []byte("[dmarc]\nquarantine_handled = true\nforwarders_file = \""+accepted+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	say := func() (all string) {
		conf, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range setup.Concerns(conf, time.Now()) {
			all += f.What + "\n"
		}
		return all
	}
	if got, want := say(), "dmarc.forwarders_file: "+accepted+" does not exist\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	entry := "[[forwarder]]\nsealer = \"%s\"\ncomment = \"x\"\nexpires = %s\n"
	if err := os.WriteFile(accepted, fmt.Appendf(nil, entry+entry, "a.example", "2026-01-01", "b.example", "2099-01-01"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := say(), "expired and ignored: [[forwarder]] sealer=a.example comment=\"x\" expires=2026-01-01 in "+accepted+"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
