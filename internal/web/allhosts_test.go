package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/cluster/messages"
	"signpost/internal/journal"
	"signpost/policy"
)

// The search of all hosts shows messages of other hosts, and each has a page. If the cluster does not answer, the page shows the messages of
// this host, and why.
func TestAllHosts(t *testing.T) {
	site := newSite(t, record(0), record(3))
	if page := get(t, site.Handler(), "/search").Body.String(); strings.Contains(page, "All hosts") {
		t.Error("a host without a cluster offers a search of all hosts")
	}
	socket := filepath.Join(t.TempDir(), "s")
	site.Cluster = &control.Client{Socket: socket}
	page := get(t, site.Handler(), "/search?all_hosts=1").Body.String()
	if !strings.Contains(page, "Only the messages of this host are listed: signpost cluster run does not answer") || !strings.Contains(page, "4fXy0003") {
		t.Errorf("without an answer: %s", page)
	}
	at := time.Now().Add(-time.Hour)
	other := messages.Message{Host: "mx1", Entry: journal.Entry{ID: at.UnixMicro(), Time: at, Record: *record(6)}}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(ok bool) (any, error) {
		if !ok {
			return messages.Answer{Refused: 2}, nil
		}
		return messages.Answer{Messages: []messages.Message{other}, More: messages.Position{ID: other.ID, Host: "mx1"}}, nil
	}
	server := &http.Server{Handler: control.Server{
		Messages: func(_ context.Context, v url.Values) (any, error) {
			s, err := messages.Parse(v)
			if err != nil || s.Domain != "sender6.example" || !s.Failed || s.Limit != perPage {
				return nil, errors.Join(err, errors.New("unexpected search"))
			}
			return answer(s.After == messages.Position{})
		},
		Message: func(_ context.Context, v url.Values) (any, error) {
			return answer(v.Get("id") == "4fXy0006" || v.Get("host") == "mx1")
		},
	}.Handler()}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	for path, want := range map[string][]string{
		"/search?all_hosts=1&failed=1&domain=sender6.example": {"4fXy0006</a> <span class=\"note\">on mx1</span>", "?host=mx1\"", "before_host=mx1", "all_hosts=1", "checked"},
		"/search?all_hosts=1&id=4fXy0006":                     {"4fXy0006</a>", "on mx1"},
		"/search?all_hosts=1&id=4none":                        {"No messages found", "messages of the database were omitted: 2 not written by a host"},
		"/search?all_hosts=1&client=10.0.0.0/8":               {"at least 16 bits"},
		"/message/1?host=mx1":                                 {"<bdi>mx1</bdi>", "4fXy0006", "550 5.7.1"},
		"/message/1?host=mx2":                                 {"messages of the database were omitted"},
	} {
		page := get(t, site.Handler(), path).Body.String()
		for _, w := range want {
			if !strings.Contains(page, w) {
				t.Errorf("%s: not on the page: %s\n%s", path, w, page)
			}
		}
	}
}

// The page of a message shows what the other hosts did with it, in the order of time. A message of an unauthenticated client with the same Message-ID is not
// among them.
func TestParts(t *testing.T) {
	sentOn := record(3)
	sentOn.Role, sentOn.OwnResults = policy.RoleBypass, true
	site := newSite(t, sentOn)
	reader, err := site.Open()
	if err != nil {
		t.Fatal(err)
	}
	found, err := reader.Find(t.Context(), sentOn.QueueID)
	reader.Close()
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	part := func(host string, before time.Duration, client string) messages.Message {
		r := record(3)
		r.QueueID, r.Role, r.Client = "4"+host, policy.RoleVerify, netip.MustParseAddr(client)
		at := found[0].Time.Add(-before)
		return messages.Message{Host: host, Entry: journal.Entry{ID: at.UnixMicro(), Time: at, Record: *r}}
	}
	all := []messages.Message{part("mx1", time.Second, "192.0.2.1"), part("mx2", time.Hour, "198.51.100.9")}
	site.Host, site.Cluster = "out", &control.Client{Socket: filepath.Join(t.TempDir(), "s")}
	l, err := net.Listen("unix", site.Cluster.Socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: control.Server{Message: func(context.Context, url.Values) (any, error) { return messages.Answer{Messages: all}, nil }}.Handler()}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	words := strings.Join(strings.Fields(text(parsed(t, get(t, site.Handler(), fmt.Sprintf("/message/%d", found[0].ID)).Body.String()))), " ")
	first, second := strings.Index(words, "mx1 received it from 192.0.2.1"), strings.Index(words, "out sent it on")
	if first < 0 || second < first || strings.Contains(words, "198.51.100.9") {
		t.Error(words)
	}
}
