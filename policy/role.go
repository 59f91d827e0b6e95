package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Role is what Signpost does with a message.
type Role string

// The roles.
const (
	Sign   Role = "sign"
	Verify Role = "verify"
	Leave  Role = "leave"
	Refuse Role = "refuse"
)

// Assignment is the role that a message gets, and why.
type Assignment struct {
	Role        Role   `json:"role"`
	Reason      string `json:"reason"`
	ResultsOnly bool   `json:"results_only,omitempty"` // Verify: whatever comes out, the message is not refused or held
	Domain      string `json:"domain,omitempty"`       // Sign: the hosted domain whose key signs
	Reply       Reply  `json:"reply,omitzero"`         // Refuse
}

// AssignRole gives the first row of the roles table that fits (README.md has the table).
func AssignRole(e Evidence, r Rules) Assignment {
	c := e.Connection
	if !c.SMTP && !c.Client.IsLoopback() {
		// postsuper -r hands a stranger's queued mail to cleanup(8) again, under the stranger's address.
		if e.Oversize {
			return Assignment{Role: Leave, Reason: refuseOversize().Reason}
		}
		return Assignment{Role: Verify, ResultsOnly: true, Reason: "not by SMTP, from a client that is not loopback: mail from the queue"}
	}
	if contains(r.SkipNetworks, c.Client) {
		return Assignment{Role: Leave, Reason: "client in verify.skip_networks"}
	}
	why := submitter(e, r)
	if why == "" {
		if e.Oversize {
			return refuseOversize()
		}
		return Assignment{Role: Verify, Reason: "neither authenticated nor in trusted_networks"}
	}
	a := assignSubmitted(e, r, why)
	// A list manager may write its own address into From: our results are about the original author, not about this one.
	passedOn := e.ResultsAbout == AboutOthers && a.Role != Refuse
	if e.OwnResults && !passedOn && e.Envelope.Login == "" && (c.local() || contains(r.TrustedNetworks, c.Client)) {
		return Assignment{Role: Leave, Reason: alreadyJudged(e)}
	}
	if a.Role == Refuse && !c.SMTP {
		// What this machine itself wrote has nobody to refuse it to.
		return Assignment{Role: Leave, Reason: a.Reason}
	}
	return a
}

func alreadyJudged(e Evidence) string {
	switch e.ResultsAbout {
	case AboutAuthor:
		return "already judged: it has a result of ours about " + strings.Join(e.Author.Domains, ", ")
	case AboutUnknown:
		return "already judged: it has results of ours, and their Author Domain is not known"
	}
	return "already judged: it has a result of ours"
}

// Stranger says whether SPF is to be checked for what a client sends: it is neither one of ours nor one that is left alone.
// The header is not known yet; AssignRole has the last word.
func Stranger(c Connection, e Envelope, r Rules) bool {
	if !c.SMTP && !c.Client.IsLoopback() {
		return true
	}
	return !contains(r.SkipNetworks, c.Client) && submitter(Evidence{Connection: c, Envelope: e}, r) == ""
}

// submitter says what makes the client one of ours, or "".
func submitter(e Evidence, r Rules) string {
	switch c := e.Connection; {
	case e.Envelope.Login != "":
		return "authenticated"
	case c.SMTP && c.Daemon == "ORIGINATING":
		return "daemon_name ORIGINATING"
	case contains(r.TrustedNetworks, c.Client):
		return "client in trusted_networks"
	case c.local():
		return "local submission"
	}
	return ""
}

// assignSubmitted is about mail of our own users.
func assignSubmitted(e Evidence, r Rules, why string) Assignment {
	if e.Oversize {
		return refuseOversize()
	}
	if e.Author.Doubt != "" {
		return refuse(550, "5.6.0", "Message not accepted: "+e.Author.Doubt, e.Author.Doubt)
	}
	if len(e.Author.Domains) > 1 {
		return refuse(550, "5.6.0", "Message not accepted: the From field names several domains", "the From field names several domains")
	}
	author := e.Author.Domains[0]
	domain, not := SigningDomain(author, r)
	if domain == "" {
		return Assignment{Role: Leave, Reason: fmt.Sprintf("%s; Author Domain %s %s", why, author, not)}
	}
	if login := e.Envelope.Login; login != "" && len(r.LoginDomains) > 0 {
		allowed := r.LoginDomains[strings.ToLower(login)]
		if !slices.Contains(allowed, author) && !slices.Contains(allowed, domain) {
			return refuse(550, "5.7.1", "Sender not allowed: this login may not use "+author+" in From",
				fmt.Sprintf("login %q may not use Author Domain %s (sign.login_domains)", login, author))
		}
	}
	return Assignment{Role: Sign, Domain: domain, Reason: why + "; Author Domain hosted here"}
}

// SigningDomain returns the nearest hosted domain at or above author, whose key signs, or "" and why none does.
func SigningDomain(author string, r Rules) (domain, not string) {
	for name := author; name != ""; _, name, _ = strings.Cut(name, ".") {
		if !r.Hosted[name] {
			continue
		}
		if name != author && !r.Subdomains {
			return "", "is below a hosted domain (sign.subdomains = false)"
		}
		if len(r.SignDomains) > 0 && !slices.Contains(r.SignDomains, name) {
			return "", "is not in sign.domains"
		}
		return name, ""
	}
	if slices.Contains(r.SignDomains, author) {
		return "", "has no active key yet"
	}
	return "", "is not hosted here"
}

func refuse(code int, enhanced, text, reason string) Assignment {
	return Assignment{Role: Refuse, Reason: reason, Reply: Reply{code, enhanced, text}}
}

// A truncated header is never judged or signed.
func refuseOversize() Assignment {
	return refuse(552, "5.3.4", "Message header too large", "the header is over 1 MiB or 1000 fields")
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap()
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Unsignable is about mail to be signed whose header no signature can cover.
func Unsignable(e Evidence, why string) Assignment {
	if !e.Connection.SMTP {
		return Assignment{Role: Leave, Reason: why}
	}
	return refuse(550, "5.6.0", "Message not accepted: "+why, why)
}
