package journal

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"signpost/internal/dns"
)

// An ordinary entry must not become larger, because with larger entries the journal covers a shorter time. The times and TTLs vary like the
// values of a real resolver.
func TestEntrySize(t *testing.T) {
	const most, messages = 305, 1000
	c, stored := newCodec(), newStoredTexts()
	size := 0
	for i := range messages {
		e := Entry{Time: time.Unix(1_790_000_000, int64(i)*7_919_000), Record: redact(*sample(i), Omit, nil)}
		e.ID = e.Time.UnixMicro()
		for j := range e.Lookups {
			l := &e.Lookups[j]
			l.TTL = uint32(i*7919+j*271) % 3600
			if l.Took > 0 {
				l.Took += dns.Millis(time.Duration(i*7919+j*104_729) % (9 * time.Millisecond))
			}
		}
		r, err := pack(&e, c, stored, false)
		if err != nil {
			t.Fatal(err)
		}
		stored.add(r.texts)
		size += len(r.entry)
	}
	if size > most*messages {
		t.Errorf("an entry has %d bytes on average, at most %d", size/messages, most)
	}
}

// The records of a lookup are read back unchanged, whatever their number, length and bytes. If records are no longer in the database, the
// lookup states this, and reading is not an error.
func TestRecordsAreKept(t *testing.T) {
	long := strings.Repeat("v=spf1 ip4:192.0.2.1 -all ", 8)
	all := [][]string{
		nil, {""}, {"", ""}, {"v=spf1 -all"}, {long}, {long, "b", ""}, slices.Repeat([]string{"192.0.2.1"}, 100),
		{mark}, {mark + "1abc"}, {mark, "b"}, {"b", mark + "1"}, {joined}, {joined + "3:abc"}, {joined + long}, {mark + long, joined},
		{"v=spf1 \xff"}, {"a", "\xc3"}, {forgotten}, {"3:abc" + long, "12:"}, {`"` + long + `", "v=spf1 +all"`},
	}
	d := newFixture(t)
	j := Open(d.Options)
	r := sample(1)
	r.Lookups = nil
	for i, records := range all {
		r.Lookups = append(r.Lookups, dns.Lookup{Name: fmt.Sprint(i), Type: "TXT", Status: dns.NoError, Records: records})
	}
	j.Add(r)
	j.Close()
	read := func() []dns.Lookup {
		found, err := d.read(t).Find(t.Context(), r.Evidence.QueueID)
		if err != nil || len(found) != 1 {
			t.Fatal(len(found), err)
		}
		return found[0].Lookups
	}
	for i, l := range read() {
		if !slices.Equal(l.Records, all[i]) || l.Status != dns.NoError || l.Cut != 0 {
			t.Errorf("%q: %+v", all[i], l)
		}
	}
	db, err := create(t.Context(), d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	if _, err := db.db.Exec("DELETE FROM answer"); err != nil {
		t.Fatal(err)
	}
	for i, l := range read() {
		stored := l.Status == dns.Forgotten
		if stored && (l.Records != nil || l.Failed() || !l.Incomplete()) || !stored && !slices.Equal(l.Records, all[i]) || stored != inTable(all[i]) {
			t.Errorf("%q: %+v", all[i], l)
		}
	}
}

// inTable reports whether records are stored in the table answer.
func inTable(records []string) bool {
	text := strings.Join(records, "")
	return len(text) >= large || !utf8.ValidString(text) || len(records) == 1 && strings.HasPrefix(text, mark)
}

// For all records, splitRecords returns the records that joinRecords joined, and no part of a record is taken for another record.
func FuzzJoinRecords(f *testing.F) {
	f.Add("v=spf1 -all", "x", 2)
	f.Add(joined+"11:v=spf1 +all", "", 1)
	f.Fuzz(func(t *testing.T, one, other string, n int) {
		records := []string{one, other, one}[:min(max(n, 1), 3)]
		text := joinRecords(records)
		if strings.HasPrefix(text, mark) {
			t.Errorf("%q is taken for a mark", text)
		}
		if got := splitRecords(text); !slices.Equal(got, records) {
			t.Errorf("%q, want %q", got, records)
		}
		_ = splitRecords(string(bytes.ToUpper([]byte(joined + one)))) // text from a damaged database
	})
}
