package whatif

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"signpost/internal/journal"
)

const (
	// maxNames limits the names of a kind that are counted for each change, because senders can invent any number of names.
	maxNames = 10_000
	// examples is the number of messages named for each change.
	examples = 3
)

// Tally counts the decisions that would change.
type Tally struct {
	Messages int
	Same     int
	Granted  int // would be signed if there is a usable key
	First    time.Time
	Last     time.Time
	changes  map[[2]Fate]*change
	unknown  map[string]int
}

type change struct {
	n                         int
	authors, clients, senders names
	examples                  []Example // the newest last
}

// Example is a message.
type Example struct {
	QueueID string    `json:"queue_id"`
	Time    time.Time `json:"time"`
	Author  string    `json:"author,omitempty"`
	Client  string    `json:"client,omitempty"`
}

// names counts the messages of each name, for at most maxNames names. It counts the messages of all other names together.
type names struct {
	n    map[string]int
	rest int
}

func (c *names) add(name string) {
	if c.n == nil {
		c.n = map[string]int{}
	}
	if _, known := c.n[name]; !known && len(c.n) == maxNames {
		c.rest++
		return
	}
	c.n[name]++
}

// Add counts a message and its new decision.
func (t *Tally) Add(e *journal.Entry, now Judged) {
	if t.Messages++; t.Messages == 1 {
		t.First = e.Time
		t.changes, t.unknown = map[[2]Fate]*change{}, map[string]int{}
	}
	t.Last = e.Time
	was := Was(e)
	switch {
	case now.Unknown != "":
		t.unknown[now.Unknown]++
		return
	case now.Fate == was:
		t.Same++
		return
	}
	if now.Granted {
		t.Granted++
	}
	c := t.changes[[2]Fate{was, now.Fate}]
	if c == nil {
		c = &change{}
		t.changes[[2]Fate{was, now.Fate}] = c
	}
	c.n++
	sender := e.Sender
	if sender = strings.ToLower(sender[strings.LastIndexByte(sender, '@')+1:]); sender == "" {
		sender = "<>"
	}
	author := cmp.Or(strings.Join(e.Author.Domains, ", "), "no readable author")
	c.authors.add(author)
	c.clients.add(e.Addr())
	c.senders.add(sender)
	if c.examples = append(c.examples, Example{e.QueueID, e.Time, author, e.Addr()}); len(c.examples) > examples {
		c.examples = c.examples[1:]
	}
}

// Result is a Tally in the form of its output.
type Result struct {
	First    time.Time `json:"first,omitzero"` // the times of the oldest and the newest message
	Last     time.Time `json:"last,omitzero"`
	Messages int       `json:"messages"`
	Same     int       `json:"same"`
	Changed  int       `json:"changed"`
	Unjudged int       `json:"undecidable"`
	Granted  int       `json:"key_assumed,omitempty"`
	Changes  []Change  `json:"changes"`
	Unknown  []Count   `json:"unknown"`
}

// Change is a changed decision, with the messages to which it applies.
type Change struct {
	From     Fate      `json:"from"`
	To       Fate      `json:"to"`
	Messages int       `json:"messages"`
	Authors  []Count   `json:"authors"` // the most frequent first, as in Clients and Senders
	Clients  []Count   `json:"clients"`
	Senders  []Count   `json:"senders"`  // domains of the envelope
	Examples []Example `json:"examples"` // the newest first
}

func (c Change) sortKey() string {
	return string(c.From.Action+c.To.Action) + c.From.Reply + c.To.Reply + string(c.From.Role+c.To.Role)
}

// Count is the number of messages of a name.
type Count struct {
	Name     string `json:"name"`
	Messages int    `json:"messages"`
}

// others is the name for all names that are counted together.
const others = "(others)"

// Result returns the counts, the most frequent change first, with at most the given number of names of each kind.
func (t *Tally) Result(most int) Result {
	r := Result{First: t.First, Last: t.Last, Messages: t.Messages, Same: t.Same, Granted: t.Granted, Changes: []Change{}, Unknown: []Count{}}
	for fates, c := range t.changes {
		newest := slices.Clone(c.examples)
		slices.Reverse(newest)
		r.Changed += c.n
		r.Changes = append(r.Changes, Change{fates[0], fates[1], c.n, c.authors.top(most), c.clients.top(most), c.senders.top(most), newest})
	}
	slices.SortFunc(r.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.sortKey(), b.sortKey()))
	})
	r.Unknown = names{n: t.unknown}.top(len(t.unknown))
	r.Unjudged = r.Messages - r.Same - r.Changed
	return r
}

// top returns the most frequent names, and the sum of the others.
func (c names) top(most int) []Count {
	all, rest := []Count{}, c.rest
	for i, x := range journal.MostFrequent(c.n, len(c.n)) {
		if i < most {
			all = append(all, Count{x.Name, int(x.N)})
		} else {
			rest += int(x.N)
		}
	}
	if rest > 0 {
		all = append(all, Count{others, rest})
	}
	return all
}
