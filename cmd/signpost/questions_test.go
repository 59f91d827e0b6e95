package main

import (
	"encoding/csv"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/internal/spf"
	"signpost/policy"
)

// written is a message as the log of the daemon has it.
type written struct {
	queue, sender, rcpt, second, login, domain, author, client, mid, selector, code string
	role                                                                            policy.Role
	action                                                                          policy.Action
	spf                                                                             spf.Status
	dmarc                                                                           dmarc.Status
}

// tenThousand returns ten thousand messages between a few persons, so that each question has several answers.
func tenThousand() (all []written) {
	random := rand.New(rand.NewPCG(29, 1))
	one := func(words ...string) string { return words[random.IntN(len(words))] }
	for n := range 10_000 {
		w := written{queue: fmt.Sprintf("4Q%05d", n), mid: fmt.Sprintf("<m%d@%s>", n%9000, one("a.example", "b.example")), client: fmt.Sprintf("192.0.%d.%d", random.IntN(8), random.IntN(200))}
		w.sender = one("ann", "bob", "carol", "Dave.Smith", "news+b17", "münchen") + "@" + one("sender.example", "list.example", "xn--bcher-kva.example", "example.org")
		w.rcpt, w.second = one("ann", "bob", "eve")+"@"+one("example.org", "example.net"), one("", "", "postmaster@example.org")
		w.domain = one("sender.example", "author.example", "example.org", "xn--bcher-kva.example")
		w.author = one("ann", "Bob", "münchen") + "@" + w.domain
		switch random.IntN(4) {
		case 0:
			w.role, w.action, w.login, w.selector, w.code = policy.RoleSign, policy.Sign, one("ann", "bob@example.org", "Carol"), one("s1", "s2"), string(policy.Authenticated)
		case 1:
			w.sender = ""
			fallthrough
		case 2:
			w.role, w.action, w.spf, w.dmarc, w.selector = policy.RoleVerify, policy.Accept, spf.Pass, dmarc.Pass, one("google", "k1", "s1")
		case 3:
			w.role, w.action, w.spf, w.dmarc, w.code = policy.RoleVerify, policy.Reject, spf.Fail, dmarc.Fail, one(string(policy.DMARCFail), string(policy.LocalDeny))
		}
		all = append(all, w)
	}
	return all
}

func (w written) record() *decision.Record {
	r := &decision.Record{Version: decision.Version, Assignment: policy.Assignment{Role: w.role}, Code: policy.Code(w.code), Verdict: policy.Verdict{Action: w.action}}
	e := &r.Evidence
	e.QueueID, e.MessageID, e.Author.Domains, e.Author.Addresses = w.queue, w.mid, []string{w.domain}, []string{"first@other.example", w.author}
	e.Connection = policy.Connection{Client: netip.MustParseAddr(w.client), SMTP: true}
	e.Envelope = policy.Envelope{Sender: w.sender, Login: w.login, Addressees: 1, Recipients: []string{w.rcpt}}
	if w.second != "" {
		e.Envelope.Addressees, e.Envelope.Recipients = 2, append(e.Envelope.Recipients, w.second)
	}
	if w.role == policy.RoleSign {
		r.Selectors = []string{w.selector}
		return r
	}
	e.SPF = &spf.Result{Status: w.spf}
	e.DMARC = []dmarc.Result{{Status: w.dmarc}}
	if w.selector != "" {
		e.DKIM = []dkim.Result{{Status: dkim.Pass, Domain: w.domain, Selector: w.selector}}
	}
	if w.code != "" {
		r.Verdict.Reasons = []policy.Reason{{Code: policy.Code(w.code)}}
	}
	return r
}

// More than twenty questions about ten thousand messages: each answer has exactly the messages that a count over the list has, whether the journal keeps
// addresses or hashes of them.
func TestTwentyQuestions(t *testing.T) {
	all := tenThousand()
	at := func(address, domain string) bool { return strings.HasSuffix(address, "@"+domain) }
	network := netip.MustParsePrefix("192.0.3.0/25")
	questions := []struct {
		question, flags string
		is              func(w written) bool
	}{
		{"Did bob get mail from ann?", "--mail-from ann@sender.example --rcpt bob@example.org", func(w written) bool { return w.sender == "ann@sender.example" && w.rcpt == "bob@example.org" }},
		{"What did ann receive?", "--rcpt ANN@Example.ORG", func(w written) bool { return w.rcpt == "ann@example.org" }},
		{"What did the postmaster receive, as the second recipient?", "--rcpt postmaster@example.org", func(w written) bool { return w.second == "postmaster@example.org" }},
		{"What came for example.net?", "--rcpt example.net", func(w written) bool { return at(w.rcpt, "example.net") }},
		{"What did Dave send?", "--mail-from dave.smith@list.example", func(w written) bool { return w.sender == "Dave.Smith@list.example" }},
		{"What came from the list?", "--mail-from @list.example", func(w written) bool { return at(w.sender, "list.example") }},
		{"What came from a U-label domain?", "--mail-from ann@bücher.example", func(w written) bool { return w.sender == "ann@xn--bcher-kva.example" }},
		{"What came from an address with an extension?", "--mail-from news+b17@example.org", func(w written) bool { return w.sender == "news+b17@example.org" }},
		{"What came from an internationalized address?", "--mail-from münchen@example.org", func(w written) bool { return w.sender == "münchen@example.org" }},
		{"Which bounces came?", "--mail-from <>", func(w written) bool { return w.sender == "" }},
		{"What did the login ann send?", "--login ann", func(w written) bool { return w.login == "ann" }},
		{"What did the login bob@example.org send to eve?", "--login bob@example.org --rcpt eve@example.net", func(w written) bool { return w.login == "bob@example.org" && w.rcpt == "eve@example.net" }},
		{"What did carol send?", "--login carol", func(w written) bool { return w.login == "Carol" }},
		{"Where is this message?", "--message-id m77@a.example", func(w written) bool { return w.mid == "<m77@a.example>" }},
		{"Which mail has From author.example?", "--domain author.example", func(w written) bool { return w.domain == "author.example" }},
		{"Which mail has bob of author.example as an author?", "--from bob@author.example", func(w written) bool { return w.author == "Bob@author.example" }},
		{"Which mail has an author at a U-label domain?", "--from bücher.example", func(w written) bool { return at(w.author, "xn--bcher-kva.example") }},
		{"What came from this network?", "--client 192.0.3.0/25", func(w written) bool { return network.Contains(netip.MustParseAddr(w.client)) }},
		{"Which signatures of Google did we see?", "--selector google", func(w written) bool { return w.selector == "google" }},
		{"What did we sign with s1?", "--selector s1 --role sign", func(w written) bool { return w.selector == "s1" && w.role == policy.RoleSign }},
		{"What did my deny list reject?", "--code local_deny", func(w written) bool { return w.code == "local_deny" }},
		{"What was rejected for ann because of DMARC?", "--code dmarc_fail --rcpt ann@example.org --action reject", func(w written) bool { return w.code == "dmarc_fail" && w.rcpt == "ann@example.org" }},
	}
	for _, keep := range []journal.Addresses{journal.Full, journal.Hash} {
		a := newArchive(t)
		j := journal.Open(journal.Options{Path: a.journal(), Limits: journal.Limits{Keep: 24 * time.Hour, MaxSize: 64 << 20, Addresses: keep}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		for i, w := range all {
			if j.Add(w.record()); i%2000 == 1999 { // fewer than the queue of the journal
				j.Close()
				j = journal.Open(journal.Options{Path: a.journal(), Limits: journal.Limits{Keep: 24 * time.Hour, MaxSize: 64 << 20, Addresses: keep}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
			}
		}
		j.Close()
		for _, q := range questions {
			var want []string
			for _, w := range all {
				if q.is(w) {
					want = append(want, w.queue)
				}
			}
			if len(want) == 0 {
				t.Errorf("%s: the messages have no answer", q.question)
			}
			code, out, stderr := a.run(append([]string{"log", "-n", "20000"}, strings.Fields(q.flags)...)...)
			if got := queueIDs(out); code != 0 || stderr != "" || strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("%s, addresses %s: %s: %d messages, want %d; %d %s", q.question, keep, q.flags, len(got), len(want), code, stderr)
			}
			if len(q.flags) > 60 {
				continue
			}
			code, out, _ = a.run(append([]string{"explain"}, strings.Fields(q.flags)...)...)
			if newest := want[len(want)-1]; code != 0 || !strings.Contains(out, newest) {
				t.Errorf("%s, addresses %s: explain %s does not explain %s: %d\n%s", q.question, keep, q.flags, newest, code, out)
			}
		}
		if keep == journal.Hash {
			_, out, _ := a.run("log", "-n", "20000", "--json")
			for _, secret := range []string{"ann@", "bob@", "dave", "postmaster", "\"ann\"", "carol", "münchen", "news+"} {
				if strings.Contains(strings.ToLower(out), secret) {
					t.Errorf("the journal with hashes contains %q", secret)
				}
			}
		}
	}
}

// The CSV has the words of the log as column names, the offset of the time, and nothing that a spreadsheet would calculate.
func TestLogCSV(t *testing.T) {
	a := newArchive(t)
	w := tenThousand()[0]
	w.sender, w.login = "=cmd@sender.example", "+1"
	a.keep(w.record())
	code, out, stderr := a.run("log", "--csv")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if code != 0 || stderr != "" || err != nil || len(rows) != 2 {
		t.Fatalf("%d %s %v\n%s", code, stderr, err, out)
	}
	cell := map[string]string{}
	for i, name := range rows[0] {
		cell[name] = rows[1][i]
	}
	if cell["queue_id"] != w.queue || cell["mail_from"] != "'=cmd@sender.example" || cell["login"] != "'+1" || cell["rcpts"] != w.rcpt+" "+w.second || cell["message_id"] != w.mid {
		t.Errorf("%q", cell)
	}
	if _, err := time.Parse(time.RFC3339, cell["time"]); err != nil {
		t.Error(err)
	}
	if code, out, _ := a.run("log", "--csv", "--rcpt", "nobody@example.org"); code != 0 || strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "time,queue_id,") {
		t.Errorf("no messages: %d %q", code, out)
	}
}
