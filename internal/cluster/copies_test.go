package cluster_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signpost/internal/cluster"
	"signpost/internal/cluster/messages"
	"signpost/internal/journal"
	"signpost/policy"
)

// A row that no host wrote, or that was moved to another place, is omitted and counted. Changed columns do not make a message match.
func testShipForged(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	a.receive(reject("4A1", "a.example", "192.0.2.1"), reject("4A2", "b.example", "192.0.2.2"), reject("4A3", "c.example", "192.0.2.3"))
	a.ship()
	all, err := b.reader().List(t.Context(), messages.Search{Limit: 10})
	if err != nil || len(all.Messages) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	const columns = "key_id, queue, mid, domain, client, net, outcome, entry"
	id := all.Messages[0].ID
	for what, change := range map[string]string{
		"moved to another host": fmt.Sprintf("INSERT INTO sp_message (host, id, %[1]s) SELECT 'b', id, %[1]s FROM sp_message WHERE id = %[2]d AND host = 'a'", columns, id),
		"moved to another time": fmt.Sprintf("INSERT INTO sp_message (host, id, %[1]s) SELECT 'a', id + 1, %[1]s FROM sp_message WHERE id = %[2]d AND host = 'a'", columns, id),
		"changed":               fmt.Sprintf("INSERT INTO sp_message (host, id, %[1]s) SELECT 'c', id, key_id, queue, mid, domain, client, net, outcome, 'x' FROM sp_message WHERE id = %[2]d AND host = 'a'", columns, id),
	} {
		s.sql("%s", change)
		got := b.lists(what, messages.Search{}, "a/4A3 a/4A2 a/4A1")
		if got.Refused != 1 || !strings.Contains(got.Omitted(), "1 not written by a host") {
			t.Errorf("%s: %+v", what, got)
		}
		s.sql("DELETE FROM sp_message WHERE host <> 'a' OR id = %d", id+1)
	}
	s.sql("UPDATE sp_message SET domain = (SELECT d FROM (SELECT domain AS d FROM sp_message WHERE id = %d) AS x)", id)
	b.lists("changed columns", messages.Search{Query: journal.Query{Domain: "c.example"}}, "a/4A3")
	s.setKeys(cluster.NewSiteKey())
	if _, err := b.reader().List(t.Context(), messages.Search{Limit: 10}); err != nil {
		t.Fatal(err)
	}
	if got := b.lists("another site key", messages.Search{}, ""); got.Unknown != 3 {
		t.Errorf("another site key: %+v", got)
	}
}

// The host that holds the lease deletes expired copies of all hosts, also of hosts that no longer exist. Until then, they are not found.
func testShipExpiry(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	for _, h := range []*host{a, b} {
		h.ahead = -keep + time.Hour
		h.receive(reject("4"+h.name+"1", "old.example", "192.0.2.1"))
		h.ahead = 0
		h.receive(reject("4"+h.name+"2", "new.example", "192.0.2.1"))
		h.ship()
	}
	s.sql("INSERT INTO sp_message (host, id, key_id, queue, mid, domain, client, net, outcome, entry) VALUES ('gone', 1, '', 0, 0, 0, 0, 0, 0, '')")
	sync2(a, b)
	s.one("leader", a, a, b)
	old := messages.Search{Query: journal.Query{Domain: "old.example"}}
	b.lists("not expired", old, "b/4b1 a/4a1")
	short := b.reader()
	short.Keep = 24 * time.Hour
	if got, err := short.List(t.Context(), messages.Search{Query: old.Query, Limit: 10}); err != nil || len(got.Messages) > 0 {
		t.Errorf("expired: %+v, %v", got, err)
	}
	for _, h := range []*host{b, a} {
		shipper := h.shipper()
		shipper.Keep = 24 * time.Hour
		shipper.Ship(t.Context())
		want := map[*host]string{b: "a a b b gone", a: "a b"}[h]
		if got := strings.Fields(s.sql("SELECT host FROM sp_message ORDER BY host")); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("after host %s: %q, want %q", h.name, got, want)
		}
	}
	a.ahead = 20 * 24 * time.Hour
	a.shipper().Ship(t.Context())
	if got := strings.Fields(s.sql("SELECT host FROM sp_message ORDER BY host")); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("after host a, whose clock is ahead: %q, want a and b", got)
	}
}

// Searches that hang delay neither keys nor the lease.
func testSearchHangs(t *testing.T, s *site) {
	a := s.joined("a")
	a.Copies = s.open(s.server.URL(s.database))
	a.receive(reject("4A1", "a.example", "192.0.2.1"))
	a.ship()
	lock := "BEGIN; LOCK TABLE sp_message; SELECT pg_sleep(3)"
	if s.server.Name == "MariaDB" {
		lock = "LOCK TABLES sp_message WRITE; SELECT SLEEP(3)"
	}
	locked := make(chan struct{})
	go func() {
		defer close(locked)
		s.sql("%s", lock)
	}()
	var searches sync.WaitGroup
	defer searches.Wait()
	held := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := a.reader().List(ctx, messages.Search{Limit: 10})
		return err != nil
	}
	for !held() {
		select {
		case <-locked:
			t.Fatal("the table was never locked")
		default:
		}
	}
	for range 8 {
		searches.Go(func() { _, _ = a.reader().List(t.Context(), messages.Search{Limit: 10}) })
	}
	begin := time.Now()
	sync2(a)
	if _, err := a.Lease(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-locked:
		t.Errorf("the synchronization took %s: it waited for the searches", time.Since(begin))
	default:
	}
	<-locked
}

// A message that one host received and another sent on is one group, in the order of time.
func testShipParts(t *testing.T, s *site) {
	mx, out := s.joined("mx1"), s.joined("out2")
	received := mail{"4A1", "<1@list.example>", "author.example", "192.0.2.1", policy.Tag, false}
	mx.receive(received, reject("4A2", "other.example", "192.0.2.1"))
	sent := received
	sent.queue, sent.client, sent.sent, sent.action = "4B1", "10.0.0.1", true, policy.Hold
	out.receive(sent)
	mx.ship()
	out.ship()
	found := out.finds("queue ID of the second host", "4B1", "out2/4B1")
	if len(found.Messages) != 1 {
		return
	}
	all := append(found.Messages, out.finds("Message-ID", found.Messages[0].MessageID, "out2/4B1 mx1/4A1").Messages...)
	groups := messages.Group(all)
	if len(groups) != 1 || shown(messages.Answer{Messages: groups[0]}) != "mx1/4A1 out2/4B1" || !groups[0][1].OwnResults {
		t.Errorf("%+v", groups)
	}
}

// A host whose clock is ahead copies nothing until its journal has renumbered its messages. In another cluster, and after accept-restore, all
// messages are copied again.
func testShipAgain(t *testing.T, s *site) {
	a := s.joined("a")
	a.ahead = 48 * time.Hour
	a.receive(reject("4A1", "a.example", "192.0.2.1"))
	a.shipper().Ship(t.Context())
	if m := a.reported().Messages; !strings.Contains(m.Error, "later than the clock of the database") || m.Waiting != 1 {
		t.Errorf("clock ahead: %+v", m)
	}
	if err := os.RemoveAll(filepath.Dir(a.journal())); err != nil {
		t.Fatal(err)
	}
	a.ahead = 0
	a.receive(reject("4A2", "a.example", "192.0.2.1"))
	a.ship()
	a.lists("clock correct", messages.Search{}, "a/4A2")
	s.sql("DELETE FROM sp_message")
	a.ship()
	a.lists("deleted", messages.Search{}, "")
	if err := a.AcceptRestore(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.ship()
	a.lists("restored", messages.Search{}, "a/4A2")
	// The newest message is deleted. The others are not copied again.
	before := a.reported().Messages
	a.receive(reject("4A5", "a.example", "192.0.2.1"))
	a.ship()
	if n, err := journal.Forget(t.Context(), a.journal(), []string{"4a5@sender.example"}, false); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	a.ship()
	if m := a.reported().Messages; m.Shipped != before.Shipped+1 || m.Lost != before.Lost || m.Waiting != 0 {
		t.Errorf("after a deletion: %+v, before %+v", m, before)
	}
	a.receive(reject("4A6", "a.example", "192.0.2.1"))
	a.ship()
	a.lists("after a deletion", messages.Search{}, "a/4A6 a/4A5 a/4A2")
	// A host that has left copies nothing.
	b := s.joined("b")
	if err := b.Leave(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	a.receive(reject("4A3", "a.example", "192.0.2.1"))
	_ = a.Sync(t.Context())
	a.shipper().Ship(t.Context())
	b.lists("left", messages.Search{}, "a/4A6 a/4A5 a/4A2")
}

// The hosts have the same key for the words of addresses. It changes with the site key.
func testHashKey(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	key := func(h *host) string {
		path := filepath.Join(h.store.State, "cluster", "hash.key")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", fi, err)
		}
		return string(data)
	}
	first := key(a)
	if first != key(b) || len(first) != 65 {
		t.Errorf("keys %q and %q", first, key(b))
	}
	site, err := os.ReadFile(s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s.setKeys(string(site), cluster.NewSiteKey())
	sync2(a, b, a, b)
	if _, err := a.Rekey(t.Context()); err != nil {
		t.Fatal(err)
	}
	sync2(a, b)
	if key(a) == first || key(a) != key(b) {
		t.Error("after rekey, the hosts do not have the same new key")
	}
}

// Forget deletes the copies of all hosts that mention an address. It deletes no other copy.
func testShipForget(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	var many []mail
	for i := range 450 {
		many = append(many, reject(fmt.Sprintf("4C%d", i), "c.example", "192.0.2.9"))
	}
	a.receive(append(many, reject("4A1", "a.example", "192.0.2.1"))...)
	b.receive(reject("4A1", "a.example", "192.0.2.1"), reject("4A11", "a.example", "192.0.2.1"))
	a.ship()
	b.ship()
	for _, dryRun := range []bool{true, false} {
		if n, err := b.reader().Forget(t.Context(), []string{"4a1@sender.example"}, dryRun); n != 2 || err != nil {
			t.Errorf("%d copies, want 2; %v", n, err)
		}
	}
	a.lists("kept", messages.Search{Query: journal.Query{Domain: "a.example"}}, "b/4A11")
	if n := s.sql("SELECT COUNT(*) FROM sp_message"); n != "451" {
		t.Errorf("%s copies are left, want 451", n)
	}
}

// A search for an address, a Message-ID or a code finds the messages of each host, although the hosts keep only hashes of addresses, and also
// those from before a new site key.
func testShipAddresses(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	receive := func(h *host, n int) {
		secret, err := hex.DecodeString(strings.TrimSpace(read(t, filepath.Join(h.store.State, "cluster", "hash.key"))))
		if err != nil {
			t.Fatal(err)
		}
		j := journal.Open(journal.Options{Path: h.journal(), Limits: journal.Limits{Keep: keep, MaxSize: 64 << 20, Addresses: journal.Hash}, Now: h.store.Now, Log: slog.New(slog.DiscardHandler)})
		j.UseSecret(secret)
		for i := range n {
			r := reject(fmt.Sprintf("4%s%d", h.name, i), "author.example", "192.0.2.1").record()
			r.Recipients, r.Code = []string{fmt.Sprintf("Person%d@example.org", i%2)}, policy.DMARCFail
			j.Add(r)
		}
		j.Close()
		h.ship()
	}
	receive(a, 3)
	receive(b, 2)
	person := messages.Search{Query: journal.Query{Rcpt: "person1@example.org"}}
	b.lists("recipient", person, "b/4b1 a/4a1")
	b.lists("sender", messages.Search{Query: journal.Query{MailFrom: "4a0@sender.example"}}, "a/4a0")
	b.lists("code and domain", messages.Search{Query: journal.Query{Code: "dmarc_fail", Domain: "author.example"}}, "b/4b1 b/4b0 a/4a2 a/4a1 a/4a0")
	b.lists("another code", messages.Search{Query: journal.Query{Code: "local_deny"}}, "")
	first := b.lists("the first page", messages.Search{Query: journal.Query{Rcpt: "example.org"}, Limit: 2}, "b/4b1 b/4b0")
	b.lists("the next page", messages.Search{Query: journal.Query{Rcpt: "example.org"}, Limit: 2, After: first.More}, "a/4a2 a/4a1")
	s.setKeys(read(t, s.keyFile), cluster.NewSiteKey())
	sync2(a, b, a, b)
	if _, err := a.Rekey(t.Context()); err != nil {
		t.Fatal(err)
	}
	sync2(a, b)
	b.lists("after rekey", person, "b/4b1 a/4a1")
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
