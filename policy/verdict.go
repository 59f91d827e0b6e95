package policy

// Reply is what the SMTP client is told. The zero Reply accepts.
type Reply struct {
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"` // RFC 3463
	Text     string `json:"text,omitempty"`
}

// MissingKeyAction is sign.on_missing_key.
type MissingKeyAction string

// What can be done with mail that should be signed and cannot be.
const (
	Tempfail MissingKeyAction = "tempfail"
	Hold     MissingKeyAction = "hold"
	Accept   MissingKeyAction = "accept"
)

// Verdict is what is done with a message at its end.
type Verdict struct {
	Reply    Reply    `json:"reply,omitzero"`
	Hold     string   `json:"hold,omitempty"`     // Postfix's hold queue, and why
	Tag      string   `json:"tag,omitempty"`      // the message goes on as one to be quarantined, and why
	Reason   string   `json:"reason,omitempty"`   // why it is not simply accepted, for the log
	Override Override `json:"override,omitempty"` // why it is not what the domain's policy asks for
	Evidence []string `json:"evidence,omitempty"` // what a refusal rests on, or a sealed message that fails and is let through
}

// Override is why what is done differs from what a policy asks for, in the words of RFC 9990's PolicyOverrideType.
type Override string

// The overrides.
const (
	LocalPolicy      Override = "local_policy"
	MailingList      Override = "mailing_list"
	PolicyTestMode   Override = "policy_test_mode"
	TrustedForwarder Override = "trusted_forwarder"
)

// MissingKey decides about a message that its role says to sign where no key can: fail closed, so that a domain's mail is
// never silently unsigned. why names what is missing.
func MissingKey(e Evidence, r Rules, why string) Verdict {
	switch {
	case bounce(e):
		return Verdict{Reason: why + "; a bounce made here goes out unsigned rather than being lost"}
	case r.OnMissingKey == Accept:
		return Verdict{Reason: why + "; sign.on_missing_key = accept"}
	case r.OnMissingKey == Hold:
		return Verdict{Hold: why, Reason: why + "; sign.on_missing_key = hold"}
	}
	return Verdict{Reply: Reply{451, "4.3.5", "Message cannot be signed at the moment, try again later"}, Reason: why}
}

// Broken decides about a message that could not be worked on to its end: a defect of ours or an overload. Accepting it
// could let a forged result through or an unsigned message out.
func Broken(e Evidence) Verdict {
	const why = "an internal error; see the log"
	if bounce(e) {
		return Verdict{Reason: why}
	}
	return Verdict{Reply: Reply{451, "4.3.0", "Temporary failure of the mail filter, try again later"}, Reason: why}
}

// bounce says that Postfix itself made this message about another one: it is never answered 4xx or 5xx, because nobody is
// there to try again.
func bounce(e Evidence) bool { return !e.Connection.SMTP && e.Envelope.Sender == "" }
