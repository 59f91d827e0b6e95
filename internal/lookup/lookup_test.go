package lookup

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// table is a source in memory.
type table struct {
	mu      sync.Mutex
	values  map[string]string
	err     error
	delay   time.Duration
	lookups int
}

func (s *table) Lookup(ctx context.Context, _, key string) (Answer, error) {
	s.mu.Lock()
	s.lookups++
	value, found := s.values[key]
	err, delay := s.err, s.delay
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
	return Answer{value, found}, err
}

func (s *table) set(err error, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.delay = err, delay
}

func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

const domains = "mysql:/etc/postfix/sql/domains.cf"

// In an outage, each answer that was ever given is given again, also a negative one, and no caller waits for the database. A key without
// an answer is an error. One line is logged at the beginning and one at the end.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		source := &table{values: map[string]string{"a.example": "1"}}
		outcomes := map[Outcome]int{}
		c := NewCache(source, CacheOptions{Log: slog.New(slog.NewTextHandler(&log, nil)), Observe: func(o Outcome) { outcomes[o]++ }})
		expect := func(key string, want Answer, wantErr Kind, most time.Duration) {
			t.Helper()
			begin := time.Now()
			got, err := c.Lookup(t.Context(), domains, key)
			if got != want || kindOf(err) != wantErr {
				t.Errorf("%s: %v, error %v; want %v, error %q", key, got, err, want, wantErr)
			}
			if took := time.Since(begin); took > most {
				t.Errorf("%s: the answer took %v, want at most %v", key, took, most)
			}
		}
		yes, no := Answer{"1", true}, Answer{}
		expect("a.example", yes, "", 0)
		expect("b.example", no, "", 0)

		source.set(nil, time.Hour) // the database hangs
		time.Sleep(2 * time.Minute)
		expect("a.example", yes, "", oldWait)
		time.Sleep(3 * time.Second)
		expect("a.example", yes, "", 0)
		expect("b.example", no, "", 0)
		expect("c.example", no, Timeout, defaultTimeout)
		source.set(&Error{Temporary, domains, "Access denied for user 'x'"}, 0)
		time.Sleep(time.Minute)
		expect("b.example", no, "", 0)
		expect("c.example", no, Temporary, 0)

		source.set(nil, 0)
		expect("c.example", no, "", 0)
		expect("c.example", no, "", 0)
		if want := (map[Outcome]int{Answered: 3, Old: 4, Failed: 2, Cached: 1}); !maps.Equal(outcomes, want) {
			t.Errorf("outcomes %v, want %v", outcomes, want)
		}
		synctest.Wait()
		if got := strings.Count(log.String(), "\n"); got != 2 {
			t.Errorf("%d log lines, want 2:\n%s", got, log.String())
		}
	})
}

// Answers are fresh for a limited time, and concurrent lookups of a key are one lookup.
func TestFreshAndCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &table{values: map[string]string{"a": "1"}, delay: time.Second}
		c := NewCache(source, CacheOptions{Positive: time.Minute, Negative: 10 * time.Second})
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if a, err := c.Lookup(t.Context(), domains, "a"); err != nil || a.Value != "1" {
					t.Errorf("%v, %v", a, err)
				}
			})
		}
		all.Wait()
		if source.lookups != 1 {
			t.Errorf("%d lookups, want 1", source.lookups)
		}
		if _, err := c.Lookup(t.Context(), domains, "b"); err != nil {
			t.Error(err)
		}
		source.set(nil, 0)
		time.Sleep(11 * time.Second)
		for _, key := range []string{"a", "b"} {
			if _, err := c.Lookup(t.Context(), domains, key); err != nil {
				t.Error(err)
			}
		}
		if source.lookups != 3 {
			t.Errorf("%d lookups, want 3: only the negative answer was old", source.lookups)
		}
	})
}

// Saved answers are used after a restart during an outage. Values may have any bytes.
func TestSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answers")
	want := map[string]string{"a": "1", "b": "two\nlines", "c": "Z\xfcrich \"x\" %d"}
	c := NewCache(&table{values: want}, CacheOptions{})
	keys := []string{"a", "b", "c", "none"}
	for _, key := range keys {
		if _, err := c.Lookup(t.Context(), domains, key); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path + "~" + rand.Text(), path + "~mine"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	later := NewCache(&table{err: errors.New("down")}, CacheOptions{Now: func() time.Time { return time.Now().Add(240 * time.Hour) }})
	if err := later.Load(path); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(path + "*"); err != nil || !slices.Equal(left, []string{path, path + "~mine"}) {
		t.Errorf("a draft of a killed process was not deleted, or another file was: %q, error %v", left, err)
	}
	for _, key := range keys {
		value, found := want[key]
		if got, err := later.Lookup(t.Context(), domains, key); err != nil || got != (Answer{value, found}) {
			t.Errorf("%s: %+v, %v", key, got, err)
		}
	}
}

// A permanent error, such as a value that is too long, does not stop the lookups of other keys.
func TestPermanentErrorOfOneKey(t *testing.T) {
	now := time.Now()
	source := &table{values: map[string]string{"a": "1"}}
	c := NewCache(source, CacheOptions{Now: func() time.Time { return now }})
	expect := func(key, want string, wantErr Kind) {
		t.Helper()
		if got, err := c.Lookup(t.Context(), domains, key); got.Value != want || kindOf(err) != wantErr {
			t.Errorf("%s: %v, error %v", key, got, err)
		}
	}
	expect("a", "1", "")
	now = now.Add(2 * defaultTTL)
	source.set(&Error{Permanent, domains, "the value is too long"}, 0)
	expect("long", "", Permanent)
	source.set(nil, 0)
	source.values["a"] = "2"
	expect("a", "2", "")
}

// The names of tables that a client invents do not fill the memory.
func TestOutagesAreBounded(t *testing.T) {
	c := NewCache(&table{err: errors.New("no such file")}, CacheOptions{})
	for i := range maxOutages + 10 {
		if _, err := c.Lookup(t.Context(), fmt.Sprint("hash:/", i), "a"); err == nil {
			t.Fatal("no error")
		}
	}
	if n := len(c.outages); n != 10 {
		t.Errorf("%d outages, want 10", n)
	}
}

// The least recently used answers are removed first.
func TestCacheIsBounded(t *testing.T) {
	big := strings.Repeat("x", maxReply-10)
	c := NewCache(&table{values: map[string]string{"first": big, "second": big}}, CacheOptions{})
	lookup := func(key string) {
		if _, err := c.Lookup(t.Context(), domains, key); err != nil {
			t.Fatal(err)
		}
	}
	lookup("first")
	lookup("second")
	for i := range maxBytes/len(big) - 2 {
		c.mu.Lock()
		c.keep(&kept{question{domains, fmt.Sprint(i)}, Answer{big, true}, time.Now()})
		c.mu.Unlock()
	}
	lookup("first")
	for i := range 2 {
		c.mu.Lock()
		c.keep(&kept{question{domains, fmt.Sprint("last", i)}, Answer{big, true}, time.Now()})
		c.mu.Unlock()
	}
	if c.answers[question{domains, "first"}] == nil || c.answers[question{domains, "second"}] != nil {
		t.Error("not the least recently used answer was removed")
	}
	if c.bytes > maxBytes || len(c.answers) != c.recent.Len() {
		t.Errorf("%d bytes, %d answers in the map, %d in the list", c.bytes, len(c.answers), c.recent.Len())
	}
}

// A client gets the answers of a server, and retries on a new connection if the server has closed the old one.
func TestClientAndServer(t *testing.T) {
	source := &table{values: map[string]string{"a": "1 2", "empty": "", "%s'\"": "quoted", "long": strings.Repeat("x", maxReply)}}
	address := filepath.Join(t.TempDir(), "s")
	start := func() func() {
		ln, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- (&Server{Source: source, Timeout: time.Second, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, ln)
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	stop := start()
	client := NewClient("unix", address)
	inline := "inline:{ a=b, c=d }"
	expect := func(name, key string, want Answer, wantErr Kind) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		got, err := client.Lookup(ctx, name, key)
		if got != want || kindOf(err) != wantErr {
			t.Errorf("%s %q: %v, error %v; want %v, error %q", name, key, got, err, want, wantErr)
		}
	}
	expect(domains, "a", Answer{"1 2", true}, "")
	expect(inline, "a", Answer{"1 2", true}, "")
	expect(domains, "empty", Answer{"", true}, "")
	expect(domains, "%s'\"", Answer{"quoted", true}, "")
	expect(domains, "none with space", Answer{}, "")
	expect(domains, "long", Answer{}, Permanent)
	expect(domains, "two\nlines", Answer{}, Permanent)
	expect("no-colon", "a", Answer{}, Permanent)
	source.set(&Error{Temporary, domains, "down"}, 0)
	expect(domains, "a", Answer{}, Temporary)
	source.set(nil, 2*time.Second)
	expect(domains, "a", Answer{}, Timeout)
	source.set(nil, 0)
	stop()
	expect(domains, "a", Answer{}, Temporary)
	defer start()()
	expect(domains, "a", Answer{"1 2", true}, "")
}

// Tables that no lookup can reach are errors of the configuration. Otherwise each lookup would fail, and mail would be deferred.
func TestValid(t *testing.T) {
	for table, want := range map[string]string{
		domains: "", "proxy:" + domains: "", "inline:{ a=b, c=d }": "", "socketmap:unix:/s:a": "",
		"socketmap:unix:s:a": "socketmap:unix:PATH:NAME", "texthash:/a b": "contains a space", "inline:{ a": "a space or a brace", "hash:/a\nb": "control character",
		"inline:{" + strings.Repeat("x", MaxTable) + "}": "too long", "hash": "TYPE:NAME",
	} {
		if err := Valid(table); err == nil != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", table, err, want)
		}
	}
}

func TestParseSocketmap(t *testing.T) {
	for _, c := range []struct{ table, network, address, name string }{
		{"socketmap:unix:/run/x/s:domains", "unix", "/run/x/s", "domains"},
		{"socketmap:inet:127.0.0.1:4711:a/b", "tcp", "127.0.0.1:4711", "a/b"},
		{"socketmap:inet:[::1]:4711:a", "tcp", "[::1]:4711", "a"},
		{table: "socketmap:unix:x:domains"}, {table: "socketmap:unix:/run/x"}, {table: "socketmap:unix:/run/x:"}, {table: "socketmap:inet:127.0.0.1:a"},
		{table: "socketmap:tcp:127.0.0.1:1:a"}, {table: "socketmap:"},
	} {
		client, err := ParseSocketmap(c.table)
		switch {
		case c.network == "":
			if err == nil {
				t.Errorf("%s: no error", c.table)
			}
		case err != nil:
			t.Errorf("%s: %v", c.table, err)
		case client.network != c.network || client.address != c.address || client.name != c.name:
			t.Errorf("%s: %s %s %s", c.table, client.network, client.address, client.name)
		}
	}
}

// Requests and replies that are not netstrings, or are too long, are errors. Bytes from the network never cause a panic.
func FuzzNetstring(f *testing.F) {
	for _, s := range []string{"3:abc,", "0:,", "03:abc,", "3:abc", "3:abcd,", "9999999:,", "100001:", ":", "-1:,", "", "12", "5:OK a\n,3:abc,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		in := bufio.NewReader(strings.NewReader(s))
		text, err := readNetstring(in, maxReply)
		if err != nil {
			return
		}
		if rest := s[len(s)-in.Buffered():]; len(s) < 4096 && string(netstring(text))+rest != s {
			t.Errorf("%q is read as %q", s, text)
		}
		answer, err := parseReply("t:t", text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || !slices.Contains([]Kind{Temporary, Timeout, Permanent}, e.Kind) || strings.ContainsAny(e.Reason, "\r\n") {
				t.Errorf("%q: error %v", text, err)
			}
		} else if answer.Found && "OK "+answer.Value != text && text != "OK" {
			t.Errorf("%q: value %q", text, answer.Value)
		}
		if table, key, ok := splitRequest(text); ok && table+" "+key != text {
			t.Errorf("%q is split into %q and %q", text, table, key)
		}
	})
}
