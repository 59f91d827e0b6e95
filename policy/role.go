package policy

import (
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/dmarc"
)

// Role is what Signpost does with a message.
type Role string

// The roles.
const (
	RoleSign   Role = "sign"   // outbound mail
	RoleVerify Role = "verify" // inbound mail
	RoleBypass Role = "bypass" // neither verified nor signed
)

// Roles returns all roles.
func Roles() []Role { return []Role{RoleSign, RoleVerify, RoleBypass} }

// Assignment is the role of a message and the reason for it.
type Assignment struct {
	Role        Role   `json:"role,omitempty"`         // empty: processing ended before the role was assigned
	Reason      Reason `json:"role_reason,omitzero"`   // zero for inbound mail from a client
	ResultsOnly bool   `json:"results_only,omitempty"` // RoleVerify: the message is neither rejected nor held, whatever the results
	Domain      string `json:"sign_domain,omitempty"`  // RoleSign: the hosted domain whose key signs
}

// AssignRole returns the role of a message. It is the role in the first matching row of the table of roles in README.md. A verdict with an
// Action is the decision about the message; otherwise the caller decides.
func AssignRole(e Evidence, r Rules) (Assignment, Verdict) {
	c := e.Connection
	if !c.SMTP && !c.Client.IsLoopback() {
		// postsuper -r passes queued inbound mail to cleanup(8) again, with the address of its client.
		if e.Oversize {
			return bypass(Reason{Code: HeaderTooLarge}), Verdict{}
		}
		return Assignment{Role: RoleVerify, ResultsOnly: true, Reason: Reason{Code: Requeued}}, Verdict{}
	}
	if e.ToReports && e.Sender == "" && !e.Oversize {
		// Most bounces do not pass DMARC. Postfix discards them, and their address contains a secret.
		return bypass(Reason{Code: ReportBounce}), Verdict{}
	}
	if contains(r.SkipNetworks, c.Client) {
		return bypass(Reason{Code: SkipNetwork}), Verdict{}
	}
	submitter := submitter(e, r)
	if submitter == "" {
		a := Assignment{Role: RoleVerify}
		if e.Oversize {
			return a, rejectFor(Reason{Code: HeaderTooLarge})
		}
		return a, Verdict{}
	}
	a, rejected := assignSubmitted(e, r, submitter)
	// A list manager may replace From with its own address. Our results are then about the original author, not about the present one.
	passedOn := e.ResultsAbout == AboutOthers && rejected.Action == ""
	if e.OwnResults && !passedOn && e.Envelope.Login == "" && (c.local() || contains(r.TrustedNetworks, c.Client)) {
		return bypass(Reason{Code: OwnResults, Domain: strings.Join(e.Author.Domains, ", "), Detail: string(e.ResultsAbout)}), Verdict{}
	}
	if rejected.Action != "" && !c.SMTP {
		return bypass(rejected.Reasons[0]), Verdict{} // in local submission, there is no client that could receive a reply
	}
	if NeedsTables(a) && e.Listed != "" {
		a, rejected = listed(e, r, a)
	}
	if NeedsLogins(e, r, a, rejected) {
		return useOf(e, r, a)
	}
	return a, rejected
}

// NeedsTables reports whether the filter must look up the Author Domain in the tables of domains.tables.
func NeedsTables(a Assignment) bool { return a.Reason.Code == NotHosted }

// listed returns the role of outbound mail whose Author Domain has no key, but may be in a table. If that is unknown, the domain may be
// ours, and may have got a key on another host or a moment ago. So the mail is treated as if its key were missing. If sign.login_maps
// applies, it is not accepted: the login may not be allowed to use the address.
func listed(e Evidence, r Rules, a Assignment) (Assignment, Verdict) {
	why := Reason{Domain: a.Reason.Domain, Detail: e.ListedIn}
	switch e.Listed {
	case ListedYes:
		why.Code = ListedNoKey
		return bypass(why), Verdict{}
	case ListedUnknown:
		why.Code = TableFailed
		outbound := Assignment{Role: RoleSign, Reason: Reason{Code: submitter(e, r)}}
		if r.checksLogin(e) && r.LoginMismatch != Accept {
			return outbound, refuse(replyCannotSign(), why)
		}
		return outbound, MissingKey(e, r, why)
	}
	return a, Verdict{}
}

func bypass(why Reason) Assignment { return Assignment{Role: RoleBypass, Reason: why} }

func rejectFor(why Reason) Verdict { return refuse(replyTo(why), why) }

// Unauthenticated reports whether SPF must be checked for a client. It returns false if the client submits outbound mail or is bypassed.
// The header is not known yet, so AssignRole decides later.
func Unauthenticated(c Connection, e Envelope, r Rules) bool {
	if !c.SMTP && !c.Client.IsLoopback() {
		return true
	}
	return !contains(r.SkipNetworks, c.Client) && submitter(Evidence{Connection: c, Envelope: e}, r) == ""
}

// submitter returns the code of the rule that makes a message outbound, or "".
func submitter(e Evidence, r Rules) Code {
	switch c := e.Connection; {
	case e.Envelope.Login != "":
		return Authenticated
	case c.SMTP && c.Daemon == "ORIGINATING":
		return Originating
	case contains(r.TrustedNetworks, c.Client):
		return TrustedNetwork
	case c.local():
		return LocalSubmission
	}
	return ""
}

// assignSubmitted returns the role of outbound mail, and the verdict if it is rejected.
func assignSubmitted(e Evidence, r Rules, submitter Code) (Assignment, Verdict) {
	a := Assignment{Role: RoleSign, Reason: Reason{Code: submitter}}
	switch {
	case e.Oversize:
		return a, rejectFor(Reason{Code: HeaderTooLarge})
	case e.Author.Cause != "":
		return a, rejectFor(hostileFrom(e.Author))
	case len(e.Author.Domains) > 1:
		return a, rejectFor(Reason{Code: SeveralAuthors})
	case len(e.Author.Domains) == 0: // this is so only in a damaged journal entry; otherwise Author has a domain or a cause
		return a, rejectFor(hostileFrom(dmarc.Author{Cause: dmarc.FromMissing}))
	}
	author := e.Author.Domains[0]
	domain, not := SigningDomain(author, r)
	if domain == "" {
		return bypass(Reason{Code: not, Domain: author}), Verdict{}
	}
	if login := e.Envelope.Login; login != "" && len(r.LoginDomains) > 0 {
		allowed := r.LoginDomains[strings.ToLower(login)]
		if !slices.Contains(allowed, author) && !slices.Contains(allowed, domain) {
			return a, rejectFor(Reason{Code: LoginMismatch, Domain: author, Detail: login})
		}
	}
	a.Domain = domain
	return a, Verdict{}
}

// SigningDomain returns the nearest hosted domain at or above author. Its key signs. If there is none, SigningDomain returns "" and the
// code of the reason.
func SigningDomain(author string, r Rules) (domain string, not Code) {
	for name := author; name != ""; _, name, _ = strings.Cut(name, ".") {
		if !r.Hosted[name] {
			continue
		}
		if name != author && !r.Subdomains {
			return "", SubdomainOfHosted
		}
		if len(r.SignDomains) > 0 && !slices.Contains(r.SignDomains, name) {
			return "", NotInSignDomains
		}
		return name, ""
	}
	if slices.Contains(r.SignDomains, author) {
		return "", NoActiveKey
	}
	return "", NotHosted
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap()
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Unsignable returns the role and the verdict of outbound mail whose header no signature can cover.
func Unsignable(e Evidence, a Assignment) (Assignment, Verdict) {
	why := Reason{Code: TooManyFields}
	if !e.Connection.SMTP {
		return bypass(why), Verdict{}
	}
	return a, rejectFor(why)
}
