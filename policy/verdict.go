package policy

// Reply is the answer to the SMTP client. The zero Reply accepts.
type Reply struct {
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"` // RFC 3463
	Text     string `json:"text,omitempty"`
}

// Action is what is done with a message.
type Action string

// The actions. Tempfail, Hold and Accept are also the values of sign.on_missing_key.
const (
	Accept   Action = "accept"
	Sign     Action = "sign"
	Tag      Action = "tag"  // accepted, with a header field that marks it for quarantine
	Hold     Action = "hold" // into Postfix's hold queue
	Discard  Action = "discard"
	Tempfail Action = "tempfail"
	Reject   Action = "reject"
)

// Actions returns all actions, the mildest first.
func Actions() []Action { return []Action{Accept, Sign, Tag, Hold, Discard, Tempfail, Reject} }

// Verdict is the decision about a message.
type Verdict struct {
	Action   Action   `json:"action"`
	Reasons  []Reason `json:"reasons,omitempty"` // the first is the reason that decided; the others qualify it
	Override Override `json:"override,omitempty"`
	Evidence []Reason `json:"evidence,omitempty"` // facts that support a rejection, or the acceptance of a sealed message
	Reply    Reply    `json:"reply,omitzero"`
}

// Code returns the code of the reason that decided, or "".
func (v Verdict) Code() Code {
	if len(v.Reasons) == 0 {
		return ""
	}
	return v.Reasons[0].Code
}

// Has reports whether a code is among the reasons.
func (v Verdict) Has(c Code) bool {
	_, ok := v.Find(c)
	return ok
}

// Find returns the first reason with one of these codes.
func (v Verdict) Find(codes ...Code) (Reason, bool) {
	for _, r := range v.Reasons {
		for _, c := range codes {
			if r.Code == c {
				return r, true
			}
		}
	}
	return Reason{}, false
}

// accept returns the verdict that accepts a message.
func accept(reasons ...Reason) Verdict { return Verdict{Action: Accept, Reasons: reasons} }

// refuse returns a verdict with a reply: Tempfail for 4xx, Reject for 5xx.
func refuse(reply Reply, reasons ...Reason) Verdict {
	action := Tempfail
	if reply.Code >= 500 {
		action = Reject
	}
	return Verdict{Action: action, Reply: reply, Reasons: reasons}
}

// Override is the reason why an action differs from what a policy requests: a PolicyOverrideType of RFC 9990.
type Override string

// The overrides.
const (
	LocalPolicy      Override = "local_policy"
	MailingList      Override = "mailing_list"
	PolicyTestMode   Override = "policy_test_mode"
	TrustedForwarder Override = "trusted_forwarder"
)

// override returns the override of a decision. This is the override of the last reason that has one.
func override(reasons []Reason) (last Override) {
	for _, r := range reasons {
		if o, _ := r.Code.Override(); o != "" {
			last = o
		}
	}
	return last
}

// Override returns the override of a reason with this code, or "". known is false for a code that this function does not list. A test
// checks that it lists all codes.
func (c Code) Override() (o Override, known bool) {
	switch c {
	case TestMode:
		return PolicyTestMode, true
	case MailingListRelay:
		return MailingList, true
	case SealedPass, SealedWithoutPass, SealedUnreadable, TrustedClient, AcceptedForwarder:
		return TrustedForwarder, true
	case LocalDeny, LocalAllow, NeverReject, AuthorHeader, SRSRelay, ResentRelay, ARCRelay:
		return LocalPolicy, true
	case Authenticated, Originating, TrustedNetwork, LocalSubmission, Requeued, ReportBounce, SkipNetwork, OwnResults, NotHosted, NoActiveKey, ListedNoKey, SubdomainOfHosted, NotInSignDomains,
		LoginMismatch, SeveralAuthors, TooManyFields, NoUsableKey, TableFailed, SigningFailed, OnMissingKey, BounceUnsigned, InternalError, HeaderTooLarge,
		HostileFrom, HostileTagged, DMARCPass, DMARCNone, DMARCFail, DMARCTempError, DMARCPermError, TempErrorAsFail, NoAuthor, SPFFail, SPFTempError, NoSlot, DNSDown, ReportReceived,
		AlwaysReject, RelayDenied, RelayUnverified, HeaderStale, HeaderBroken, NoAuthorSignature, NoRelay, NotTrusted, ChainValid, SealersTrusted, SealerFoundPass, Legacy:
		return "", true
	}
	return "", false
}

// MissingKey returns the verdict on a message with RoleSign that no key can sign. It fails closed, so that mail of a domain is never
// sent unsigned by accident.
func MissingKey(e Evidence, r Rules, why Reason) Verdict {
	switch {
	case bounce(e):
		return accept(why, Reason{Code: BounceUnsigned})
	case r.OnMissingKey == Accept, r.OnMissingKey == Hold:
		return Verdict{Action: r.OnMissingKey, Reasons: []Reason{why, {Code: OnMissingKey, Detail: string(r.OnMissingKey)}}}
	}
	return refuse(replyCannotSign(), why)
}

// Broken returns the verdict on a message that could not be processed because of a defect or an overload on our side. If such a message
// were accepted, it could be delivered with forged results, or sent without a signature.
func Broken(e Evidence) Verdict {
	why := Reason{Code: InternalError}
	if bounce(e) {
		return accept(why)
	}
	return refuse(replyInternal(), why)
}

// bounce reports whether Postfix itself created this message as a report about another message. Such a message never gets a 4xx or 5xx
// reply, because there is no client that could retry.
func bounce(e Evidence) bool { return !e.Connection.SMTP && e.Envelope.Sender == "" }
