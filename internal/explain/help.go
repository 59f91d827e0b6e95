package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/policy"
)

// help returns one sentence for each cause.
func (x *explainer) help() []string {
	a, reason := x.Assignment, x.Verdict.Reason
	switch {
	case a.Role == policy.Sign && reason != "":
		return []string{"The postmaster here: dkimkey status " + a.Domain + " says which key is missing, and what its next step is."}
	case a.Role == "":
		return []string{"The postmaster here: the log has a line \"internal error\" of that moment; please report it."}
	case a.Role == policy.Leave:
		return x.helpLeft()
	case a.Role == policy.Refuse && strings.Contains(a.Reason, "login_domains"):
		return []string{"Write from an address of a domain that this login may use; which these are, the postmaster sets in sign.login_domains."}
	case x.e.Oversize:
		return []string{"Send the message with a smaller header: 1 MiB and 1000 fields are the bounds, and honest mail has a few dozen fields."}
	case a.Role == policy.Sign && x.e.LongLines != nil:
		return []string{fmt.Sprintf("Send lines of at most %d bytes: encode the text as quoted-printable or base64, and fold header fields.", dkim.MaxLine)}
	case a.Role == policy.Sign:
		return nil
	case x.e.Author.Doubt != "":
		return []string{"Send one From field with one plain address in it, as in From: \"Ann Example\" <ann@example.org>."}
	case a.Role == policy.Refuse:
		return []string{"Send one From field that names one domain."}
	case strings.HasPrefix(reason, "[[deny]]"):
		return []string{"Nothing in the message or in DNS changes this: write to the postmaster here, from elsewhere."}
	}
	return x.helpByResults()
}

// helpLeft is for the postmaster here: it is about outbound mail.
func (x *explainer) helpLeft() []string {
	author := strings.Join(x.e.Author.Domains, ", ")
	switch reason := x.Assignment.Reason; {
	case strings.HasSuffix(reason, "is not hosted here"):
		return []string{"To have mail of " + author + " signed: dkimkey add " + author + ". Where it has a key already, dkimkey status says what that waits for."}
	case strings.HasSuffix(reason, "has no active key yet"):
		return []string{"dkimkey status " + author + " says what its first key waits for."}
	case strings.HasSuffix(reason, "(sign.subdomains = false)"):
		return []string{"To have it signed: sign.subdomains = true, or a key of its own by dkimkey add " + author + "."}
	case strings.HasSuffix(reason, "is not in sign.domains"):
		return []string{"To have it signed, put the domain into sign.domains."}
	}
	return nil
}

func (x *explainer) helpByResults() []string {
	var all []string
	if d, ok := x.failing(); ok {
		all = append(all, x.helpFailing(d)...)
	}
	for _, d := range x.e.DMARC {
		switch {
		case d.Status == dmarc.TempError:
			all = append(all, "Try again: this may pass by itself. If it does not, the name servers of the domain do not answer, or not to this server's resolver.")
		case d.Status == dmarc.PermError || d.Status == dmarc.None && d.Record != "":
			all = append(all, fmt.Sprintf("Let the owner of %s know that the DMARC record needs mending: %s.", cmp.Or(d.PolicyDomain, d.Domain), d.Reason))
		}
	}
	if s := x.e.SPF; s != nil && len(all) == 0 && (strings.HasPrefix(x.Verdict.Reason, "SPF ") || s.Status == spf.PermError) {
		all = append(all, x.helpSPF(s))
	}
	return all
}

// maxBroken is the number of broken signatures that have a sentence.
const maxBroken = 4

// helpFailing returns several ways; one of them is enough.
func (x *explainer) helpFailing(d dmarc.Result) []string {
	var all []string
	org := cmp.Or(d.OrgDomain, d.Domain)
	broken := false
	for _, s := range x.e.DKIM {
		if s.Domain == "" || s.Status == dkim.Pass || x.whyUnaligned(d, dmarc.DKIM, s.Domain, s.Status == dkim.Pass) != "" {
			continue
		}
		if advice := helpSignature(s); !slices.Contains(all, advice) && len(all) < maxBroken {
			all = append(all, advice)
		}
		broken = true
	}
	strict := dmarcTag(d)
	if !broken {
		all = append(all, fmt.Sprintf("Sign with a DKIM key of %s (d=%s), behind everything that still changes the message.", nameOf(org, d.Domain, strict("adkim")), nameOf(org, d.Domain, strict("adkim"))))
	}
	switch s := x.e.SPF; {
	case s != nil && s.Domain != "" && s.Status != spf.Pass && x.whyUnaligned(d, dmarc.SPF, s.Domain, s.Status == spf.Pass) == "":
		all = append(all, x.helpSPF(s))
	case s != nil && s.Identity == spf.HELO:
		all = append(all, fmt.Sprintf("Let the host, for mail without an envelope sender, greet (HELO) with a name of %s whose SPF record names %s.", nameOf(org, d.Domain, strict("aspf")), x.e.Connection.Client))
	default:
		all = append(all, fmt.Sprintf("Let the envelope sender (MAIL FROM) be of %s, and its SPF record name %s.", nameOf(org, d.Domain, strict("aspf")), x.e.Connection.Client))
	}
	if len(all) > 1 {
		last := all[len(all)-1]
		all[len(all)-1] = "Or " + strings.ToLower(last[:1]) + last[1:]
	}
	relay, ok := x.relay(d)
	switch {
	case ok:
		all = append(all, fmt.Sprintf("The postmaster here: to deliver what %s relays, see dmarc.trusted_forwarders and \"signpost forwarders\"; "+
			"to reject it, write a [[deny]] with domain = \"%s\".", relay.Domain, relay.Domain))
	case len(x.e.Relayed) > 0 || x.Verdict.Override == policy.TrustedForwarder || broken && x.e.SPF != nil && x.whyUnaligned(d, dmarc.SPF, x.e.SPF.Domain, x.e.SPF.Status == spf.Pass) != "":
		all = append(all, fmt.Sprintf("If %s is a mailing list or a forwarder: let it pass messages on unchanged, or write its own domain into From. "+
			"The postmaster here can let it through by an [[allow]] with network = \"%s\".", x.e.Connection.Client, x.e.Connection.Client))
	case !broken:
		all = append(all, fmt.Sprintf("If it is not from %s at all, somebody used its name, and there is nothing to mend.", d.Domain))
	}
	return all
}

// relay returns the first verified relay of a message of an Author Domain.
func (x *explainer) relay(d dmarc.Result) (policy.Relay, bool) {
	for _, r := range x.e.Relays {
		if r.Failed == "" && (r.Author == "" || r.Author == d.Domain) {
			return r, true
		}
	}
	return policy.Relay{}, false
}

// dmarcTag returns a function that reports whether a tag of the record has the value s.
func dmarcTag(d dmarc.Result) func(tag string) bool {
	record, ok := dmarc.ParseRecord(d.Record)
	return func(tag string) bool {
		return ok && (tag == "adkim" && record.StrictDKIM || tag == "aspf" && record.StrictSPF)
	}
}

// nameOf returns the domain that aligns: strict alignment needs the Author Domain.
func nameOf(org, author string, strict bool) string {
	if strict || !strings.Contains(org, ".") {
		return author
	}
	return org
}

func (x *explainer) helpSPF(s *spf.Result) string {
	client := x.e.Connection.Client
	term := "ip4:"
	if client.Is6() && !client.Is4In6() {
		term = "ip6:"
	}
	term += client.Unmap().String()
	switch s.Status {
	case spf.None:
		return fmt.Sprintf("Publish an SPF record at %s that names this host: v=spf1 %s -all.", s.Domain, term)
	case spf.PermError:
		return fmt.Sprintf("Mend the SPF record of %s: %s.", s.Domain, s.Reason)
	case spf.TempError:
		return fmt.Sprintf("Let the name servers answer for the SPF record of %s: %s.", s.Domain, s.Reason)
	}
	return fmt.Sprintf("If %s is a host of %s, add it to the SPF record (%s); if not, send by a host that the record names.", client, s.Domain, term)
}

// helpSignature is about a signature that should have passed.
func helpSignature(s dkim.Result) string {
	why := s.Reason
	has := func(part string) bool { return strings.Contains(why, part) }
	switch {
	case has("the body was changed"):
		return "The body was changed after it was signed: let what adds footers or rewrites text run before signing."
	case has("signed header fields were changed"):
		return fmt.Sprintf("Let nothing change the signed fields (%s) after signing, and check that the record at %s is of the key that signs.", strings.Join(s.Headers, ", "), s.KeyName)
	case has("there is no key record"):
		return "Publish the key record at " + s.KeyName + "."
	case has("was revoked"):
		return fmt.Sprintf("Sign with another key: the one at %s was revoked.", s.KeyName)
	case has("could not be looked up"):
		return fmt.Sprintf("Let the name servers answer for %s.", s.KeyName)
	case has("expired"):
		return "Sign it anew: " + why + "."
	case has("lies in the future"):
		return "Set the clock of the signing host."
	case has("bits"):
		return "Sign with an RSA key of 2048 bits."
	case has("l="):
		return "Sign without l=, so that the whole body is signed."
	case has("not verified"):
		return "Take signatures out that nobody needs: " + why + "."
	case has("key record"):
		return fmt.Sprintf("Mend the key record at %s: %s.", s.KeyName, why)
	case has("From"):
		return "Sign with From in h=."
	}
	return "Mend what signs: " + why + "."
}
