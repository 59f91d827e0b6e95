package report

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/internal/spf"
	"signpost/policy"
)

// monday is the day of the tests.
func monday() time.Time { return time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC) }

// testJournal is a journal whose clock the test sets.
type testJournal struct {
	*journal.Journal
	path string
	now  atomic.Int64 // in microseconds
}

func (j *testJournal) at(t time.Time) { j.now.Store(t.UnixMicro()) }

func newJournal(t testing.TB) *testJournal {
	t.Helper()
	return openJournal(t, filepath.Join(t.TempDir(), "journal", "journal.db"))
}

func openJournal(t testing.TB, path string) *testJournal {
	t.Helper()
	j := &testJournal{path: path}
	j.at(monday())
	j.Journal = journal.Open(journal.Options{Path: j.path, Limits: journal.Limits{Keep: 14 * day, MaxSize: 512 << 20, Addresses: journal.Full},
		Now: func() time.Time { return time.UnixMicro(j.now.Load()) }, Log: slog.New(slog.DiscardHandler), Lost: func(c journal.Cause, n int) { t.Errorf("%d messages lost: %s", n, c) }})
	return j
}

// reports closes the journal and returns the reports of a day, by Policy Domain.
func (j *testJournal) reports(t testing.TB, day time.Time, o Options) map[string]*Report {
	t.Helper()
	j.Close()
	return collected(t, j.path, day, o)
}

func collected(t testing.TB, path string, day time.Time, o Options) map[string]*Report {
	t.Helper()
	r, err := journal.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all := map[string]*Report{}
	if err := Collect(t.Context(), r, day, o, func(r *Report) error { all[r.Policy.Domain] = r; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// message returns the record of a message from ann@example.org that passes by DKIM and SPF.
func message() *decision.Record {
	const name = "example.org"
	return &decision.Record{
		Version: decision.Version, Code: policy.DMARCPass, Assignment: policy.Assignment{Role: policy.RoleVerify},
		Verdict: policy.Verdict{Action: policy.Accept, Reasons: []policy.Reason{{Code: policy.DMARCPass, Domain: name}}},
		Evidence: policy.Evidence{
			Connection: policy.Connection{Client: netip.MustParseAddr("192.0.2.1"), SMTP: true},
			Envelope:   policy.Envelope{Sender: "ann@example.org", Addressees: 1, Recipients: []string{"bob@example.net"}},
			Author:     dmarc.Author{Domains: []string{name}},
			SPF:        &spf.Result{Status: spf.Pass, Identity: spf.MailFrom, Domain: name},
			DKIM:       []dkim.Result{{Status: dkim.Pass, Domain: name, Selector: "s1"}},
			DMARC: []dmarc.Result{{Status: dmarc.Pass, Domain: name, OrgDomain: name, PolicyDomain: name, Record: "v=DMARC1; p=reject; rua=mailto:d@example.org",
				Tag: "p", Published: dmarc.PolicyReject, Policy: dmarc.PolicyReject, Aligned: &dmarc.AlignedIdentifier{Method: dmarc.DKIM, Domain: name}}},
		},
	}
}

// failing returns the record of a message that fails DMARC and is rejected.
func failing() *decision.Record {
	r := message()
	r.Code, r.Action = policy.DMARCFail, policy.Reject
	r.Reasons = []policy.Reason{{Code: policy.DMARCFail, Domain: "example.org", Detail: "p=reject"}}
	r.Evidence.SPF.Status, r.Evidence.DKIM[0].Status = spf.Fail, dkim.Fail
	r.Evidence.DMARC[0].Status, r.Evidence.DMARC[0].Aligned = dmarc.Fail, nil
	return r
}

// from sets the Author Domain, the Policy Domain and the domains of SPF and DKIM.
func from(r *decision.Record, name string) *decision.Record {
	r.Author.Domains = []string{name}
	r.Evidence.SPF.Domain, r.Evidence.DKIM[0].Domain, r.Sender = name, name, "ann@"+name
	d := &r.Evidence.DMARC[0]
	d.Domain, d.OrgDomain, d.PolicyDomain = name, name, name
	if d.Aligned != nil {
		d.Aligned.Domain = name
	}
	return r
}
