package cluster

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"signpost/internal/cluster/messages"
	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/journal"
	"signpost/internal/spf"
	"signpost/internal/testsql"
	"signpost/keys"
	"signpost/policy"
)

// manyVar is the number of messages of TestManyMessages: ten million in "make matrix".
const manyVar = "SIGNPOST_CLUSTER_MESSAGES"

// Among the messages of five hosts in two weeks, a message is found within 100 ms and a list within 2 s, also if it is the list of a rare
// action, of the most frequent domain, or of a large network.
func TestManyMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("starts databases")
	}
	rows := 20_000
	if text := os.Getenv(manyVar); text != "" {
		var err error
		if rows, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("PostgreSQL", func(t *testing.T) {
		manyMessages(t, testsql.PostgreSQL(t, "-c", "shared_buffers=1GB", "-c", "maintenance_work_mem=512MB", "-c", "max_wal_size=4GB"), rows)
	})
	t.Run("MariaDB", func(t *testing.T) {
		manyMessages(t, testsql.MariaDB(t, "--innodb-buffer-pool-size=1G", "--innodb-log-file-size=1G"), rows)
	})
}

// span is the time over which the messages are spread.
const span = 14 * 24 * time.Hour

// crowd creates messages with a realistic distribution: a few domains send most of the mail, and many send little.
type crowd struct {
	random  *rand.Rand
	domains *rand.Zipf
	begin   time.Time
	step    time.Duration
}

func newCrowd(rows int) *crowd {
	random := rand.New(rand.NewPCG(1, 2))
	return &crowd{random, rand.NewZipf(random, 1.2, 4, 50_000), time.Now().Add(-span), span / time.Duration(rows)}
}

func queueOf(n int) string { return fmt.Sprintf("4%012xz", n*2654435761) }

// message returns message n. About one in 300,000 is on hold; these are the only ones of their outcome.
func (c *crowd) message(n int) *journal.Entry {
	d := c.domains.Uint64()
	domain := fmt.Sprintf("sender%d.example", d)
	record := fmt.Sprintf("v=spf1 ip4:203.0.0.0/16 include:_spf.%s include:mail.provider%d.example -all", domain, d%20)
	e := &journal.Entry{ID: c.begin.Add(c.step*time.Duration(n)).UnixMicro() + int64(n%7)}
	e.Time = time.UnixMicro(e.ID)
	e.Record = decision.Record{Version: decision.Version, Code: policy.DMARCFail, HandlerMS: 2, DNSQueries: 3, DNSMS: 12,
		Assignment: policy.Assignment{Role: policy.RoleVerify},
		Verdict: policy.Verdict{Action: policy.Reject, Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "DMARC failed for " + domain},
			Reasons: []policy.Reason{{Code: policy.DMARCFail, Domain: domain, Detail: "p=reject"}}, Evidence: []policy.Reason{{Code: policy.NoAuthorSignature, Domain: domain}}},
		Evidence: policy.Evidence{QueueID: queueOf(n), MessageID: fmt.Sprintf("<%08x.%d@%s>", n*40503, n, domain), Size: int64(2000 + n%10000),
			Connection: policy.Connection{Client: netip.AddrFrom4([4]byte{byte(10 + d%200), byte(d >> 8), byte(d), byte(c.random.IntN(4))}), Name: "mta." + domain, PTR: "mta." + domain, HELO: "mta." + domain, SMTP: true},
			Envelope:   policy.Envelope{Sender: "@" + domain, Addressees: 1}, Author: dmarc.Author{Domains: []string{domain}},
			SPF:   &spf.Result{Status: spf.Fail, Identity: spf.MailFrom, Domain: domain, Record: record, Cause: spf.TermMatched, Term: "-all", RecordDomain: domain},
			DMARC: []dmarc.Result{{Status: dmarc.Fail, Domain: domain, OrgDomain: domain, PolicyDomain: domain, Record: "v=DMARC1; p=reject; rua=mailto:dmarc@" + domain, Tag: "p", Published: "reject", Policy: "reject", Cause: dmarc.NoAlignedIdentifierPassed}}},
		Lookups: []dns.Lookup{{Name: domain + ".", Type: "TXT", Status: dns.NoError, Records: []string{record}, TTL: 3600, Took: dns.Millis(12 * time.Millisecond)},
			{Name: "_dmarc." + domain + ".", Type: "TXT", Status: dns.NoError, Records: []string{"v=DMARC1; p=reject; rua=mailto:dmarc@" + domain}, TTL: 3600, Cached: true}}}
	e.SPF.Status = []spf.Status{spf.Fail, spf.SoftFail, spf.Neutral, spf.None, spf.TempError}[n%5]
	if n%4 > 0 {
		e.Evidence.DKIM = []dkim.Result{{Status: []dkim.Status{dkim.Pass, dkim.Fail, dkim.TempError}[n%4-1], Domain: domain, Selector: "s1"}}
	}
	if n%11 == 0 {
		e.DMARC[0].Status = dmarc.TempError
	}
	switch {
	case n%300_007 == 5:
		e.Action = policy.Hold
	case n%3 == 1:
		e.Action = policy.Tag
	case n%20 == 2:
		e.Action = policy.Tempfail
	}
	return e
}

// newMember returns a host that has joined a new cluster, and the name of the database.
func newMember(t testing.TB, server *testsql.Server) (h *Host, database string) {
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "cluster.key")
	database = server.Database()
	if err := os.WriteFile(keyFile, []byte(NewSiteKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	siteKeys, err := ReadSiteKeys(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	db, err := Open(server.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if _, err := db.Init(t.Context(), siteKeys); err != nil {
		t.Fatal(err)
	}
	h = New(Options{DB: db, KeyFile: keyFile, Store: keys.Store{State: filepath.Join(dir, "state"), Dir: filepath.Join(dir, "keys"), Now: time.Now}, Name: "mx0", Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if _, err := h.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h, database
}

func manyMessages(t *testing.T, server *testsql.Server, rows int) {
	h, database := newMember(t, server)
	db := h.DB
	drop := "DROP INDEX sp_message_%s"
	if server.Name == "MariaDB" {
		drop += " ON sp_message"
	}
	for _, index := range []string{"queue", "mid", "domain", "client", "net", "outcome"} {
		server.Run(database, fmt.Sprintf(drop, index))
	}
	start := time.Now()
	fillMessages(t, h, rows)
	filled := time.Since(start)
	for _, statement := range migrations()[2] {
		server.Run(database, db.typed(statement))
	}
	if server.Name == "PostgreSQL" {
		server.Run(database, "VACUUM ANALYZE sp_message")
		server.Run(database, "CHECKPOINT")
	} else {
		server.Run(database, "ANALYZE TABLE sp_message")
		server.Run(database, "SET GLOBAL innodb_max_dirty_pages_pct = 0") // write the pages of the indexes before the searches begin
		for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
			text := server.Run(database, "SELECT variable_value < 1000 FROM information_schema.global_status WHERE variable_name = 'Innodb_buffer_pool_pages_dirty'")
			if text == "1" {
				break
			}
		}
		server.Run(database, "SET GLOBAL innodb_max_dirty_pages_pct = 90")
	}
	s := &Shipper{Host: h, Keep: 2 * span}
	if err := s.maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d messages in %s, indexes after %s; %d bytes for each message", server.Name, rows, filled.Round(time.Second), time.Since(start).Round(time.Second), s.bytes/int64(rows))

	r := &Reader{Host: h, Keep: 2 * span}
	c := newCrowd(rows)
	within := func(most time.Duration, what string, least, atMost int, do func(ctx context.Context) (messages.Answer, error)) {
		t.Helper()
		begin := time.Now()
		a, err := do(t.Context())
		took := time.Since(begin)
		if n := len(a.Messages); err != nil || n < least || n > atMost || a.Omitted() != "" {
			t.Errorf("%s: %d messages, want %d to %d; %s; %v", what, n, least, atMost, a.Omitted(), err)
		}
		if took > most {
			t.Errorf("%s took %s, which is more than %s", what, took, most)
		}
		t.Logf("%s: %s: %d messages in %s", server.Name, what, len(a.Messages), took.Round(100*time.Microsecond))
	}
	find := func(id string) func(context.Context) (messages.Answer, error) {
		return func(ctx context.Context) (messages.Answer, error) { return r.Find(ctx, id) }
	}
	for i := range 5 {
		n := c.random.IntN(rows)
		within(100*time.Millisecond, "explain "+strconv.Itoa(i), 1, 1, find(queueOf(n)))
	}
	within(100*time.Millisecond, "explain of an unknown ID", 0, 0, find("4none"))
	search := func(q journal.Query) func(context.Context) (messages.Answer, error) {
		return func(ctx context.Context) (messages.Answer, error) {
			return r.List(ctx, messages.Search{Query: q, Limit: 50})
		}
	}
	held := (rows + 300_001) / 300_007
	const most = 2 * time.Second
	within(most, "newest", 50, 50, search(journal.Query{}))
	within(most, "failed", 50, 50, search(journal.Query{Failed: true}))
	within(most, "frequent action", 50, 50, search(journal.Query{Action: []string{"reject"}}))
	within(most, "rare action", min(held, 50), 50, search(journal.Query{Action: []string{"hold"}}))
	within(most, "no such outcome", 0, 0, search(journal.Query{SPF: []string{"permerror"}}))
	within(most, "frequent domain", 50, 50, search(journal.Query{Domain: "sender0.example"}))
	within(most, "frequent domain, rare action", 0, 50, search(journal.Query{Domain: "sender0.example", Action: []string{"hold"}}))
	within(most, "frequent domain, no such outcome", 0, 0, search(journal.Query{Domain: "sender0.example", SPF: []string{"permerror"}}))
	within(most, "rare domain", 0, 50, search(journal.Query{Domain: "sender49999.example"}))
	within(most, "client", 50, 50, search(journal.Query{Client: "10.0.0.1"}))
	within(most, "client and domain", 50, 50, search(journal.Query{Client: "10.0.0.1", Domain: "sender0.example"}))
	within(most, "network", 50, 50, search(journal.Query{Client: "10.0.0.0/24"}))
	within(most, "network, rare action", 0, 50, search(journal.Query{Client: "10.0.0.0/24", Action: []string{"hold"}}))
	within(most, "large network", 50, 50, search(journal.Query{Client: "10.0.0.0/16"}))
	within(most, "large network, rare action", 0, 50, search(journal.Query{Client: "10.0.0.0/16", Action: []string{"hold"}}))
	within(most, "before a day", 50, 50, func(ctx context.Context) (messages.Answer, error) {
		return r.List(ctx, messages.Search{Before: c.begin.Add(span / 2), Limit: 50})
	})
	begin := time.Now()
	deleted, more := 0, true
	for ; more && deleted < 50; deleted++ {
		var err error
		if more, err = db.session().deleteMessages(t.Context(), "mx1", c.begin.Add(span/2).UnixMicro(), expireRows); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s: %s for each thousand expired messages", server.Name, (time.Since(begin) * 1000 / time.Duration(deleted*expireRows)).Round(100*time.Microsecond))
}

// fillMessages writes the messages of five hosts, each message on one of them.
func fillMessages(t *testing.T, h *Host, rows int) {
	m, err := h.membership(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	batches := make(chan shipment, 4)
	go func() {
		defer close(batches)
		c := newCrowd(rows)
		var sealers []*sealer
		for i := range 5 {
			sealers = append(sealers, &sealer{key: m.seal, site: m.site, host: fmt.Sprintf("mx%d", i), packer: journal.NewPacker()})
		}
		b := shipment{outcomes: map[int64]string{}}
		for n := range rows {
			e := c.message(n)
			r, err := sealers[n%5].row(e)
			if err != nil {
				t.Error(err)
				return
			}
			b.add(r, e.Outcome())
			if len(b.rows) == 1000 || n == rows-1 {
				slices.SortFunc(b.rows, func(x, y messageRow) int {
					return cmp.Or(cmp.Compare(x.at.Host, y.at.Host), cmp.Compare(x.at.ID, y.at.ID))
				})
				batches <- b
				b = shipment{outcomes: map[int64]string{}}
			}
		}
	}()
	for b := range batches {
		if err := h.DB.session().putMessages(t.Context(), b.rows, b.outcomes); err != nil {
			t.Error(err)
			for range batches {
			}
		}
	}
}
