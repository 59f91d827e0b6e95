package report

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/internal/testjournal"
	"signpost/policy"
)

// Only inbound mail of the day that passed or failed DMARC has rows. Outbound mail, mail that the client has to send again, and mail without
// a policy have none.
func TestWhatIsReported(t *testing.T) {
	j := newJournal(t)
	at := func(when time.Duration, r *decision.Record) { j.at(monday().Add(when)); j.Add(r) }
	at(-time.Second, message())
	at(0, message())
	signed := message()
	signed.Role = policy.RoleSign
	at(time.Hour, signed)
	deferred := failing()
	deferred.Action = policy.Tempfail
	at(2*time.Hour, deferred)
	temporary := message()
	temporary.Evidence.DMARC[0].Status = dmarc.TempError
	at(3*time.Hour, temporary)
	none := message()
	none.Evidence.DMARC[0] = dmarc.Result{Status: dmarc.None, Domain: "example.net"}
	at(4*time.Hour, none)
	queued := message()
	queued.SMTP = false
	at(5*time.Hour, queued)
	two := message()
	two.Evidence.DMARC = append(two.Evidence.DMARC, failing().Evidence.DMARC[0])
	two.Evidence.DMARC[1].Domain, two.Evidence.DMARC[1].PolicyDomain = "example.net", "example.net"
	at(6*time.Hour, two)
	at(day-time.Microsecond, message())
	at(day, message())
	got := j.reports(t, monday(), Options{})
	if len(got) != 2 || got["example.org"].Messages != 3 || got["example.net"].Messages != 1 || got["example.org"].TempErrors != 1 {
		t.Errorf("%+v", got)
	}
	for _, r := range got {
		if r.Lost != 0 || r.Late || r.Begin().Unix() != monday().Unix() || r.End().Sub(r.Begin()) != day-time.Second {
			t.Errorf("%+v", r)
		}
	}
}

// Each published policy has its own report, with the defaults of absent tags. Records that differ only in other tags have one report. The
// header_from of subdomains without a record are rows of the same report.
func TestReportForEachPolicy(t *testing.T) {
	j := newJournal(t)
	for i, c := range []struct{ author, record string }{
		{"example.org", "v=DMARC1; p=reject; rua=mailto:a@example.org"},
		{"a.example.org", "v=DMARC1; p=reject; rua=mailto:b@example.org; adkim=r; t=n; sp=reject; pct=10"},
		{"example.org", "v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; aspf=s; t=y; fo=1:d:x; rua=mailto:a@example.org"},
		{"example.org", "v=DMARC1; p=bad; rua=mailto:a@example.org"},
	} {
		r := message()
		r.Evidence.DMARC[0].Domain, r.Evidence.DMARC[0].Record = c.author, c.record
		j.at(monday().Add(time.Duration(i) * time.Hour))
		j.Add(r)
	}
	j.Close()
	reader, err := journal.OpenReader(j.path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var got []Policy
	ids := map[string]bool{}
	if err := Collect(t.Context(), reader, monday(), Options{}, func(r *Report) error {
		got = append(got, r.Policy)
		ids[r.ID("reports.example.net")] = true
		if want := map[bool]int{true: 2, false: 1}[r.Policy == Policy{Domain: "example.org", P: "reject", SP: "reject", NP: "reject", FO: "0"}]; r.Messages != want || len(r.Rows) != want {
			t.Errorf("%+v: %d messages in %d rows", r.Policy, r.Messages, len(r.Rows))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []Policy{
		{Domain: "example.org", P: "reject", SP: "reject", NP: "reject", FO: "0"},
		{Domain: "example.org", P: "reject", SP: "none", NP: "quarantine", FO: "1:d", StrictDKIM: true, StrictSPF: true, Testing: true},
		{Domain: "example.org", P: "none", SP: "none", NP: "none", FO: "0", Faulty: true},
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%+v is missing in %+v", want, got)
		}
	}
	if len(got) != 3 || len(ids) != 3 {
		t.Errorf("%d policies, %d IDs", len(got), len(ids))
	}
	broken := errors.New("full")
	if err := Collect(t.Context(), reader, monday(), Options{}, func(*Report) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// A report whose rows are all optional must not be sent. Rows of mail to our own report addresses are optional, and so are rows of refused
// mail of a domain of which no message passed.
func TestOptional(t *testing.T) {
	own := func(r *decision.Record) *decision.Record {
		r.Recipients = []string{"dmarc@example.net"}
		return r
	}
	accepted := failing()
	accepted.Action = policy.Accept
	for name, c := range map[string]struct {
		before, today []*decision.Record
		want          bool
	}{
		"passes":                      {nil, []*decision.Record{message()}, false},
		"to us":                       {nil, []*decision.Record{own(message()), own(failing())}, true},
		"to us and to a user":         {nil, []*decision.Record{own(message()), message()}, false},
		"refused, never passed":       {nil, []*decision.Record{failing(), failing()}, true},
		"refused, passed last week":   {[]*decision.Record{message()}, []*decision.Record{failing()}, false},
		"refused, only failed before": {[]*decision.Record{failing()}, []*decision.Record{failing()}, true},
		"fails, but accepted":         {nil, []*decision.Record{failing(), accepted}, false},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJournal(t)
			j.at(monday().AddDate(0, 0, -7))
			for _, r := range c.before {
				j.Add(r)
			}
			j.at(monday())
			for _, r := range c.today {
				j.Add(r)
			}
			all := j.reports(t, monday(), Options{Own: func(e *journal.Entry) bool { return slices.Equal(e.Recipients, []string{"dmarc@example.net"}) }})
			r := all["example.org"]
			if r == nil || r.Optional != c.want || r.Messages != len(c.today) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A report has at most maxRows rows. If there are more, first the failing signatures of other domains are omitted, then envelope_from. No
// message is counted twice or forgotten.
func TestFolding(t *testing.T) {
	const n = maxRows + 100
	for name, c := range map[string]struct {
		vary func(r *decision.Record, i int)
		want func(r *Report) bool
	}{
		"foreign signatures": {func(r *decision.Record, i int) {
			r.Evidence.DKIM = append(r.Evidence.DKIM, dkim.Result{Status: dkim.Fail, Domain: fmt.Sprintf("d%d.example", i), Selector: "s"})
		}, func(r *Report) bool {
			return len(r.Rows) == 1 && r.Rows[0].Count == n && len(r.Rows[0].Signatures) == 1 && !r.Rows[0].Folded && r.Rows[0].EnvelopeFrom == "example.org"
		}},
		"envelope senders": {func(r *decision.Record, i int) {
			r.Sender = fmt.Sprintf("x@e%d.example", i)
			r.Evidence.SPF.Domain = fmt.Sprintf("e%d.example", i)
		}, func(r *Report) bool {
			return len(r.Rows) == 1 && r.Rows[0].Count == n && len(r.Rows[0].Signatures) == 1 && r.Rows[0].Folded && r.Rows[0].EnvelopeFrom == "" && r.Rows[0].SPFDomain == ""
		}},
		"aligned SPF stays": {func(r *decision.Record, i int) {
			r.Sender = fmt.Sprintf("x@e%d.example", i)
		}, func(r *Report) bool {
			return len(r.Rows) == 1 && r.Rows[0].Folded && r.Rows[0].SPFDomain == "example.org"
		}},
		"clients": {func(r *decision.Record, i int) {
			r.Client = netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
		}, func(r *Report) bool { return len(r.Rows) == maxRows && r.Omitted == 100 }},
		"large": {func(r *decision.Record, i int) {
			r.Client = netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
			r.Evidence.DKIM = slices.Repeat([]dkim.Result{{Status: dkim.Pass, Domain: strings.Repeat("a.", 100) + "example", Selector: strings.Repeat("s", 60)}}, 8)
		}, func(r *Report) bool {
			size := 0
			for i := range r.Rows {
				size += r.Rows[i].size()
			}
			return size <= maxBytes && len(r.Rows) > 1000 && r.Omitted == n-r.Messages
		}},
	} {
		t.Run(name, func(t *testing.T) {
			record, _ := dmarc.ParseRecord(message().Evidence.DMARC[0].Record)
			g := newGroup(newPolicy("example.org", record), 1)
			for i := range n {
				r := message()
				c.vary(r, i)
				g.add(newRow(t.Context(), &journal.Entry{Record: *r}, r.Evidence.DMARC[0], record), false)
			}
			r := g.report(monday(), false)
			sum := 0
			for _, row := range r.Rows {
				sum += row.Count
			}
			if !c.want(r) || sum != r.Messages || r.Messages+r.Omitted != n || len(r.Rows) > maxRows {
				t.Errorf("%d rows, %d messages, %d omitted, the counts add up to %d; the first: %+v", len(r.Rows), r.Messages, r.Omitted, sum, r.Rows[0])
			}
		})
	}
}

// Reports that do not fit into memory at the same time are made in several passes over the journal, and are the same.
func TestPasses(t *testing.T) {
	j := newJournal(t)
	for i := range 600 {
		j.at(monday().Add(time.Duration(i) * time.Minute))
		j.Add(from(message(), fmt.Sprintf("d%d.example", i%200)))
	}
	j.Close()
	reader, err := journal.OpenReader(j.path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	made := func(memory int) (all []*Report) {
		if err := collect(t.Context(), reader, monday(), Options{}, memory, func(r *Report) error { all = append(all, r); return nil }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	once, often := made(math.MaxInt), made(32<<10)
	if len(once) != 200 || !reflect.DeepEqual(once, often) {
		t.Errorf("%d reports in one pass, %d in several", len(once), len(often))
	}
	c := &collector{memory: 32 << 10}
	c.begin()
	if err := reader.Each(t.Context(), journal.Filter{}, func(e *journal.Entry) bool {
		c.add(t.Context(), e)
		if c.bytes > c.memory {
			t.Errorf("%d bytes", c.bytes)
		}
		return !t.Failed()
	}); err != nil {
		t.Fatal(err)
	}
	if c.last == math.MaxUint64 || len(c.groups) > 20 || len(c.groups) < 2 {
		t.Errorf("%d groups up to %x", len(c.groups), c.last)
	}
}

// A report states how many messages of the day the journal has lost, and whether the journal lacks the beginning of the day.
func TestMissingFromJournal(t *testing.T) {
	r := &Report{Day: monday(), TempErrors: 2, Omitted: 3, Lost: 4, Late: true, Policy: Policy{Faulty: true}}
	for _, want := range []string{"temporarily: 2", "too large: 3", "not recorded: 4", "at the beginning", "counts as p=none"} {
		if !strings.Contains(r.errors(), want) {
			t.Errorf("%q is not in %q", want, r.errors())
		}
	}
	if text := (&Report{}).errors(); text != "" {
		t.Error(text)
	}
	j := newJournal(t)
	j.at(monday().Add(time.Hour))
	j.Add(message())
	j.Close()
	db, err := sql.Open("sqlite", j.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("INSERT INTO note (name, value) VALUES (?, 5)", fmt.Sprintf("lost %05d", monday().Unix()/86400)); err != nil {
		t.Fatal(err)
	}
	if r := collected(t, j.path, monday(), Options{})["example.org"]; !r.Late || r.Lost != 5 {
		t.Errorf("%+v", r)
	}
}

// A journal of version 1 is read, too.
func TestVersion1(t *testing.T) {
	reader, err := journal.OpenReader(testjournal.Version1(t))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	first, last, err := reader.Covers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for d := Day(first); !d.After(last); d = d.AddDate(0, 0, 1) {
		if err := Collect(t.Context(), reader, d, Options{}, func(r *Report) error {
			n += r.Messages
			_, err := r.File(Sender{Domain: "reports.example.net"})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 {
		t.Error("no messages")
	}
}
