package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
)

// This file has the English texts of decisions: Reason.String and the SMTP replies. Programs never parse these texts.

// String returns the reason as a phrase.
func (r Reason) String() string {
	switch r.Code {
	case Authenticated:
		return "authenticated client"
	case Originating:
		return "daemon_name ORIGINATING"
	case TrustedNetwork:
		return "client in trusted_networks"
	case LocalSubmission:
		return "local submission"
	case Requeued:
		return "inbound mail from the queue: results only"
	case ReportBounce:
		return "bounce of a DMARC report"
	case SkipNetwork:
		return "client in verify.skip_networks"
	case OwnResults:
		return ownResults(r)
	case NotHosted:
		return "Author Domain " + r.Domain + " is not hosted here"
	case NoActiveKey:
		return "Author Domain " + r.Domain + " has no active key yet"
	case ListedNoKey:
		return "Author Domain " + r.Domain + " is in " + r.Detail + ", but has no key"
	case SubdomainOfHosted:
		return "Author Domain " + r.Domain + " is below a hosted domain (sign.subdomains = false)"
	case NotInSignDomains:
		return "Author Domain " + r.Domain + " is not in sign.domains"
	}
	if s := r.outbound(); s != "" {
		return s
	}
	if s := r.inbound(); s != "" {
		return s
	}
	return r.relay()
}

func ownResults(r Reason) string {
	switch ResultsAbout(r.Detail) {
	case AboutAuthor:
		return "already verified: it has a result of this server about " + r.Domain
	case AboutUnknown:
		return "already verified: it has results of this server, but it is unknown which Author Domain they are about"
	}
	return "already verified: it has results of this server"
}

// outbound returns the phrase for outbound mail that is not signed.
func (r Reason) outbound() string {
	switch r.Code {
	case LoginMismatch:
		if r.Address != "" {
			return fmt.Sprintf("login %q may not use the address %s (sign.login_maps)", r.Detail, r.Address)
		}
		return fmt.Sprintf("login %q may not use Author Domain %s (sign.login_domains)", r.Detail, r.Domain)
	case SeveralAuthors:
		return "the From field names several domains"
	case TooManyFields:
		return "the message has too many header fields to sign"
	case NoUsableKey:
		return "no usable key for " + r.Domain
	case TableFailed:
		if r.Address != "" {
			return "it is unknown whether the login may use the address " + r.Address + ": the lookup in " + r.Detail + " failed"
		}
		return "it is unknown whether Author Domain " + r.Domain + " is ours: the lookup in " + r.Detail + " failed"
	case SigningFailed:
		return because("signing failed", because(phrase(r.Cause), r.Detail))
	case OnMissingKey:
		return "sign.on_missing_key = " + r.Detail
	case BounceUnsigned:
		return "a bounce from this host is sent unsigned, so that it is not lost"
	case InternalError:
		return "internal error: see the log"
	case HeaderTooLarge:
		return "the header is over 1 MiB or 1000 fields"
	}
	return ""
}

// inbound returns the phrase for inbound mail.
func (r Reason) inbound() string {
	switch r.Code {
	case HostileFrom:
		return AuthorText(dmarc.Author{Cause: dmarc.Cause(r.Cause), Detail: r.Detail})
	case HostileTagged:
		return "verify.hostile_from = tag"
	case LocalDeny:
		return "[[deny]] " + r.Detail
	case LocalAllow:
		return "accepted by [[allow]] " + r.Detail
	case DMARCPass:
		return "DMARC passes for " + r.Domain
	case DMARCNone:
		return "no DMARC policy for " + r.Domain
	case DMARCFail:
		return because("DMARC fails for "+r.Domain+", "+r.Detail, phrase(r.Cause))
	case DMARCTempError:
		return "DMARC temperror for " + r.Domain + ": " + failed(r)
	case DMARCPermError:
		return because("DMARC permerror for "+r.Domain, phrase(r.Cause))
	case TempErrorAsFail:
		return "counts as a DMARC failure, " + r.Detail
	case TestMode:
		return "t=y: the policy is in test mode"
	case NoAuthor:
		return "no Author Domain"
	case SPFFail:
		return fmt.Sprintf("SPF fails for %s, spf.fail = reject", r.Domain)
	case SPFTempError:
		return "SPF temperror for " + r.Domain + ": " + failed(r)
	case NoSlot:
		return "out of DNS slots or file descriptors"
	case DNSDown:
		return "the DNS root does not answer either: our own DNS is at fault"
	case ReportReceived:
		return "a report of " + r.Domain + ", kept for signpost reports read"
	}
	return ""
}

// failed returns a phrase with the name whose lookup failed and the purpose of the lookup.
func failed(r Reason) string {
	text := "lookup of " + r.Detail + " failed"
	if purpose := phrase(r.Cause); purpose != "" {
		text += " (" + purpose + ")"
	}
	return text
}

// relay returns the phrase for reasons about relays.
func (r Reason) relay() string {
	switch {
	case r.Code == RelayUnverified:
		return "not rejected yet: " + r.Fact()
	case r.Code == SealedPass:
		return "accepted: " + r.Fact()
	case r.Exempts():
		return "not rejected: " + r.Fact()
	}
	return r.Fact()
}

// Exempts reports whether a reason prevented the rejection of a message.
func (r Reason) Exempts() bool {
	switch r.Code {
	case NeverReject, SealedWithoutPass, SealedUnreadable, TrustedClient, AuthorHeader, MailingListRelay, SRSRelay, ResentRelay, ARCRelay:
		return true
	}
	return false
}

// Fact returns a reason about relays as a phrase. The phrase does not mention the effect on the verdict.
func (r Reason) Fact() string {
	verified := fmt.Sprintf(" %s (verified by %s)", r.Domain, strings.ToUpper(r.Detail))
	switch r.Code {
	case NeverReject:
		return r.Detail + " = never"
	case AlwaysReject:
		return r.Detail + " = always"
	case SealedPass:
		return "sealed by " + r.Domain + ", which found dmarc=pass"
	case SealedWithoutPass:
		return "sealed by " + r.Domain + " (in dmarc.trusted_sealers), whose results do not state dmarc=pass"
	case SealedUnreadable:
		return "sealed by " + r.Domain + " (in dmarc.trusted_sealers), whose results have no readable DMARC result"
	case TrustedClient:
		return "client in dmarc.trusted_forwarders"
	case AcceptedForwarder:
		return "accepted by [[forwarder]] " + r.Detail
	case AuthorHeader:
		return "only the header is authenticated, by a signature of" + verified
	case MailingListRelay:
		return "relayed by the mailing list of" + verified
	case SRSRelay:
		return "forwarded by" + verified
	case ResentRelay:
		return "resent by" + verified
	case ARCRelay:
		return "the ARC chain validates, last sealed by" + verified
	case RelayDenied:
		return "relay " + r.Domain + " does not count: [[deny]] " + r.Detail
	case RelayUnverified:
		return "a relay cannot be verified, because the lookup of " + r.Detail + " failed"
	case HeaderStale:
		return "the signature of " + r.Domain + " verifies over the header, but is over 7 days old or does not cover From, Subject, To and Date"
	case HeaderBroken:
		return "the signature of " + r.Domain + " does not verify over the header (" + r.Detail + ")"
	case NoAuthorSignature:
		return "no signature of " + r.Domain
	case NoRelay:
		none := "no mailing list, forwarder, Resent-From domain or ARC chain could be verified"
		if r.Detail != "" {
			none += ", although the message has " + strings.ReplaceAll(r.Detail, ",", ", ")
		}
		return none
	case NotTrusted:
		return "the client is not in dmarc.trusted_forwarders"
	case ChainValid:
		return "the ARC chain validates, last sealed by " + r.Domain + " (instance " + r.Detail + ")"
	case SealersTrusted:
		return "every sealer since instance " + r.Detail + " is in dmarc.trusted_sealers"
	case SealerFoundPass:
		return "instance " + r.Detail + " states dmarc=pass for " + r.Domain
	}
	return r.Detail // Legacy
}

// Text returns reasons as one phrase.
func Text(reasons []Reason) string {
	all := make([]string, len(reasons))
	for i, r := range reasons {
		all[i] = r.String()
	}
	return strings.Join(all, "; ")
}

// maxReplyText is the maximum length of a reply text in bytes. It leaves room for the queue ID in an SMTP line (RFC 5321 section
// 4.5.3.1.5).
const maxReplyText = 400

// WithID returns the reply as the client gets it: cut to maxReplyText, with the queue ID.
func (r Reply) WithID(queueID string) Reply {
	if len(r.Text) > maxReplyText {
		r.Text = r.Text[:maxReplyText] + "..."
	}
	if r.Code != 0 && queueID != "" {
		r.Text += " (queue id " + queueID + ")"
	}
	return r
}

func replyCannotSign() Reply {
	return Reply{451, "4.3.5", "Message cannot be signed at the moment, try again later"}
}

func replyInternal() Reply {
	return Reply{451, "4.3.0", "Temporary failure of the mail filter, try again later"}
}

// replyTo returns the reply to a message that is rejected for a reason that does not depend on DNS.
func replyTo(r Reason) Reply {
	switch r.Code {
	case HeaderTooLarge:
		return Reply{552, "5.3.4", "Message header too large"}
	case LoginMismatch:
		if r.Address != "" {
			return Reply{553, "5.7.1", "<" + r.Address + ">: From address rejected: this login does not own it"}
		}
		return Reply{550, "5.7.1", "Sender not allowed: this login may not use " + r.Domain + " in From"}
	}
	return Reply{550, "5.6.0", "Message not accepted: " + r.String()}
}

// replyDenied is the reply to a message that matches a [[deny]]. The parameter domain is the domain of that rule, or empty.
func replyDenied(domain string, client netip.Addr) Reply {
	what := "mail from " + client.String()
	if domain != "" {
		what = "mail of " + domain
	}
	return Reply{550, "5.7.1", "Rejected by local policy: " + what + " is not accepted here"}
}

func replyRejected(e Evidence, d dmarc.Result) Reply {
	return Reply{550, "5.7.1", fmt.Sprintf("Email rejected per DMARC policy for %s: neither SPF nor DKIM passes for that domain (%s)", d.Domain, findings(e))}
}

// replySPF is the reply for spf.fail = reject: RFC 7372 section 3.2.
func replySPF(e Evidence) Reply {
	return Reply{550, "5.7.23", fmt.Sprintf("SPF validation failed: %s may not send mail for %s", e.Connection.Client, e.SPF.Domain)}
}

// replyBoth is the reply if DMARC and SPF both reject: RFC 7372 section 3.4.
func replyBoth(dmarc, spf Reply) Reply {
	return Reply{550, "5.7.26", "Multiple authentication checks failed: " + dmarc.Text + "; " + spf.Text}
}

func replySPFTempfail(s *spf.Result) Reply {
	return Reply{451, "4.7.24", fmt.Sprintf("SPF validation error for %s: lookup of %s failed, try again later", s.Domain, s.Failed)}
}

func replyUnverified(d dmarc.Result, failed string) Reply {
	what := fmt.Sprintf("DMARC fails for %s and no relay can be verified", d.Domain)
	if d.Status == dmarc.TempError {
		what = "DMARC cannot be evaluated for " + d.Domain
	}
	return Reply{451, "4.7.1", fmt.Sprintf("%s: lookup of %s failed, try again later", what, failed)}
}

func replyExhausted() Reply {
	return Reply{451, "4.3.0", "Too many DNS lookups under way here, try again later"}
}

func replyDNSDown() Reply {
	return Reply{451, "4.4.3", "DNS does not work here at the moment, try again later"}
}

// replyTempfail asks the client to try again, and names the lookup that failed.
func replyTempfail(d dmarc.Result) Reply {
	failed := "lookup of " + d.Failed + " failed, try again later"
	switch d.FailedMethod() {
	case dmarc.DKIM: // RFC 6376 section 6.3
		return Reply{451, "4.7.5", "Unable to verify signature, key server unavailable: " + failed}
	case dmarc.SPF: // RFC 7372 section 3.2
		return Reply{451, "4.7.24", "SPF validation error: " + failed}
	}
	return Reply{451, "4.7.1", "DMARC cannot be evaluated: " + failed}
}

// findings returns the results of the checks, for the administrator of the sending server.
func findings(e Evidence) string {
	var all []string
	if e.SPF != nil && e.SPF.Domain != "" {
		all = append(all, fmt.Sprintf("SPF %s for %s", e.SPF.Status, e.SPF.Domain))
	}
	const most = 3
	for i, s := range e.DKIM {
		switch {
		case i == most:
			all = append(all, fmt.Sprintf("and %d more signatures", len(e.DKIM)-most))
		case i < most && s.Domain != "":
			all = append(all, fmt.Sprintf("DKIM %s for %s", s.Status, s.Domain))
		case i < most:
			all = append(all, fmt.Sprintf("DKIM %s", s.Status))
		}
	}
	if len(e.DKIM) == 0 {
		all = append(all, "no DKIM signature")
	}
	return strings.Join(all, ", ")
}

// LongLines returns a warning about the long lines of a signed message, or "" if it has none.
func LongLines(l *dkim.LongLines) string {
	if l == nil {
		return ""
	}
	var all []string
	if n := l.LongestLineBytes; n > 0 {
		where := "the body"
		if l.Field != "" {
			where = l.Field
		}
		all = append(all, fmt.Sprintf("a line of %d bytes in %s: Postfix breaks lines over %d bytes when it sends the message, which breaks the signature",
			n, where, dkim.MaxLine))
	}
	if len(l.Unsigned) > 0 {
		all = append(all, fmt.Sprintf("a line over %d bytes in %s: not signed, so that breaking the line does not break the signature",
			dkim.MaxLine, strings.Join(l.Unsigned, ", ")))
	}
	return strings.Join(all, "; ")
}

// Absent returns a note about missing fields of a signed message, or "" if none is missing.
func Absent(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "no " + strings.Join(names, " and no ") + ": adding one does not break the signature"
}
