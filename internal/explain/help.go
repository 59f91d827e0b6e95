package explain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/domain"
	"signpost/internal/spf"
	"signpost/policy"
)

// help returns the advice for the reader. Each sentence describes one possible action.
func (x *explainer) help() []string {
	a, code := x.Assignment, x.Verdict.Code()
	switch {
	case code == policy.InternalError:
		return []string{"Postmaster: the log has a line \"internal error\" at that time; please report it."}
	case code == policy.HeaderTooLarge || a.Reason.Code == policy.HeaderTooLarge:
		return []string{"Send the message with a smaller header: at most 1 MiB and 1000 fields. Most messages have a few dozen fields."}
	case code == policy.LoginMismatch && x.Verdict.Reasons[0].Address != "":
		return x.helpLogin(x.Verdict.Reasons[0].Address)
	case a.Reason.Code == policy.LoginMismatch && a.Reason.Address != "":
		return x.helpLogin(a.Reason.Address)
	case code == policy.LoginMismatch || a.Reason.Code == policy.LoginMismatch:
		return []string{"Use a From address of a domain that this login may use; the postmaster sets these domains in sign.login_domains."}
	case code == policy.HostileFrom || a.Reason.Code == policy.HostileFrom:
		return []string{"Send one From field with one plain address in it, as in From: \"Ann Example\" <ann@example.org>."}
	case code == policy.SeveralAuthors || a.Reason.Code == policy.SeveralAuthors:
		return []string{"Send one From field that names one domain."}
	case code == policy.TooManyFields || a.Reason.Code == policy.TooManyFields:
		return []string{"Send the message with fewer header fields."}
	case a.Role == policy.RoleBypass:
		return x.helpBypassed()
	case x.Decided() == policy.Sign && x.e.LongLines != nil:
		return []string{fmt.Sprintf("Send lines of at most %d bytes: encode the text as quoted-printable or base64, and fold header fields.", dkim.MaxLine)}
	case a.Role == policy.RoleSign && x.Decided() != policy.Sign && a.Domain != "":
		return []string{"Postmaster: dkimkey status " + a.Domain + " shows which key is missing, and its next step."}
	case a.Role == policy.RoleSign:
		return nil
	case code == policy.LocalDeny:
		return []string{"No change to the message or to DNS helps: write to the postmaster here from another address."}
	}
	return x.helpByResults()
}

// helpLogin returns advice about an address that the login may not use.
func (x *explainer) helpLogin(address string) []string {
	all := []string{"Use a From address that belongs to this login."}
	for _, u := range x.e.FromUse {
		switch {
		case u.Address != address:
		case u.Table != "":
			all = append(all, fmt.Sprintf("Postmaster: the logins that may use %s are in %s.", address, u.Table))
		case u.Use == policy.UseUnlisted:
			all = append(all, fmt.Sprintf("Postmaster: no table of sign.login_maps has %s, and sign.login_unlisted = reject.", address))
		}
	}
	return all
}

// helpBypassed returns advice about unsigned outbound mail, for the postmaster of this site.
func (x *explainer) helpBypassed() []string {
	switch author := x.Assignment.Reason.Domain; x.Assignment.Reason.Code {
	case policy.NotHosted:
		return []string{"To sign the mail of " + author + ": dkimkey add " + author + ". If it has a key already, dkimkey status shows its next step."}
	case policy.NoActiveKey:
		return []string{"dkimkey status " + author + " shows the next step of its first key."}
	case policy.ListedNoKey:
		return []string{"To sign the mail of " + author + ": dkimkey add " + author + "."}
	case policy.SubdomainOfHosted:
		return []string{"To sign it, set sign.subdomains = true, or create a key with dkimkey add " + author + "."}
	case policy.NotInSignDomains:
		return []string{"To sign it, add the domain to sign.domains."}
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
			all = append(all, "Try again: the failure may be temporary. If it persists, the name servers of the domain do not answer, or do not answer the resolver of this server.")
		case d.Status == dmarc.PermError || d.Status == dmarc.None && d.Record != "":
			all = append(all, fmt.Sprintf("Tell the owner of %s that the DMARC record has to be corrected: %s.", cmp.Or(d.PolicyDomain, d.Domain), policy.DMARCText(d)))
		}
	}
	bySPF := x.Verdict.Has(policy.SPFFail) || x.Verdict.Has(policy.SPFTempError)
	if s := x.e.SPF; s != nil && len(all) == 0 && (bySPF || s.Status == spf.PermError) {
		all = append(all, x.helpSPF(s))
	}
	return all
}

// maxBroken is the maximum number of broken signatures for which help has a sentence.
const maxBroken = 4

// helpFailing returns ways to authenticate mail of a domain that fails DMARC. Any one of them is sufficient.
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
		all = append(all, fmt.Sprintf("Sign with a DKIM key of %s (d=%s), after every program that changes the message.", nameOf(org, d.Domain, strict("adkim")), nameOf(org, d.Domain, strict("adkim"))))
	}
	switch s := x.e.SPF; {
	case s != nil && s.Domain != "" && s.Status != spf.Pass && x.whyUnaligned(d, dmarc.SPF, s.Domain, s.Status == spf.Pass) == "":
		all = append(all, x.helpSPF(s))
	case s != nil && s.Identity == spf.HELO:
		all = append(all, fmt.Sprintf("For mail with a null sender, use a HELO name of %s whose SPF record allows %s.", nameOf(org, d.Domain, strict("aspf")), x.e.Connection.Client))
	default:
		all = append(all, fmt.Sprintf("Use an envelope sender (MAIL FROM) of %s whose SPF record allows %s.", nameOf(org, d.Domain, strict("aspf")), x.e.Connection.Client))
	}
	if tags := x.relaxedTags(d); tags != "" {
		all = append(all, fmt.Sprintf("Set %s in the DMARC record of %s, so that its subdomains align. Only the owner of the domain can do that.", tags, cmp.Or(d.PolicyDomain, d.Domain)))
	}
	if len(all) > 1 {
		last := all[len(all)-1]
		all[len(all)-1] = "Or " + strings.ToLower(last[:1]) + last[1:]
	}
	relay, ok := x.relay(d)
	switch {
	case ok:
		all = append(all, fmt.Sprintf("Postmaster: to deliver what %s relays, see dmarc.trusted_forwarders and \"signpost forwarders\"; "+
			"to reject it, write a [[deny]] with domain = \"%s\".", relay.Domain, relay.Domain))
	case len(x.e.Relayed) > 0 || x.Verdict.Override == policy.TrustedForwarder || broken && x.e.SPF != nil && x.whyUnaligned(d, dmarc.SPF, x.e.SPF.Domain, x.e.SPF.Status == spf.Pass) != "":
		all = append(all, fmt.Sprintf("If %s is a mailing list or a forwarder: it should relay messages unchanged, or write its own domain into From. "+
			"The postmaster here can accept it with an [[allow]] with network = \"%s\".", x.e.Connection.Client, x.e.Connection.Client))
	case !broken:
		all = append(all, fmt.Sprintf("If %s did not send it, it is a forgery, and there is nothing to correct.", d.Domain))
	}
	return all
}

// relaxedTags returns the relaxed alignment tags, such as adkim=r, with which the message would have passed: RFC 9989 section 4.10.2.
func (x *explainer) relaxedTags(d dmarc.Result) string {
	strict, org := dmarcTag(d), cmp.Or(d.OrgDomain, d.Domain)
	// A check with a strict tag makes no tree walk for the identifier, so the journal may not have its answers.
	aligns := func(name string) bool {
		of, _, err := dmarc.Organization(context.Background(), x.view, name)
		return domain.Within(name, org) && (err != nil || of == org)
	}
	var tags []string
	if strict("adkim") && slices.ContainsFunc(x.e.DKIM, func(s dkim.Result) bool { return s.Status == dkim.Pass && aligns(s.Domain) }) {
		tags = append(tags, "adkim=r")
	}
	if s := x.e.SPF; strict("aspf") && s != nil && s.Status == spf.Pass && aligns(s.Domain) {
		tags = append(tags, "aspf=r")
	}
	return strings.Join(tags, " or ")
}

// relay returns the first verified relay of a message that has this Author Domain.
func (x *explainer) relay(d dmarc.Result) (policy.Relay, bool) {
	for _, r := range x.e.Relays {
		if r.Failed == "" && (r.Author == "" || r.Author == d.Domain) {
			return r, true
		}
	}
	return policy.Relay{}, false
}

// dmarcTag returns a function for the tags of the record. That function reports whether the value of a tag is s (strict).
func dmarcTag(d dmarc.Result) func(tag string) bool {
	record, ok := dmarc.ParseRecord(d.Record)
	return func(tag string) bool {
		return ok && (tag == "adkim" && record.StrictDKIM || tag == "aspf" && record.StrictSPF)
	}
}

// nameOf returns the domain that the advice recommends, because it is aligned with the author. With strict alignment, this is the Author
// Domain.
func nameOf(org, author string, strict bool) string {
	if strict || !strings.Contains(org, ".") {
		return author
	}
	return org
}

// helpSPF returns how to correct a domain's SPF record. It does not repeat the record, whose text the sender chose.
func (x *explainer) helpSPF(s *spf.Result) string {
	client := x.e.Connection.Client
	term := "ip4:"
	if client.Is6() && !client.Is4In6() {
		term = "ip6:"
	}
	term += client.Unmap().String()
	switch s.Status {
	case spf.None:
		if near := x.nearSPF(); near != "" {
			return fmt.Sprintf("Correct the SPF record of %s: %s.", s.Domain, nearRecord(near))
		}
		return fmt.Sprintf("Publish an SPF record at %s that allows this host: v=spf1 %s -all.", s.Domain, term)
	case spf.PermError:
		return fmt.Sprintf("Correct the SPF record of %s: %s.", s.Domain, spfText(s))
	case spf.TempError:
		return fmt.Sprintf("Check that the name servers answer for the SPF record of %s: %s.", s.Domain, spfText(s))
	}
	return fmt.Sprintf("If %s is a host of %s, add it to the SPF record (%s); if not, send through a host that the record allows.", client, s.Domain, term)
}

// helpSignature returns advice about a signature that should have passed.
func helpSignature(s dkim.Result) string {
	why := policy.DKIMText(s)
	switch s.Cause {
	case dkim.BodyHashMismatch:
		return "The body was changed after it was signed: sign after every program that adds footers or rewrites text."
	case dkim.SignatureMismatch:
		return fmt.Sprintf("Do not change the signed fields (%s) after signing, and check that the record at %s belongs to the key that signs.", strings.Join(s.Headers, ", "), s.KeyName)
	case dkim.KeyRecordMissing:
		return "Publish the key record at " + s.KeyName + "."
	case dkim.KeyRevoked:
		return fmt.Sprintf("Sign with another key: the one at %s was revoked.", s.KeyName)
	case dkim.KeyLookupFailed:
		return fmt.Sprintf("Check that the name servers answer for %s.", s.KeyName)
	case dkim.SignatureExpired:
		return "Sign it again: " + why + "."
	case dkim.SignatureInFuture:
		return "Set the clock of the signing host."
	case dkim.KeyTooShort:
		return "Sign with an RSA key of 2048 bits."
	case dkim.BodyPartlySigned, dkim.SignedLengthExceedsBody:
		return "Sign without l=, so that the whole body is signed."
	case dkim.TooManySignatures:
		return fmt.Sprintf("Remove unnecessary signatures: at most %d of a message are verified.", dkim.MaxSignatures)
	case dkim.FromNotSigned:
		return "Sign with From in h=."
	}
	if text := policy.KeyRecordText(s.Cause, s.Detail); text != "" {
		return fmt.Sprintf("Correct the key record at %s: %s.", s.KeyName, text)
	}
	if s.KeyRecord != "" {
		return fmt.Sprintf("Correct the key record at %s: %s.", s.KeyName, why)
	}
	return "Correct the signer: " + why + "."
}
