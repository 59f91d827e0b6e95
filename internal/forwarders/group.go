package forwarders

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/journal"
	"signpost/internal/term"
)

// Kind is the way in which a list or a forwarder is identified.
type Kind string

// The kinds, as they are named in the file of accepted forwarders.
const (
	Sealer  Kind = "sealer"  // the d= of its ARC seals in chains that pass
	Signer  Kind = "signer"  // the d= of its signatures that pass
	Network Kind = "network" // its clients, which have verified names
)

// Proposal is a list or a forwarder that could be trusted, with the evidence.
type Proposal struct {
	Kind    Kind      `json:"kind"`
	Name    string    `json:"name"`           // a domain or a network
	Host    string    `json:"host,omitempty"` // for a Network: the domain that the names of its clients share
	List    bool      `json:"list"`           // its header fields are those of a mailing list
	Failed  int       `json:"failed"`         // messages that failed DMARC
	Intact  int       `json:"intact"`         // relayed messages that passed
	Genuine int       `json:"genuine"`        // distinct messages, failed or intact, with a signature that only the author's organization can have made
	Broken  int       `json:"broken"`         // failed messages with a failing signature of the author's organization
	Saw     int       `json:"saw,omitempty"`  // for a Sealer: failed messages that passed DMARC there, as the sealer states
	Days    int       `json:"days"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Authors []Author  `json:"authors"` // authors of failed messages, the most frequent first
	Clients int       `json:"clients"` // addresses
	Sender  int       `json:"own_sender"`
}

// Author is an organization, by its domain.
type Author struct {
	Domain   string `json:"domain"`
	Messages int    `json:"messages"`
}

// group counts the messages of one sealer, signer or network.
type group struct {
	failed, intact, broken, list, saw, sender int
	authors                                   map[string]int // of failed messages
	days                                      map[int64]bool // of failed messages
	proofs                                    map[string]bool
	proofAuthors                              map[string]bool
	proofDays                                 map[int64]bool
	clients                                   map[netip.Addr]bool
}

func newGroup() *group {
	return &group{authors: map[string]int{}, days: map[int64]bool{}, proofs: map[string]bool{}, proofAuthors: map[string]bool{},
		proofDays: map[int64]bool{}, clients: map[netip.Addr]bool{}}
}

func (g *group) add(s *seen) {
	count := func(n *int, yes bool) {
		if yes {
			*n++
		}
	}
	count(&g.failed, s.failed)
	count(&g.intact, !s.failed)
	if s.failed {
		g.authors[s.author]++
		g.days[s.day] = true
		count(&g.broken, s.broken)
		count(&g.list, s.list)
		count(&g.saw, s.saw)
		count(&g.sender, s.ownSender)
	}
	// Messages with the same signature count as one message.
	if s.proof != "" && !g.proofs[s.proof] {
		g.proofs[s.proof], g.proofAuthors[s.author], g.proofDays[s.day] = true, true, true
	}
	if s.client.IsValid() {
		g.clients[s.client] = true
	}
}

func (g *group) convinces(k Kind) bool {
	largest := 0
	for _, n := range g.authors {
		largest = max(largest, n)
	}
	switch {
	case g.failed < MinMessages, len(g.days) < MinDays, len(g.authors) < MinAuthors, largest*100 > g.failed*mostOfOne:
		return false
	case len(g.proofDays) < MinDays, len(g.proofAuthors) < MinAuthors, len(g.proofs)*100 < (g.failed+g.intact)*leastGenuine:
		return false
	case k == Sealer && g.saw*2 < g.failed:
		return false // even if it were trusted, it would vouch for less than half of the failed messages
	}
	return true
}

func (g *group) proposal(k Kind, name string) Proposal {
	p := Proposal{Kind: k, Name: name, List: g.list*2 >= g.failed, Failed: g.failed, Intact: g.intact, Genuine: len(g.proofs), Broken: g.broken,
		Saw: g.saw, Days: len(g.days), Clients: len(g.clients), Sender: g.sender}
	if k == Network {
		_, p.Host, _ = strings.Cut(name, " ")
		p.Name = narrow(g.clients).String()
	}
	days := slices.Sorted(maps.Keys(g.days))
	p.First, p.Last = day(days[0]), day(days[len(days)-1])
	for _, c := range journal.MostFrequent(g.authors, len(g.authors)) {
		p.Authors = append(p.Authors, Author{c.Name, int(c.N)})
	}
	return p
}

// narrow returns the smallest network that contains all clients.
func narrow(clients map[netip.Addr]bool) netip.Prefix {
	var p netip.Prefix
	for a := range clients {
		if !p.IsValid() {
			p = netip.PrefixFrom(a, a.BitLen())
		}
		for !p.Contains(a) {
			p = netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
		}
	}
	return p
}

// What returns a short text for the kind of relay.
func (p Proposal) What() string {
	if p.List {
		return "mailing list"
	}
	return "forwarder"
}

// Comment returns the comment of the entry in the file: at most 120 bytes.
func (p Proposal) Comment() string {
	return fmt.Sprintf("%s: %d failing messages of %d organizations on %d days; %d proved genuine", p.What(), p.Failed, len(p.Authors), p.Days, p.Genuine)
}

// Evidence returns the reasons for a proposal. The lines are made printable, because senders chose some of the names.
func (p Proposal) Evidence() []string {
	const most = 5
	var authors []string
	for _, a := range p.Authors[:min(most, len(p.Authors))] {
		authors = append(authors, fmt.Sprintf("%s %d", a.Domain, a.Messages))
	}
	if more := len(p.Authors) - most; more > 0 {
		authors = append(authors, fmt.Sprintf("and %d more", more))
	}
	lines := []string{
		p.Name + ", a " + p.What(),
		fmt.Sprintf("%d messages failed DMARC, on %d days from %s to %s, of %d organizations: %s", p.Failed, p.Days, p.First.Format(time.DateOnly),
			p.Last.Format(time.DateOnly), len(p.Authors), strings.Join(authors, ", ")),
	}
	add := func(n int, format string, args ...any) {
		if n > 0 {
			lines = append(lines, fmt.Sprintf(format, args...))
		}
	}
	add(p.Broken, "%d of these have a signature of their author's organization that a relay broke", p.Broken)
	add(p.Intact, "%d more were relayed unchanged and passed DMARC", p.Intact)
	add(p.Genuine, "%d of all these messages are proved genuine, by signatures that only their authors' organizations can have made", p.Genuine)
	switch p.Kind {
	case Sealer:
		lines = append(lines, fmt.Sprintf("each has an ARC chain that passes, last sealed by %s, which states that %d had passed DMARC", p.Name, p.Saw))
	case Signer:
		lines = append(lines, "each has a signature of "+p.Name+" that passes")
	case Network:
		lines = append(lines, fmt.Sprintf("they came from %d clients whose names are in %s and verified by DNS", p.Clients, p.Host))
	}
	add(p.Sender, "%d of those that failed had an envelope sender of another domain, for which SPF passed", p.Sender)
	for i, line := range lines {
		lines[i] = term.Printable(line)
	}
	return lines
}
