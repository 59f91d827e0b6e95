package journal

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/policy"
)

// noise returns n bytes of text. The part that the journal may keep cannot be compressed.
func noise(random *rand.ChaCha8, n int) string {
	const most = 3 << 10 // answers are cut before that
	b := make([]byte, min(n, most)*3/4+3)
	_, _ = random.Read(b)
	text := base64.RawStdEncoding.EncodeToString(b)
	return text[:min(n, most)] + strings.Repeat("x", max(0, n-most))
}

// hostile returns a unique message in which every part that a sender controls is as large as Signpost accepts.
func hostile(n int) *decision.Record {
	random := rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, "hostile", n)))
	text := func(size int) string { return noise(random, size) }
	r := sample(n)
	ev := &r.Evidence
	ev.MessageID = "<" + text(20_000) + ">"
	ev.Envelope.Sender, ev.Connection.HELO, ev.Connection.PTR = text(2000)+"@"+text(250), text(2000), text(250)
	ev.Author.Domains = []string{text(250)}
	for range 50 {
		ev.Envelope.Recipients = append(ev.Envelope.Recipients, text(200)+"@"+text(120))
	}
	ev.SPF.Record, ev.SPF.Detail, ev.SPF.Domain = "v=spf1 "+text(16_000), text(4000), text(250)
	ev.DMARC[0].Record, ev.DMARC[0].Detail = "v=DMARC1; "+text(16_000), text(4000)
	for range 20 {
		d := dkim.Result{Status: dkim.Fail, Detail: text(1000), Domain: text(250), Selector: text(250), Identity: text(2000), Algorithm: text(1000), KeyName: text(250), KeyRecord: text(3000)}
		for range 100 {
			d.Headers = append(d.Headers, text(60))
		}
		ev.DKIM = append(ev.DKIM, d)
	}
	ev.SPF.Failed, ev.DMARC[0].Failed, ev.DMARC[0].Fault = text(250), text(250), &dmarc.Fault{Cause: dmarc.PolicyTagInvalid, Detail: text(1000)}
	for range 20 {
		ev.Relays = append(ev.Relays, policy.Relay{Kind: policy.RelayList, Domain: text(250), Method: "dkim", Author: text(250), Failed: text(250)})
	}
	ev.ARC = &dkim.Chain{Status: dkim.Fail, Detail: text(2000), Failed: text(250)}
	for i := range 50 {
		ev.ARC.Sets = append(ev.ARC.Sets, dkim.Sealer{Instance: i + 1, Domain: text(250), Selector: text(250), CV: text(1000), Results: text(3000)})
		ev.SealedDMARC = append(ev.SealedDMARC, policy.SealedDMARC{Instance: i + 1, Domain: text(250), Result: text(1000)})
	}
	for range 80 {
		ev.Others = append(ev.Others, policy.Other{Method: "spf", Result: text(500), Domain: text(250), Reason: text(1000)})
		r.Lookups = append(r.Lookups, dns.Lookup{Name: text(250), Type: "TXT", Status: dns.NoError, Records: []string{text(dns.MaxShortened - 10)}})
	}
	reason := func() policy.Reason {
		return policy.Reason{Code: policy.DMARCFail, Domain: text(250), Detail: text(3000), Cause: text(300)}
	}
	r.Verdict.Reply.Text, r.Assignment.Reason = text(3000), reason()
	r.Verdict.Reasons, r.Verdict.Evidence = []policy.Reason{reason(), reason()}, []policy.Reason{reason(), reason()}
	return r
}

// smallAnswers returns a message with many answers. Each is just large enough to get its own row.
func smallAnswers(n int) *decision.Record {
	random := rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, "small", n)))
	r := sample(n)
	r.Evidence.MessageID = fmt.Sprintf("<small%d@attacker.example>", n)
	r.Evidence.DKIM, r.Lookups = nil, nil
	for i := range 200 {
		r.Lookups = append(r.Lookups, dns.Lookup{Name: fmt.Sprintf("%d.example.", i), Type: "TXT", Status: dns.NoError, Records: []string{noise(random, large)}})
	}
	return r
}

func (d *fixture) fileBytes() (all int64) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if fi, err := os.Stat(d.Path + suffix); err == nil {
			all += fi.Size()
		}
	}
	return all
}

// flood writes messages as fast as the journal takes them, and returns the greatest size of its files and of the heap.
func (d *fixture) flood(t *testing.T, n int, message func(int) *decision.Record) (files int64, heap uint64) {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc
	j := Open(d.Options)
	for i := range n {
		until(t, "the queue has room", func() bool { return len(j.queue) < queueMessages/2 && j.queued.Load() < queueBytes/2 })
		d.ahead.Add(int64(100 * time.Millisecond))
		j.Add(message(i))
		if i%100 == 0 {
			files = max(files, d.fileBytes())
			runtime.GC()
			runtime.ReadMemStats(&m)
			if m.HeapAlloc > before {
				heap = max(heap, m.HeapAlloc-before)
			}
		}
	}
	until(t, "all is written", func() bool { return j.queued.Load() == 0 })
	files = max(files, d.fileBytes())
	j.Close()
	return files, heap
}

// A design rule is that a message takes at most 20 KiB of the files, whatever senders put into their mail and their DNS.
func TestCostOfMessage(t *testing.T) {
	if testing.Short() {
		t.Skip("writes hundreds of large messages")
	}
	if underRace {
		t.Skip("takes five times as long under the race detector; make test runs it without")
	}
	for name, message := range map[string]func(int) *decision.Record{"hostile": hostile, "small answers": smallAnswers, "bulky": bulky} {
		for _, addresses := range []Addresses{Full, Omit} {
			t.Run(name+" "+string(addresses), func(t *testing.T) {
				d := newFixture(t)
				d.Addresses = addresses
				d.keep(t, 0, 100)
				before := d.fileBytes()
				const n = 100
				d.flood(t, n, message)
				if each := (d.fileBytes() - before) / n; each > maxMessage || d.lost.Load() > 0 {
					t.Errorf("%d bytes for each message, at most %d; %d lost\n%s", each, maxMessage, d.lost.Load(), d.log)
				}
			})
		}
	}
}

// A flood of mail with large DNS answers does not displace older messages. Answers are deleted first, and the row and outcome of each
// message remain. The files and the memory stay within their limits.
func TestFlood(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("writes thousands of large messages, which takes minutes under the race detector; make test runs it without")
	}
	const old = 1000
	for name, c := range map[string]struct {
		n       int
		maxSize int64
		message func(int) *decision.Record
	}{"large answers": {2000, 22 << 20, floodMail}, "small answers": {1000, 22 << 20, smallAnswers}} {
		t.Run(name, func(t *testing.T) {
			n := c.n
			d := newFixture(t)
			d.MaxSize = c.maxSize
			d.keep(t, 0, old)
			d.ahead.Add(int64(24 * time.Hour))
			files, heap := d.flood(t, n, c.message)
			if files > d.MaxSize || d.lost.Load() > 0 {
				t.Errorf("the files had %d bytes, at most %d; %d messages are lost\n%s", files, d.MaxSize, d.lost.Load(), d.log)
			}
			if most := uint64(20 << 20); heap > most {
				t.Errorf("%d bytes of heap, at most %d", heap, most)
			}
			r := d.read(t)
			var counted int64
			hours, err := r.Hours(t.Context(), time.Time{})
			for _, h := range hours {
				counted += h.N
			}
			if kept := d.count(t); kept != old+n || counted != int64(old+n) || err != nil {
				t.Errorf("%d messages are kept, %d counted by outcome, want %d: %v", kept, counted, old+n, err)
			}
			first, err := r.Find(t.Context(), sample(0).Evidence.MessageID)
			if err != nil || len(first) != 1 || first[0].Action != policy.Accept || first[0].Outcome().DMARC != "pass" || first[0].Evidence.DKIM[0].KeyRecord != forgotten {
				t.Errorf("the oldest message, whose answers are to be deleted: %v %v", first, err)
			}
			var cost, noted int64
			if err := r.db.QueryRow("SELECT (SELECT sum(octet_length(text) * 5 / 4 + ?) FROM answer), (SELECT value FROM note WHERE name = 'answer_cost')", textRow).Scan(&cost, &noted); err != nil || cost != noted {
				t.Errorf("the answers cost %d, stored is %d: %v", cost, noted, err)
			}
		})
	}
}

// floodMail returns a message with sixteen DNS answers of 15 KiB that no other message has.
func floodMail(n int) *decision.Record {
	random := rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, "flood", n)))
	r := sample(n)
	r.Evidence.MessageID = fmt.Sprintf("<flood%d@attacker.example>", n)
	r.Evidence.DKIM, r.Lookups = nil, nil
	for i := range 16 {
		r.Lookups = append(r.Lookups, dns.Lookup{Name: fmt.Sprintf("%d.example.", i), Type: "TXT", Status: dns.NoError, Records: []string{noise(random, dns.MaxShortened-10)}})
	}
	return r
}

// If rows alone fill the journal, the oldest messages are deleted and the newest are kept.
func TestBound(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("writes a thousand large messages, which takes minutes under the race detector; make test runs it without")
	}
	d := newFixture(t)
	d.MaxSize = 14 << 20 // most of this size is reserved for the WAL
	const n = 1000
	files, _ := d.flood(t, n, hostile)
	if files > d.MaxSize {
		t.Errorf("%d bytes, at most %d", files, d.MaxSize)
	}
	r := d.read(t)
	for i, want := range map[int]int{0: 0, n - 1: 1} {
		if found, err := r.Find(t.Context(), hostile(i).Evidence.MessageID); err != nil || len(found) != want {
			t.Errorf("message %d: %d, want %d: %v", i, len(found), want, err)
		}
	}
	if kept := d.count(t); kept < 50 {
		t.Errorf("only %d messages are kept", kept)
	}
}

// A cut entry is marked, and so is each cut text. Values by which messages are filtered are not cut. The newest ARC set is kept, because
// its sealer is responsible for the message.
func TestCutIsMarked(t *testing.T) {
	d := newFixture(t)
	d.Addresses = Full
	j := Open(d.Options)
	want := hostile(1)
	want.Evidence.DKIM = append(want.Evidence.DKIM, dkim.Result{Status: dkim.Pass, Domain: "last.example"})
	j.Add(want)
	j.Add(sample(2))
	j.Close()
	r := d.read(t)
	found, err := r.Find(t.Context(), want.Evidence.MessageID)
	if err != nil || len(found) != 1 {
		t.Fatal(len(found), err)
	}
	e := found[0]
	if !e.Cut || e.Outcome() != (&Entry{Record: *want}).Outcome() || e.Evidence.QueueID != want.Evidence.QueueID {
		t.Errorf("cut: %v, outcome %+v", e.Cut, e.Outcome())
	}
	for name, text := range map[string]string{"Message-ID": e.Evidence.MessageID, "sender": e.Evidence.Envelope.Sender, "HELO": e.Evidence.Connection.HELO, "reason": e.Reasons[0].Detail, "reply": e.Verdict.Reply.Text} {
		if !strings.HasSuffix(text, cutMark) {
			t.Errorf("%s: %q", name, text)
		}
	}
	if a := e.Lookups[len(e.Lookups)-1]; !a.Incomplete() {
		t.Errorf("an answer: %+v", a)
	}
	sets, results := e.Evidence.ARC.Sets, e.Evidence.SealedDMARC
	if newest := len(want.Evidence.ARC.Sets); sets[len(sets)-1].Instance != newest || results[len(results)-1].Instance != newest {
		t.Errorf("the newest ARC set is %d, and the newest DMARC result is of %d; want %d", sets[len(sets)-1].Instance, results[len(results)-1].Instance, newest)
	}
	if whole, err := r.Find(t.Context(), sample(2).Evidence.MessageID); err != nil || len(whole) != 1 || whole[0].Cut {
		t.Errorf("an ordinary message: %v %v", whole, err)
	}
}

// The DMARC result of a message is the worst of its Author Domains, so --failed finds a message even if one of its Author Domains passes.
func TestWorstAuthorDomain(t *testing.T) {
	for _, c := range []struct {
		all  []dmarc.Status
		want string
	}{
		{nil, ""},
		{[]dmarc.Status{dmarc.Pass}, "pass"},
		{[]dmarc.Status{dmarc.Pass, dmarc.TempError}, "temperror"},
		{[]dmarc.Status{dmarc.Pass, dmarc.None, dmarc.PermError}, "permerror"},
		{[]dmarc.Status{dmarc.TempError, dmarc.Fail, dmarc.Pass}, "fail"},
		{[]dmarc.Status{dmarc.Pass, dmarc.None}, "none"},
	} {
		e := &Entry{}
		for _, s := range c.all {
			e.Evidence.DMARC = append(e.Evidence.DMARC, dmarc.Result{Status: s})
		}
		if got := e.Outcome().DMARC; got != c.want {
			t.Errorf("%v: %q, want %q", c.all, got, c.want)
		}
	}
}
