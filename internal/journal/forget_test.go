package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/policy"
)

// bytesIn returns how often the files of the journal contain one of the texts.
func (d *fixture) bytesIn(t *testing.T, texts ...string) (n int) {
	t.Helper()
	files, err := filepath.Glob(d.Path + "*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for _, text := range texts {
			n += bytes.Count(data, []byte(text))
		}
	}
	return n
}

// forget deletes the messages of an address.
func (d *fixture) forget(t *testing.T, address string, dryRun bool, secrets ...[]byte) (int, error) {
	t.Helper()
	r, err := OpenReader(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	r.Secrets = secrets
	forms, err := r.Forms(t.Context(), address)
	r.Close()
	if err != nil {
		t.Fatal(err)
	}
	return Forget(t.Context(), d.Path, forms, dryRun)
}

// person returns the n-th message. Its sender or recipient is one of ten persons. The middle of the name is not in the dictionary, so a
// packed entry contains it literally.
func person(n int) *decision.Record {
	name := fmt.Sprintf("qxz%dvwkj@sender%d.example", n%10, n%10)
	r := sample(n)
	r.Sender = "bounce@list.example"
	switch n / 10 % 4 {
	case 0:
		r.Sender = strings.ToUpper(name[:1]) + name[1:]
	case 1:
		r.Login = name
	case 2:
		r.Recipients = []string{"someone@example.org", name}
		if n%80 < 40 { // the author, not the recipient
			r.Recipients, r.Author.Addresses = r.Recipients[:1], []string{name}
		}
	case 3:
		r.ARC = &dkim.Chain{Sets: []dkim.Sealer{{Instance: 1, Domain: "list.example", Results: "list.example; spf=pass smtp.mailfrom=" + name}}}
	}
	return r
}

func (d *fixture) keepAll(t *testing.T, n int, record func(n int) *decision.Record) {
	t.Helper()
	j := Open(d.Options)
	for i := range n {
		j.Add(record(i))
		until(t, "the queue has room", func() bool { return len(j.queue) < queueMessages/2 })
	}
	until(t, "all is written", func() bool { return j.queued.Load() == 0 })
	j.Close()
}

// For each value of journal.addresses, Forget deletes the messages of an address and leaves no byte of them in the files.
func TestForget(t *testing.T) {
	for _, keep := range []Addresses{Full, Hash} {
		t.Run(string(keep), func(t *testing.T) {
			d := newFixture(t)
			d.Addresses = keep
			const each = 40 // messages of each of the ten persons
			d.keepAll(t, 10*each, person)
			hours := d.hours(t)
			for i, address := range []string{"qxz3vwkj@sender3.example", "QXZ7vwkj@Sender7.example", "qxz4vwkj@sender4.example"} {
				packed := d.packed(t, address)
				if len(packed) != each || d.bytesIn(t, packed...) < each {
					t.Fatalf("%d messages are in the files %d times", len(packed), d.bytesIn(t, packed...))
				}
				left := d.count(t)
				if n, err := d.forget(t, address, true); n != each || err != nil || d.count(t) != left {
					t.Errorf("%s: %d messages in a dry run: %v", address, n, err)
				}
				if n, err := d.forget(t, address, false); n != each || err != nil || d.count(t) != left-each {
					t.Errorf("%s: %d messages deleted, %d of %d left: %v", address, n, d.count(t), left, err)
				}
				if n := d.bytesIn(t, append(packed, address[1:8])...); n > 0 {
					t.Errorf("the files still have them %d times", n)
				}
				if got := hours - d.hours(t); got != int64(each*(i+1)) {
					t.Errorf("the hours count %d messages less", got)
				}
				if n, err := d.forget(t, address, false); n != 0 || err != nil {
					t.Errorf("%s again: %d, %v", address, n, err)
				}
			}
			d.keep(t, 0, 1) // the daemon can still write it
		})
	}
}

// hours returns the sum of the counts by hour.
func (d *fixture) hours(t *testing.T) (n int64) {
	t.Helper()
	all, err := d.read(t).Hours(t.Context(), time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range all {
		n += h.N
	}
	return n
}

// packed returns the packed entries of the messages that Forget deletes.
func (d *fixture) packed(t *testing.T, address string) (all []string) {
	t.Helper()
	r := d.read(t)
	wanted, err := r.Forms(t.Context(), address)
	for after := int64(0); err == nil; {
		var found []storedMessage
		if found, after, err = r.mentioning(t.Context(), after, wanted); after == 0 {
			return all
		}
		for _, s := range found {
			all = append(all, string(s.entry))
		}
	}
	t.Fatal(err)
	return nil
}

// Forget works while the daemon writes: no message is lost, and the WAL is emptied although the daemon has it open.
func TestForgetBeside(t *testing.T) {
	d := newFixture(t)
	d.Addresses = Full
	j := Open(d.Options)
	stop := make(chan struct{})
	written := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				written <- n
				return
			case <-time.After(100 * time.Microsecond):
			}
			j.Add(person(n))
		}
	}()
	until(t, "some messages are written", func() bool { return d.has() && d.count(t) > 600 })
	deleted := 0
	for _, address := range []string{"qxz3vwkj@sender3.example", "qxz4vwkj@sender4.example"} {
		n, err := d.forget(t, address, false)
		if err != nil || n < 60 {
			t.Errorf("%s: %d messages deleted: %v", address, n, err)
		}
		deleted += n
	}
	close(stop)
	all := <-written
	until(t, "all is written", func() bool { return j.queued.Load() == 0 })
	for _, address := range []string{"qxz3vwkj@sender3.example", "qxz4vwkj@sender4.example"} {
		n, err := d.forget(t, address, false)
		if err != nil || d.bytesIn(t, address[:8]) > 0 {
			t.Errorf("%s: the files have it %d times: %v", address, d.bytesIn(t, address[:8]), err)
		}
		deleted += n
	}
	j.Close()
	if n := d.count(t); n != all-deleted || d.lost.Load() != 0 || d.log.String() != "" {
		t.Errorf("%d of %d kept, %d deleted, %d lost\n%s", n, all, deleted, d.lost.Load(), d.log)
	}
}

// A program that reads an old state of the journal prevents Forget from emptying the WAL. Forget then returns an error, and succeeds when
// that program has ended.
func TestForgetBehindAReader(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the reader")
	}
	d := newFixture(t)
	d.Addresses = Full
	d.keepAll(t, 400, person)
	r := d.read(t)
	tx, err := r.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRow("SELECT count(*) FROM message_1").Scan(&n); err != nil {
		t.Fatal(err)
	}
	const address = "qxz3vwkj@sender3.example"
	if n, err := d.forget(t, address, false); n != 40 || !errors.Is(err, errLogKept) {
		t.Errorf("%d messages, %v", n, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if n, err := d.forget(t, address, false); n != 0 || err != nil || d.bytesIn(t, address[:8]) > 0 {
		t.Errorf("%d messages, %v; the files have it %d times", n, err, d.bytesIn(t, address[:8]))
	}
}

// An address is not found in a longer address or in a DNS record.
func TestMentions(t *testing.T) {
	const ann = "ann@example.org"
	for text, want := range map[string]bool{
		ann: true, "smtp.mailfrom=Ann@example.org": true, "<ann@example.org>": true, "from ann@example.org.": true, `"ann@example.org"`: true, "x\nann@example.org": true,
		"joann@example.org, ann@example.org": true, "joann@example.org": false, "jo.ann@example.org": false, "ann@example.org.uk": false,
		"ann@example.organic": false, "ann@example.org-x.example": false, "ann": false,
	} {
		e := &Entry{}
		e.Verdict.Reasons = []policy.Reason{{Detail: text}}
		if got := e.Mentions([]string{ann}); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
	e := &Entry{Record: *sample(1)}
	if e.Mentions([]string{"dmarc@sender1.example"}) {
		t.Error("a DMARC record is public")
	}
	e.Login = "ann"
	if !e.Mentions([]string{"ann"}) || e.Mentions([]string{"an"}) {
		t.Error("a login without a domain")
	}
}

// A message may have a cut list of recipients or a cut address. Forget does not delete the message for this reason alone, because the
// missing part may belong to another person. Forget still finds the address in the parts of such a message that were kept.
func TestForgetCut(t *testing.T) {
	const ann = "ann@example.org"
	long := strings.Repeat("b", 2*maxWord) + "@example.org"
	messages := map[string]func(r *decision.Record){
		"many recipients": func(r *decision.Record) {
			for i := range 2 * maxNames {
				r.Recipients = append(r.Recipients, fmt.Sprintf("someone%d@example.org", i))
			}
		},
		"long addresses": func(r *decision.Record) {
			r.Sender, r.Login, r.Recipients = long, long, []string{long, "carol@example.org"}
		},
		"a cut text": func(r *decision.Record) {
			r.Others = []policy.Other{{Reason: strings.Repeat("x", maxSentence-len(ann)-len(cutMark)-1) + " " + ann + ".uk, and much more"}}
		},
		"cut to the domain": func(r *decision.Record) { r.Login = ann + strings.Repeat(".x", maxWord) },
	}
	for _, keep := range []Addresses{Full, Hash} {
		t.Run(string(keep), func(t *testing.T) {
			d := newFixture(t)
			d.Addresses = keep
			names := slices.Sorted(maps.Keys(messages))
			d.keepAll(t, len(names), func(n int) *decision.Record {
				r := sample(n)
				r.Sender, r.Login, r.Recipients = "bounce@list.example", "", nil
				messages[names[n]](r)
				return r
			})
			shortened := 0
			if err := d.read(t).Each(t.Context(), Filter{}, func(e *Entry) bool {
				if e.Cut {
					shortened++
				}
				return true
			}); err != nil || keep == Full && shortened != len(messages) || shortened == 0 {
				t.Fatalf("%d messages were cut: %v", shortened, err)
			}
			for _, other := range []string{ann, "dave@example.net", "dave", long[:maxWord] + "@example.net", strings.Repeat("b", maxWord), cutMark, "b" + cutMark, "someone100@example.org"} {
				if n, err := d.forget(t, other, false); n != 0 || err != nil {
					t.Errorf("%.40s: %d messages of others were deleted: %v", other, n, err)
				}
			}
			for _, kept := range []string{"someone1@example.org", "Carol@example.org"} {
				if n, err := d.forget(t, kept, false); n != 1 || err != nil {
					t.Errorf("%s: %d messages were deleted: %v", kept, n, err)
				}
			}
		})
	}
}

// Forget returns an error if there is no journal, or if the file is not a journal.
func TestForgetWithoutJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	if _, err := Forget(context.Background(), path, []string{"ann@example.org"}, false); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 8192)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Forget(context.Background(), path, []string{"ann@example.org"}, false); err == nil {
		t.Error("no error")
	}
}

// Although SQLite moves messages between pages, Forget leaves no copy of a message in the files, and the database stays intact.
func TestForgetCopies(t *testing.T) {
	d := newFixture(t)
	d.Addresses = Full
	many := func(n int) *decision.Record {
		r := person(n % 10)
		r.Sender = fmt.Sprintf("qxz%03dvwkj@sender.example", n*7919%1000)
		return r
	}
	copies, steps := 9, 6             // 9000 messages need a second page of SQLite's pointer map
	if testing.Short() || underRace { // make test also runs it without the race detector, which takes ten times as long
		copies, steps = 2, 8
	}
	d.keepAll(t, 1000*copies, many)
	for i := range steps {
		word := fmt.Sprintf("qxz%03dvwkj", i*37%1000)
		if n, err := d.forget(t, word+"@sender.example", false); n != copies || err != nil {
			t.Fatalf("%s: %d messages, %v", word, n, err)
		}
		for k := range i + 1 {
			if word := fmt.Sprintf("qxz%03dvwkj", k*37%1000); d.bytesIn(t, word) > 0 {
				t.Fatalf("after %d addresses, the files have %s", i+1, word)
			}
		}
	}
	var state string
	if err := d.read(t).row(t.Context(), []any{&state}, "PRAGMA integrity_check"); err != nil || state != "ok" {
		t.Error(state, err)
	}
	if n := d.count(t); n != copies*(1000-steps) {
		t.Errorf("%d messages are left", n)
	}
}

// The journal hides the From address that a login may not use, as it hides the address of an envelope sender. Forget finds it with its domain
// in either form.
func TestForgetFrom(t *testing.T) {
	const (
		address = "qxzvwkj@xn--bcher-kva.example"
		table   = "inline:{qxzvwkj@xn--bcher-kva.example=ann}"
	)
	forged := func(n int) *decision.Record {
		r := sample(n)
		use := policy.UsedAddress{Address: address, Use: policy.UseDenied, Table: table}
		r.FromUse, r.SenderUse = []policy.UsedAddress{use}, &use
		r.Assignment.Reason = policy.Reason{Code: policy.TableFailed, Detail: table, Address: address}
		r.Verdict = policy.Verdict{Action: policy.Reject, Reasons: []policy.Reason{{Code: policy.LoginMismatch, Detail: "ann", Address: address}},
			Reply: policy.Reply{Code: 553, Enhanced: "5.7.1", Text: "<" + address + ">: From address rejected: this login does not own it"}}
		return r
	}
	for _, keep := range []Addresses{Full, Hash, Omit} {
		for _, wanted := range []string{address, "Qxzvwkj@bücher.example"} {
			d := newFixture(t)
			d.Addresses = keep
			d.keepAll(t, 1, forged)
			if has := d.bytesIn(t, "qxzvwkj") > 0; has && keep != Full {
				t.Errorf("%s: the journal has the address", keep)
			}
			want := 1
			if keep == Omit {
				want = 0 // nothing to forget
			}
			if n, err := d.forget(t, wanted, false); n != want || err != nil {
				t.Errorf("%s: %s: %d messages, %v", keep, wanted, n, err)
			}
		}
	}
}
