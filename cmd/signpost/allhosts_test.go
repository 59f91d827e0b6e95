package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/cluster/messages"
	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/policy"
)

// handled returns the record of a message that a host received, or sent on.
func handled(queue, mid, client string, sent bool) *decision.Record {
	r := &decision.Record{Version: decision.Version, Code: policy.DMARCFail, Assignment: policy.Assignment{Role: policy.RoleVerify},
		Verdict: policy.Verdict{Action: policy.Tag, Reasons: []policy.Reason{{Code: policy.DMARCFail, Domain: "author.example"}}}}
	if sent {
		r.Code, r.Role, r.Verdict = policy.OwnResults, policy.RoleBypass, policy.Verdict{Action: policy.Accept}
	}
	r.QueueID, r.MessageID, r.OwnResults = queue, mid, sent
	r.Connection = policy.Connection{Client: netip.MustParseAddr(client), SMTP: true}
	r.Author = dmarc.Author{Domains: []string{"author.example"}}
	return r
}

// serveCluster answers searches of all hosts with messages.
func serveCluster(t *testing.T, socket string, all ...messages.Message) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: control.Server{
		Messages: func(_ context.Context, v url.Values) (any, error) {
			search, err := messages.Parse(v)
			if err != nil {
				return nil, err
			}
			f, err := search.Filter()
			a := messages.Answer{Refused: 1}
			for _, m := range all {
				if f.Matches(&m.Entry) {
					a.Messages = append(a.Messages, m)
				}
			}
			return a, err
		},
		Forget: func(_ context.Context, forms []string, dryRun bool) (n int, err error) {
			for _, m := range all {
				if m.Mentions(forms) {
					n++
				}
			}
			return n, nil
		},
		Message: func(_ context.Context, v url.Values) (any, error) {
			a := messages.Answer{}
			for _, m := range all {
				if id := v.Get("id"); m.HasQueueID(id) || m.HasMessageID(id) {
					a.Messages = append(a.Messages, m)
				}
			}
			return a, nil
		},
	}.Handler()}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

func clusterArchive(t *testing.T) (a *archive, socket string) {
	a = newArchive(t)
	socket = filepath.Join(a.dir, "s")
	text := fmt.Sprintf("state_dir = %q\n[cluster]\ndatabase = \"mysql://u@127.0.0.1:1/d\"\nname = \"out2\"\nsocket = %q\n", a.dir, socket)
	if err := os.WriteFile(a.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return a, socket
}

// explain --all-hosts shows what each host did with a message, in the order of time. log --all-hosts lists the messages of other hosts. If
// the cluster does not answer, the messages of this host are shown, with a line that states why.
func TestAllHosts(t *testing.T) {
	a, socket := clusterArchive(t)
	a.keep(handled("4BB1", "<1@author.example>", "10.0.0.1", true))
	code, out, errs := a.run("explain", "--all-hosts", "4BB1")
	if code != 0 || !strings.Contains(out, "4BB1") || !strings.Contains(errs, "signpost: only the messages of this host are searched: signpost cluster run does not answer") || !strings.Contains(errs, "\nhint: systemctl start signpost-cluster\n") {
		t.Errorf("without the cluster: %d\n%s\n%s", code, out, errs)
	}
	code, out, errs = a.run("log", "--all-hosts")
	if code != 0 || !strings.Contains(out, "4BB1") || !strings.Contains(errs, "only the messages of this host are searched") {
		t.Errorf("without the cluster: %d\n%s\n%s", code, out, errs)
	}
	at := time.Now().Add(-time.Hour)
	serveCluster(t, socket, messages.Message{Host: "mx1", Entry: journal.Entry{ID: at.UnixMicro(), Time: at, Record: *handled("4AA1", "<1@author.example>", "192.0.2.1", false)}})
	for _, id := range []string{"4AA1", "4BB1", "<1@author.example>", "1@author.example"} {
		code, out, errs = a.run("explain", "--all-hosts", id)
		first, second := strings.Index(out, "mx1 received it from 192.0.2.1: tag"), strings.Index(out, "out2 sent it on; it received it from 10.0.0.1: accept")
		if code != 0 || first < 0 || second < first || strings.Count(out, "\nhost         ") != 2 || !strings.Contains(errs, "other hosts may have handled this message too") {
			t.Errorf("%s: %d\n%s\n%s", id, code, out, errs)
		}
	}
	code, out, _ = a.run("explain", "--all-hosts", "--json", "4BB1")
	var parts []struct {
		Host    string `json:"host"`
		QueueID string `json:"queue_id"`
		ID      int64  `json:"id"`
	}
	if err := json.Unmarshal([]byte(out), &parts); err != nil || code != 0 || len(parts) != 2 || parts[0].Host != "mx1" || parts[1].Host != "out2" || parts[1].QueueID != "4BB1" || parts[0].ID == 0 {
		t.Errorf("%v\n%s", err, out)
	}
	code, out, errs = a.run("log", "--all-hosts", "--domain", "author.example")
	if code != 0 || !strings.Contains(out, "\nmx1 ") || !strings.Contains(out, "4AA1") || strings.Contains(out, "4BB1") || !strings.Contains(errs, "messages of the database were omitted: 1 not written by a host of the cluster") {
		t.Errorf("log: %d\n%s\n%s", code, out, errs)
	}
	if code, out, _ = a.run("log", "--all-hosts", "--json"); code != 0 || !strings.HasPrefix(out, `{"host":"mx1",`) {
		t.Errorf("log --json: %d\n%s", code, out)
	}
	if code, out, errs = a.run("log", "--all-hosts", "--action", "sign"); code != 0 || out != "" || !strings.Contains(errs, "only messages that failed or were acted upon") {
		t.Errorf("nothing found: %d\n%s\n%s", code, out, errs)
	}
	if code, _, errs = a.run("explain", "--all-hosts", "4none"); code != 1 || !strings.Contains(errs, "no message has the ID 4none in the journal of this host or in the database\nhint: ") {
		t.Errorf("unknown ID: %d\n%s", code, errs)
	}
	for _, args := range [][]string{{"-f"}, {"-n", "10001"}, {"--client", "10.0.0.0/8"}} {
		if code, _, errs = a.run(append([]string{"log", "--all-hosts"}, args...)...); code != 2 {
			t.Errorf("%q: %d\n%s", args, code, errs)
		}
	}
}

// Without a cluster, --all-hosts shows the messages of this host, and states why.
func TestAllHostsWithoutCluster(t *testing.T) {
	a := newArchive(t)
	a.keep(handled("4BB1", "<1@author.example>", "10.0.0.1", true))
	for _, args := range [][]string{{"log", "--all-hosts"}, {"explain", "--all-hosts", "4BB1"}} {
		code, out, errs := a.run(args...)
		if code != 0 || !strings.Contains(out, "4BB1") || !strings.Contains(errs, "cluster.database is not set") || !strings.Contains(errs, "\nhint: docs/cluster.md\n") {
			t.Errorf("%q: %d\n%s\n%s", args, code, out, errs)
		}
	}
}

// journal forget deletes also the copies in the database. If it cannot, it fails.
func TestForgetCopies(t *testing.T) {
	a, socket := clusterArchive(t)
	r := handled("4AA1", "<1@author.example>", "192.0.2.1", false)
	r.Sender = "ann@author.example"
	a.keep(r)
	if code, out, errs := a.run("journal", "forget", "ann@author.example"); code != 1 || !strings.Contains(out, "1 message deleted") || !strings.Contains(errs, "the copies in the database of the cluster are not deleted: ") {
		t.Errorf("without the cluster: %d\n%s\n%s", code, out, errs)
	}
	at := time.Now()
	serveCluster(t, socket, messages.Message{Host: "mx1", Entry: journal.Entry{ID: at.UnixMicro(), Time: at, Record: *r}})
	if code, out, errs := a.run("journal", "forget", "ann@author.example"); code != 0 || out != "0 messages deleted\ncopies in the database of the cluster: 1 deleted\n" {
		t.Errorf("%d\n%s\n%s", code, out, errs)
	}
}
