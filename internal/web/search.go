package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/cluster/messages"
	"signpost/internal/domain"
	"signpost/internal/journal"
)

// perPage is the number of messages on a page.
const perPage = 50

// asked is a search as the user wrote it.
type asked struct {
	journal.Query
	ID       string
	AllHosts bool
	before   messages.Position // messages before this one; the host is only for AllHosts
}

type choice struct {
	journal.Choice
	Label   string
	Options []option
}

type option struct {
	Value, Label string
	Here         bool
}

// result is the result of a method.
type result struct{ Method, Word string }

// field is a field of a search that a user writes.
type field struct{ Name, Label, Value string }

// fields returns the fields of a search that a user writes.
func (a *asked) fields() (all []field) {
	labels := map[string]string{"domain": "Author domain", "client": "Client: address or network", "from": "From field: address or domain", "mail-from": "Envelope sender: address or domain",
		"rcpt": "Recipient: address or domain", "login": "Login", "message-id": "Message-ID", "selector": "DKIM selector", "code": "Reason code"}
	all = append(all, field{"id", "Queue ID or Message-ID", a.ID})
	for _, t := range a.Texts() {
		if t.Name != "message-id" || *t.Text != "" { // the first field finds it too
			all = append(all, field{t.Name, labels[t.Name], *t.Text})
		}
	}
	return all
}

type found struct {
	view
	Asked         asked
	Fields        []field
	Choices       []choice
	Looked        bool
	Until         time.Time
	Caption       string
	Messages      []messages.Message // the host is empty without AllHosts
	Older, Newest string
	Clustered     bool
	Note          string // about messages that are missing
}

// choices returns the fields of a search that have a list of words. The first word is "any".
func choices(q *journal.Query) []choice {
	all := []choice{{journal.Choice{Name: "since"}, "Period", []option{{Label: "all of the journal"}, {Value: "1h", Label: "the last hour"}, {Value: "24h", Label: "the last day"}, {Value: "168h", Label: "the last week"}}}}
	for _, c := range q.Choices() {
		label := map[string]string{"action": "Action", "role": "Role"}[c.Name]
		field := choice{c, cmp.Or(label, strings.ToUpper(c.Name)), []option{{Label: "any"}}}
		for _, w := range c.Words {
			field.Options = append(field.Options, option{Value: w, Label: w})
		}
		all = append(all, field)
	}
	return all
}

func (s *site) search(r *http.Request) shown {
	m := &found{view: view{Title: "Search"}}
	m.Choices = choices(&m.Asked.Query)
	f, err := m.read(r.URL.Query(), s.Now())
	m.Fields = m.Asked.fields()
	if err != nil {
		m.wrong(http.StatusBadRequest, err.Error())
		return m
	}
	if m.Clustered = s.Cluster != nil; m.Asked.AllHosts && m.Clustered {
		if err := m.findAll(r.Context(), *s.Cluster, f); err == nil {
			m.Looked = true
			return m
		} else if bad := (*fieldError)(nil); errors.As(err, &bad) {
			m.wrong(http.StatusBadRequest, err.Error())
			return m
		} else {
			cause, _, _ := strings.Cut(err.Error(), "\n")
			m.Note = "Only the messages of this host are listed: " + cause
		}
	}
	s.read(&m.view, func(reader *journal.Reader) error {
		err := m.find(r.Context(), reader, f)
		m.Looked = err == nil
		return err
	})
	return m
}

func (m *found) find(ctx context.Context, reader *journal.Reader, f journal.Filter) (err error) {
	if m.Asked.ID != "" {
		m.Caption = "Messages with this ID, newest first"
		all, err := reader.Find(ctx, m.Asked.ID)
		m.Messages = local(all)
		return err
	}
	m.Caption = "Messages, newest first"
	if m.Asked.before.ID != 0 {
		m.Newest = m.Asked.link(messages.Position{})
	}
	ids, err := reader.IDs(ctx, f, perPage+1, false)
	if err != nil {
		return err
	}
	if len(ids) > perPage {
		ids = ids[:perPage]
		m.Older = m.Asked.link(messages.Position{ID: ids[perPage-1]})
	}
	all, err := reader.Entries(ctx, ids)
	m.Messages = local(all)
	return err
}

// local returns messages of this host.
func local(all []journal.Entry) (out []messages.Message) {
	for _, e := range all {
		out = append(out, messages.Message{Entry: e})
	}
	return out
}

// fieldError is an error of a field of the search.
type fieldError struct{ error }

// findAll searches the messages of all hosts.
func (m *found) findAll(ctx context.Context, client control.Client, f journal.Filter) (err error) {
	var a messages.Answer
	if m.Asked.ID != "" {
		m.Caption = "Messages of all hosts with this ID, newest first"
		a, err = messages.Find(ctx, client, m.Asked.ID)
	} else {
		m.Caption = "Messages of all hosts that failed or were acted upon, newest first"
		search := messages.Search{Query: m.Asked.Query, Since: f.Since, Before: m.until(), After: m.Asked.before, Limit: perPage}
		if _, err := search.Filter(); err != nil {
			return &fieldError{err}
		}
		a, err = messages.List(ctx, client, search)
	}
	if err != nil {
		return err
	}
	if m.Asked.before.ID != 0 {
		m.Newest = m.Asked.link(messages.Position{})
	}
	if a.More != (messages.Position{}) {
		m.Older = m.Asked.link(a.More)
	}
	m.Messages, m.Note = a.Messages, a.Omitted()
	return nil
}

// until returns the end of the period, or zero.
func (m *found) until() time.Time {
	at, _ := time.Parse(time.RFC3339, m.Asked.Until)
	return at
}

func results(o journal.Outcome) (all []result) {
	for _, r := range []result{{"spf", o.SPF}, {"dkim", o.DKIM}, {"dmarc", o.DMARC}, {"arc", o.ARC}} {
		if r.Word != "" {
			all = append(all, r)
		}
	}
	return all
}

// read reads a search from the query of a URL.
func (m *found) read(q url.Values, now time.Time) (f journal.Filter, err error) {
	a := &m.Asked
	for _, field := range append(a.Texts(), journal.Text{Name: "id", Text: &a.ID}) {
		if *field.Text = strings.TrimSpace(q.Get(field.Name)); len(*field.Text) > maxText {
			*field.Text = ""
			return f, fmt.Errorf("the search text is longer than %d bytes", maxText)
		}
	}
	a.Failed, a.AllHosts, a.Until = q.Get("failed") != "", q.Get("all_hosts") != "", q.Get("until")
	for i, c := range m.Choices {
		word := q.Get(c.Name)
		if from, err := time.Parse(time.RFC3339, word); c.Name == "since" && err == nil { // from a chart
			c.Options = append(c.Options, option{Value: word, Label: "from " + from.In(now.Location()).Format("2006-01-02 15:04") + " on"})
			m.Choices[i] = c
		}
		at := slices.IndexFunc(c.Options, func(o option) bool { return o.Value == word })
		if at < 0 {
			return f, fmt.Errorf("%s: %q is not one of the allowed words", c.Label, word)
		}
		m.Choices[i].Options[at].Here = true
		switch {
		case c.Name == "since":
			a.Since = word
		case word != "":
			*c.Chosen = []string{word}
		}
	}
	if until := q.Get("until"); until != "" {
		at, err := time.Parse(time.RFC3339, until)
		if err != nil {
			return f, errors.New("until: not a time like 2006-01-02T15:04:05Z")
		}
		a.Until, m.Until = until, at
	}
	asked := a.Query
	asked.Domain = ""
	if f, err = asked.Filter(now); err != nil {
		return f, err
	}
	if f.Domain, err = domain.ParseArgument(a.Domain); err != nil {
		// If a message has no Author Domain, the journal has the domain of its sender instead, as the sender wrote it.
		f.Domain = strings.ToLower(a.Domain)
	}
	if before := q.Get("before"); before != "" {
		if a.before.ID, err = strconv.ParseInt(before, 10, 64); err != nil || a.before.ID < 0 {
			return f, fmt.Errorf("before: %q is not the number of a message", before)
		}
		a.before.Host = q.Get("before_host")
		if at := time.UnixMicro(a.before.ID); f.Before.IsZero() || at.Before(f.Before) {
			f.Before = at
		}
	}
	return f, nil
}

// link returns the URL of the same search for messages before a position, or for the newest messages if before is zero.
func (a *asked) link(before messages.Position) string {
	v := url.Values{}
	for _, c := range a.Choices() {
		v[c.Name] = *c.Chosen
	}
	for _, t := range append(a.Texts(), journal.Text{Name: "since", Text: &a.Since}, journal.Text{Name: "until", Text: &a.Until}, journal.Text{Name: "before_host", Text: &before.Host}) {
		if *t.Text != "" {
			v.Set(t.Name, *t.Text)
		}
	}
	if a.Failed {
		v.Set("failed", "1")
	}
	if a.AllHosts {
		v.Set("all_hosts", "1")
	}
	if before.ID != 0 {
		v.Set("before", strconv.FormatInt(before.ID, 10))
	}
	return search(v)
}
