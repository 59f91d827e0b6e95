package cluster_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster"
	"signpost/internal/cluster/messages"
	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/policy"
)

const keep = 14 * 24 * time.Hour

// mail is a message in a journal of a test.
type mail struct {
	queue, mid, domain, client string
	action                     policy.Action
	sent                       bool // it came from another host of the site
}

func (m mail) record() *decision.Record {
	e := policy.Evidence{QueueID: m.queue, MessageID: m.mid, Author: dmarc.Author{Domains: []string{m.domain}},
		Envelope: policy.Envelope{Sender: m.queue + "@sender.example"}, OwnResults: m.sent,
		Connection: policy.Connection{Client: netip.MustParseAddr(m.client), SMTP: true}}
	role := policy.RoleVerify
	if m.sent {
		role = policy.RoleBypass
	}
	return &decision.Record{Version: decision.Version, Assignment: policy.Assignment{Role: role}, Evidence: e, Verdict: policy.Verdict{Action: m.action}}
}

func (h *host) journal() string { return filepath.Join(h.store.State, "journal", "journal.db") }

// receive writes messages to the journal of a host.
func (h *host) receive(all ...mail) {
	h.t.Helper()
	j := journal.Open(journal.Options{Path: h.journal(), Limits: journal.Limits{Keep: keep, MaxSize: 64 << 20, Addresses: journal.Full},
		Now: h.store.Now, Log: slog.New(slog.NewTextHandler(h.log, nil)), Lost: func(c journal.Cause, n int) { h.t.Errorf("%s: %d", c, n) }})
	for _, m := range all {
		j.Add(m.record())
	}
	j.Close()
}

func (h *host) shipper() *cluster.Shipper {
	return &cluster.Shipper{Host: h.Host, Journal: h.journal(), Keep: keep}
}

// ship copies all messages, with a new process.
func (h *host) ship() {
	h.t.Helper()
	for s := h.shipper(); s.Ship(h.t.Context()); {
	}
	if m := h.reported().Messages; m == nil || m.Error != "" {
		h.t.Fatalf("host %s: %+v", h.name, m)
	}
}

func (h *host) reader() *cluster.Reader { return &cluster.Reader{Host: h.Host, Keep: keep} }

// shown returns the hosts and queue IDs of an answer.
func shown(a messages.Answer) string {
	var all []string
	for _, m := range a.Messages {
		all = append(all, m.Host+"/"+m.QueueID)
	}
	return strings.Join(all, " ")
}

// finds checks which messages have an ID.
func (h *host) finds(what, id, want string) messages.Answer {
	h.t.Helper()
	a, err := h.reader().Find(h.t.Context(), id)
	if got := shown(a); err != nil || got != want {
		h.t.Errorf("%s: %s on host %s: %q, want %q; %v", what, id, h.name, got, want, err)
	}
	return a
}

func (h *host) lists(what string, search messages.Search, want string) messages.Answer {
	h.t.Helper()
	if search.Limit == 0 {
		search.Limit = 100
	}
	a, err := h.reader().List(h.t.Context(), search)
	if got := shown(a); err != nil || got != want {
		h.t.Errorf("%s: %q, want %q; %v", what, got, want, err)
	}
	return a
}

func reject(queue, domain, client string) mail {
	return mail{queue, "<" + queue + "@" + domain + ">", domain, client, policy.Reject, false}
}

// Messages that were acted upon are found on each host, whichever host handled them. Other messages stay on their host. Nobody can read the
// entries in the database, or find an address in its columns.
func testShip(t *testing.T, s *site) {
	a, b := s.joined("a"), s.joined("b")
	accepted := reject("4A2", "good.example", "192.0.2.2")
	accepted.action = policy.Accept
	a.receive(reject("4A1", "bad.example", "192.0.2.1"), accepted, reject("4A3", "other.example", "2001:db8:1:2::3"))
	held := reject("4B1", "bad.example", "192.0.2.77")
	held.action = policy.Hold
	b.receive(held)
	a.ship()
	b.ship()
	for _, h := range []*host{a, b} {
		h.finds("queue ID", "4A1", "a/4A1")
		h.finds("Message-ID", "<4A1@bad.example>", "a/4A1")
		h.finds("Message-ID without brackets", "4B1@bad.example", "b/4B1")
		h.finds("accepted", "4A2", "")
		h.lists("all", messages.Search{}, "b/4B1 a/4A3 a/4A1")
		h.lists("domain", messages.Search{Query: journal.Query{Domain: "bad.example"}}, "b/4B1 a/4A1")
		h.lists("action", messages.Search{Query: journal.Query{Action: []string{"hold"}}}, "b/4B1")
		h.lists("domain and action", messages.Search{Query: journal.Query{Domain: "bad.example", Action: []string{"reject"}}}, "a/4A1")
		h.lists("client", messages.Search{Query: journal.Query{Client: "192.0.2.77"}}, "b/4B1")
		h.lists("client and domain", messages.Search{Query: journal.Query{Client: "192.0.2.77", Domain: "other.example"}}, "")
		h.lists("IPv6", messages.Search{Query: journal.Query{Client: "2001:db8:1:2::3"}}, "a/4A3")
		h.lists("network", messages.Search{Query: journal.Query{Client: "192.0.2.0/24"}}, "b/4B1 a/4A1")
		h.lists("small network", messages.Search{Query: journal.Query{Client: "192.0.2.64/26"}}, "b/4B1")
		h.lists("large network", messages.Search{Query: journal.Query{Client: "192.0.0.0/16", Action: []string{"reject"}}}, "a/4A1")
		h.lists("IPv6 network", messages.Search{Query: journal.Query{Client: "2001:db8::/40"}}, "a/4A3")
		h.lists("failed", messages.Search{Query: journal.Query{Failed: true}}, "b/4B1 a/4A3 a/4A1")
		h.lists("no outcome", messages.Search{Query: journal.Query{SPF: []string{"permerror"}}}, "")
	}
	first := a.lists("first", messages.Search{Limit: 1}, "b/4B1")
	second := a.lists("second", messages.Search{Limit: 1, After: first.More}, "a/4A3")
	if all := a.lists("third", messages.Search{Limit: 5, After: second.More}, "a/4A1"); all.More != (messages.Position{}) {
		t.Errorf("more after the last message: %+v", all.More)
	}
	m := first.Messages[0]
	got, err := a.reader().Get(t.Context(), messages.Position{ID: m.ID, Host: "b"})
	if err != nil || shown(got) != "b/4B1" || got.Messages[0].Client.String() != "192.0.2.77" || got.Messages[0].Action != policy.Hold {
		t.Errorf("%+v, %v", got, err)
	}
	a.lists("since", messages.Search{Since: m.Time}, "b/4B1")
	a.lists("before", messages.Search{Before: m.Time}, "a/4A3 a/4A1")
	if _, err := a.reader().List(t.Context(), messages.Search{Query: journal.Query{Client: "10.0.0.0/8"}, Limit: 1}); err == nil || !strings.Contains(err.Error(), "/16") {
		t.Errorf("a large network: %v", err)
	}
	for _, text := range []string{"bad.example", "192.0.2.1", "4A1"} {
		if n := s.sql("SELECT COUNT(*) FROM sp_message WHERE POSITION('%s' IN %s) > 0", text, s.asText("entry")); n != "0" {
			t.Errorf("the database shows %s", text)
		}
	}
	if m := a.reported().Messages; m.Shipped != 2 || m.Waiting != 0 || m.Lost != 0 || m.Bytes == 0 {
		t.Errorf("%+v", m)
	}
}

// asText returns the SQL expression of a binary column as text.
func (s *site) asText(column string) string {
	if s.server.Name == "MariaDB" {
		return "CAST(" + column + " AS CHAR CHARACTER SET latin1)"
	}
	return "encode(" + column + ", 'escape')"
}

// A process that is killed before it saves the watermark, or before the database commits, neither loses nor repeats a message.
func testShipCrash(t *testing.T, s *site) {
	a := s.joined("a")
	state := filepath.Join(a.store.State, "cluster", "messages.json")
	a.receive(reject("4A1", "a.example", "192.0.2.1"))
	a.ship()
	before, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	a.receive(reject("4A2", "a.example", "192.0.2.1"), reject("4A3", "a.example", "192.0.2.1"))
	a.ship()
	for what, text := range map[string]string{"killed before it saved the watermark": string(before), "the watermark is damaged": "{", "the watermark is lost": ""} {
		if err := os.WriteFile(state, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		a.ship()
		a.lists(what, messages.Search{}, "a/4A3 a/4A2 a/4A1")
		if m := a.reported().Messages; m.Lost != 0 || m.Waiting != 0 {
			t.Errorf("%s: %+v", what, m)
		}
	}
	// The commit fails: the connection breaks at each packet in turn.
	proxy := s.server.Proxy(t)
	s.start(a, proxy.URL(s.database))
	a.receive(reject("4A4", "a.example", "192.0.2.1"))
	shipper := a.shipper()
	for i := range 5 {
		sync2(a)
		proxy.Delay(time.Duration(i) * time.Millisecond)
		cut := time.AfterFunc(time.Duration(i)*3*time.Millisecond, proxy.Cut)
		shipper.Ship(t.Context())
		cut.Stop()
	}
	proxy.Delay(0)
	shipper.Ship(t.Context())
	a.lists("the connection broke", messages.Search{}, "a/4A4 a/4A3 a/4A2 a/4A1")
	// More messages than one round copies.
	var many []mail
	for i := range 2100 {
		many = append(many, reject(fmt.Sprintf("4C%d", i), "c.example", "192.0.2.9"))
	}
	a.receive(many...)
	a.ship()
	if n := s.sql("SELECT COUNT(*) FROM sp_message WHERE host = 'a'"); n != "2104" {
		t.Errorf("%s messages, want 2104", n)
	}
	// The pages of a search have each message once, the newest first.
	pages, last, n := 0, messages.Message{}, 0
	for search := (messages.Search{Limit: messages.MaxLimit}); pages == 0 || search.After != (messages.Position{}); pages++ {
		page, err := a.reader().List(t.Context(), search)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Messages {
			if n++; n > 1 && m.ID >= last.ID {
				t.Fatalf("message %d follows %d", m.ID, last.ID)
			}
			last = m
		}
		search.After = page.More
	}
	if n != 2104 || pages != 5 {
		t.Errorf("%d messages in %d pages, want 2104 in 5", n, pages)
	}
	if m := a.reported().Messages; m.Lost != 0 || m.Waiting != 0 {
		t.Errorf("%+v", m)
	}
}

// While the database is down for a day, messages wait in the journal. What the journal deletes meanwhile is counted.
func testShipOutage(t *testing.T, s *site) {
	a := s.host("a")
	proxy := s.server.Proxy(t)
	s.start(a, proxy.URL(s.database))
	if _, err := a.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.receive(reject("4A1", "a.example", "192.0.2.1"))
	shipper := a.shipper()
	shipper.Ship(t.Context())
	proxy.Refuse(true)
	a.ahead = -24 * time.Hour // the messages of the outage begin a day ago
	if err := os.RemoveAll(filepath.Dir(a.journal())); err != nil {
		t.Fatal(err)
	}
	for i := range 25 {
		a.ahead = time.Duration(i-25) * time.Hour
		a.receive(reject(fmt.Sprintf("4D%d", i), "d.example", "192.0.2.1"))
		if shipper.Ship(t.Context()) {
			t.Fatal("copied without a database")
		}
	}
	a.ahead = 0
	_ = a.Sync(t.Context())
	if _, err := a.reader().Find(t.Context(), "4A1"); err == nil || !strings.Contains(err.Error(), "the database has not been reachable since ") {
		t.Errorf("a search without a database: %v", err)
	}
	m := a.reported().Messages
	if m.Waiting != 25 || m.Lost != 0 || m.Error == "" || time.Since(m.Since).Round(time.Hour) != 25*time.Hour {
		t.Errorf("during the outage: %+v", m)
	}
	// The journal deletes messages before they are copied.
	if n, err := journal.Forget(t.Context(), a.journal(), []string{"4d3@sender.example"}, false); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	proxy.Refuse(false)
	sync2(a)
	for shipper.Ship(t.Context()) {
	}
	if m := a.reported().Messages; m.Waiting != 0 || m.Lost != 1 || m.Error != "" || !m.Since.IsZero() {
		t.Errorf("after the outage: %+v", m)
	}
	if n := s.sql("SELECT COUNT(*) FROM sp_message WHERE host = 'a'"); n != "25" {
		t.Errorf("%s messages after the outage, want 25", n)
	}
	// The journal is damaged and replaced during the next outage.
	proxy.Refuse(true)
	a.receive(reject("4E1", "e.example", "192.0.2.1"), reject("4E2", "e.example", "192.0.2.1"))
	shipper.Ship(t.Context())
	if err := os.Rename(a.journal(), a.journal()+".broken"); err != nil {
		t.Fatal(err)
	}
	a.receive(reject("4E3", "e.example", "192.0.2.1"))
	shipper = a.shipper() // a new process
	shipper.Ship(t.Context())
	if m := a.reported().Messages; m.Lost != 3 || m.Waiting != 1 || m.LostAt.IsZero() {
		t.Errorf("the journal was replaced: %+v", m)
	}
	proxy.Refuse(false)
	sync2(a)
	shipper.Ship(t.Context())
	a.lists("the journal was replaced", messages.Search{Query: journal.Query{Domain: "e.example"}}, "a/4E3")
	if !strings.Contains(a.log.take(), "cluster messages lost") {
		t.Error("the loss was not logged")
	}
}
