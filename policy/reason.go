package policy

// Reason is a cause of a decision, or a fact on which a decision is based. It contains no English sentence; String returns one.
type Reason struct {
	Code   Code   `json:"code"`
	Domain string `json:"domain,omitempty"` // the domain that the reason is about
	Detail string `json:"detail,omitempty"` // one value; the comment of each Code describes it; it may come from an untrusted client
	Cause  string `json:"cause,omitempty"`  // the Cause of a protocol engine
	// Address is the address of From or Sender about which sign.login_maps decided.
	Address string `json:"address,omitempty"`
}

// Code identifies a reason in the log, JSON and metrics. Codes never change, because operators' rules and reports rely on them.
type Code string

// The codes of roles: why a message is outbound, or bypassed. Inbound mail has none.
const (
	Authenticated   Code = "authenticated"    // the client logged in
	Originating     Code = "originating"      // daemon_name is ORIGINATING
	TrustedNetwork  Code = "trusted_network"  // the client is in trusted_networks
	LocalSubmission Code = "local_submission" // sendmail(1)
	Requeued        Code = "requeued"         // inbound mail from the queue, which gets results only

	ReportBounce      Code = "report_bounce"       // bypass: a bounce of a DMARC report
	SkipNetwork       Code = "skip_network"        // bypass: the client is in verify.skip_networks
	OwnResults        Code = "own_results"         // bypass: the message has results of ours; Domain: all Author Domains, with commas; Detail: a ResultsAbout
	NotHosted         Code = "not_hosted"          // bypass: the Author Domain has no key; Domain, here and below: the Author Domain
	NoActiveKey       Code = "no_active_key"       // bypass: the Author Domain is in sign.domains, but its first key is not active yet
	ListedNoKey       Code = "listed_no_key"       // bypass: the Author Domain is in a table of domains.tables and has no key; Detail: the table
	SubdomainOfHosted Code = "subdomain_of_hosted" // bypass: the Author Domain is below a hosted domain, and sign.subdomains is false
	NotInSignDomains  Code = "not_in_sign_domains" // bypass
)

// The codes of outbound mail that is not signed.
const (
	LoginMismatch  Code = "login_mismatch"   // the login may not use Address or, if it is empty, Domain in From; Detail: the login
	SeveralAuthors Code = "several_authors"  // From names several domains
	TooManyFields  Code = "too_many_fields"  // more header fields than h= can list
	NoUsableKey    Code = "no_usable_key"    // Domain has no key that signs
	TableFailed    Code = "table_failed"     // it is unknown whether Domain is ours or, if Address is set, whether the login may use it; Detail: the table whose lookup failed
	SigningFailed  Code = "signing_failed"   // Cause: a dkim.Cause; Detail: its detail
	OnMissingKey   Code = "on_missing_key"   // sign.on_missing_key; Detail: its value
	BounceUnsigned Code = "bounce_unsigned"  // a bounce from this host is sent unsigned, so that it is not lost
	InternalError  Code = "internal_error"   // a defect in Signpost, or an overload
	HeaderTooLarge Code = "header_too_large" // the header has more than 1 MiB or 1000 fields; for outbound and inbound mail
)

// The codes of inbound mail.
const (
	HostileFrom     Code = "hostile_from"      // Cause: a dmarc.Cause of From; Detail: its detail. Also for outbound mail
	HostileTagged   Code = "hostile_tagged"    // verify.hostile_from is tag
	LocalDeny       Code = "local_deny"        // Detail: the [[deny]]
	LocalAllow      Code = "local_allow"       // Detail: the [[allow]]
	DMARCPass       Code = "dmarc_pass"        // Domain, here and below: the Author Domain
	DMARCNone       Code = "dmarc_none"        // no policy is published
	DMARCFail       Code = "dmarc_fail"        // Detail: the tag that requests the policy, such as sp=reject
	DMARCTempError  Code = "dmarc_temperror"   // Detail: the DNS name whose lookup failed; Cause: a dmarc.Cause
	DMARCPermError  Code = "dmarc_permerror"   // Cause: a dmarc.Cause
	TempErrorAsFail Code = "temperror_as_fail" // Domain has a temperror, which counts as a failure; Detail: as of DMARCFail
	TestMode        Code = "policy_test_mode"
	NoAuthor        Code = "no_author"           // there is no Author Domain to check
	SPFFail         Code = "spf_fail"            // spf.fail is reject; Detail: the client
	SPFTempError    Code = "spf_temperror"       // Detail: the DNS name whose lookup failed; Cause: an spf.Cause
	NoSlot          Code = "dns_slots_exhausted" // no DNS slot or no file descriptor was free
	DNSDown         Code = "dns_unreachable"     // the DNS root does not answer
	ReportReceived  Code = "report_received"     // discarded: reports.receive.discard; Domain: the reporter
)

// The codes of rules and relays that prevent a rejection (RFC 9989 section 7.4), and of relays that do not prevent it.
const (
	NeverReject       Code = "reject_never"             // Detail: the configuration key
	AlwaysReject      Code = "reject_always"            // Detail: the configuration key
	SealedPass        Code = "sealed_pass"              // Domain: a trusted sealer that found dmarc=pass
	SealedWithoutPass Code = "sealed_without_pass"      // Domain: a trusted sealer whose results do not state dmarc=pass
	SealedUnreadable  Code = "sealed_unreadable"        // Domain: a trusted sealer whose results have no readable DMARC result
	TrustedClient     Code = "trusted_forwarder_client" // the client is in dmarc.trusted_forwarders
	AcceptedForwarder Code = "accepted_forwarder"       // Domain: the signer; Detail: the [[forwarder]]
	AuthorHeader      Code = "relay_author_header"      // Domain, here and below: the relay; Detail: the method that verified it
	MailingListRelay  Code = "relay_mailing_list"
	SRSRelay          Code = "relay_srs"
	ResentRelay       Code = "relay_resent"
	ARCRelay          Code = "relay_arc"
	RelayDenied       Code = "relay_denied"     // Domain: the relay; Detail: the [[deny]]
	RelayUnverified   Code = "relay_unverified" // Detail: the DNS name whose lookup failed
)

// The codes of evidence for a rejection, or for accepting a sealed message.
const (
	HeaderStale       Code = "author_header_stale"  // the signature verifies over the header, but it is too old or covers too few fields; Domain: the signer
	HeaderBroken      Code = "author_header_broken" // Domain: the signer; Detail: the result of its signature
	NoAuthorSignature Code = "no_author_signature"  // Domain: the Organizational Domain
	NoRelay           Code = "no_relay"             // Detail: the header fields of relays in the message, separated by commas
	NotTrusted        Code = "client_not_trusted"   // the client is not in dmarc.trusted_forwarders
	ChainValid        Code = "chain_valid"          // Domain: the newest sealer; Detail: the number of sets
	SealersTrusted    Code = "sealers_trusted"      // Detail: an instance; the sealer of this instance and all later sealers are trusted
	SealerFoundPass   Code = "sealer_found_pass"    // Domain: the Author Domain; Detail: the instance
	Legacy            Code = "legacy"               // the reason in a journal entry of version 1; Detail: its text
)

// Codes returns all codes, in the order above.
func Codes() []Code {
	return []Code{
		Authenticated, Originating, TrustedNetwork, LocalSubmission, Requeued,
		ReportBounce, SkipNetwork, OwnResults, NotHosted, NoActiveKey, ListedNoKey, SubdomainOfHosted, NotInSignDomains,
		LoginMismatch, SeveralAuthors, TooManyFields, NoUsableKey, TableFailed, SigningFailed, OnMissingKey, BounceUnsigned, InternalError, HeaderTooLarge,
		HostileFrom, HostileTagged, LocalDeny, LocalAllow, DMARCPass, DMARCNone, DMARCFail, DMARCTempError, DMARCPermError, TempErrorAsFail, TestMode,
		NoAuthor, SPFFail, SPFTempError, NoSlot, DNSDown, ReportReceived,
		NeverReject, AlwaysReject, SealedPass, SealedWithoutPass, SealedUnreadable, TrustedClient, AcceptedForwarder,
		AuthorHeader, MailingListRelay, SRSRelay, ResentRelay, ARCRelay, RelayDenied, RelayUnverified,
		HeaderStale, HeaderBroken, NoAuthorSignature, NoRelay, NotTrusted, ChainValid, SealersTrusted, SealerFoundPass, Legacy,
	}
}

// Plain reports whether the code adds nothing to action and role. The log and lists omit the text of such a code.
func (c Code) Plain() bool {
	switch c {
	case Authenticated, Originating, TrustedNetwork, LocalSubmission, DMARCPass, DMARCNone, DMARCPermError, NoAuthor:
		return true
	}
	return false
}
