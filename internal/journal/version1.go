package journal

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/spf"
	"signpost/policy"
)

// This file reads entries of version 1, whose reasons are sentences. It can be deleted when the last of them has expired.

// entry1 is an entry of version 1. An outer field replaces the field of the same name in an embedded struct. All other fields of embedded
// structs are as in version 2.
type entry1 struct {
	ID         int64     `json:"id"`
	Time       time.Time `json:"time"`
	Cut        bool      `json:"cut"`
	Assignment struct {
		Role        string       `json:"role"`
		Reason      string       `json:"reason"`
		ResultsOnly bool         `json:"results_only"`
		Domain      string       `json:"domain"`
		Reply       policy.Reply `json:"reply"`
	} `json:"assignment"`
	Evidence evidence1 `json:"evidence"`
	Verdict  struct {
		Reply    policy.Reply    `json:"reply"`
		Reason   string          `json:"reason"`
		Override policy.Override `json:"override"`
		Evidence []string        `json:"evidence"`
	} `json:"verdict"`
	Done      string        `json:"done"`
	Observe   bool          `json:"observe"`
	Selectors string        `json:"selectors"`
	Spent     time.Duration `json:"spent"`
	Lookups   []lookup1     `json:"lookups"`
}

type lookup1 struct {
	Name      string        `json:"name"`
	Type      string        `json:"type"`
	Answer    string        `json:"answer"`
	Authentic bool          `json:"authentic"`
	Cached    bool          `json:"cached"`
	Took      time.Duration `json:"took"`
}

// current returns the lookup in the form of version 2. If the answer is stored in the table answer, Records contains the mark of the answer
// until restore calls answer1.
func (l lookup1) current() dns.Lookup {
	now := dns.Lookup{Name: l.Name, Type: l.Type, Authentic: l.Authentic, Cached: l.Cached, Took: dns.Millis(l.Took), Records: []string{l.Answer}}
	if !strings.HasPrefix(l.Answer, mark) {
		answer1(&now, l.Answer)
	}
	return now
}

// answer1 sets the answer of a lookup, which version 1 stored as text.
func answer1(l *dns.Lookup, text string) {
	a := dns.ParseV1(l.Type, text)
	l.Status, l.Records, l.Cut = a.Status, a.Records, a.Cut
}

type evidence1 struct {
	policy.Evidence
	Connection struct {
		Client netip.Addr `json:"client"`
		Name   string     `json:"name"`
		PTR    string     `json:"ptr"`
		HELO   string     `json:"helo"`
		SMTP   bool       `json:"smtp"`
		Daemon string     `json:"daemon"`
	} `json:"connection"`
	Envelope struct {
		Sender     string   `json:"sender"`
		Login      string   `json:"login"`
		Addressees int      `json:"addressees"`
		Recipients []string `json:"recipients"`
	} `json:"envelope"`
	Author struct {
		Domains []string `json:"domains"`
		Doubt   string   `json:"doubt"`
		TooMany bool     `json:"too_many"`
	} `json:"author"`
	Size    int64    `json:"size"`
	Relayed []string `json:"relayed"`
	SPF     *struct {
		spf.Result
		Reason string `json:"reason"`
	} `json:"spf"`
	DKIM []struct {
		dkim.Result
		Reason        string `json:"reason"`
		HeaderHolds   bool   `json:"header_holds"`
		HoldsUntagged bool   `json:"holds_untagged"`
		HeaderOpen    bool   `json:"header_open"`
	} `json:"dkim"`
	Others []policy.Other `json:"others"`
	Absent []string       `json:"absent"`
	Fault  policy.Fault   `json:"fault"`
	DMARC  []struct {
		dmarc.Result
		Aligned string       `json:"aligned"`
		Method  dmarc.Method `json:"cause"`
		Reason  string       `json:"reason"`
		Fault   string       `json:"record_fault"`
	} `json:"dmarc"`
	ARC *struct {
		dkim.Chain
		Reason string `json:"reason"`
	} `json:"arc"`
}

// decodeVersion1 decodes an entry of version 1. Its sentences become details of the code or cause "legacy". If a replay needs the code of a
// sentence, the sentence becomes that code.
func decodeVersion1(text []byte) (Entry, error) {
	var old entry1
	if err := json.Unmarshal(text, &old); err != nil {
		return Entry{}, err
	}
	e := Entry{ID: old.ID, Time: old.Time, Cut: old.Cut, Record: decision.Record{Version: 1, Observe: old.Observe,
		HandlerMS: float64(old.Spent.Microseconds()) / 1000, Evidence: old.Evidence.current(), Assignment: policy.Assignment{
			Role: policy.Role(old.role()), Reason: legacy(old.Assignment.Reason), ResultsOnly: old.Assignment.ResultsOnly, Domain: old.Assignment.Domain}}}
	e.Verdict = policy.Verdict{Action: policy.Action(old.action()), Override: old.Verdict.Override, Reply: old.Verdict.Reply}
	if old.Verdict.Reason != "" && old.Verdict.Reason != old.Assignment.Reason {
		e.Reasons = append(e.Reasons, legacy(old.Verdict.Reason))
	}
	switch hostile := policy.HostileFrom; {
	case old.Assignment.Role == "refuse":
		e.Reply, e.Reasons = old.Assignment.Reply, []policy.Reason{old.refused()}
		if e.Role == policy.RoleSign {
			e.Assignment.Reason = policy.Reason{Code: submitter1(&e.Evidence)}
		}
	case e.Author.Cause == "" || e.Role != policy.RoleVerify:
	case e.Action == policy.Tag:
		e.Reasons = []policy.Reason{{Code: hostile, Cause: string(e.Author.Cause), Detail: e.Author.Detail}, {Code: policy.HostileTagged}}
	case e.Reply.Enhanced == "5.6.0":
		e.Reasons = []policy.Reason{{Code: hostile, Cause: string(e.Author.Cause), Detail: e.Author.Detail}}
	}
	for _, s := range old.Verdict.Evidence {
		e.Verdict.Evidence = append(e.Verdict.Evidence, legacy(s))
	}
	if old.Selectors != "" {
		e.Selectors = strings.Split(old.Selectors, ",")
	}
	e.Code = e.Verdict.Code()
	if e.Code == "" {
		e.Code = e.Assignment.Reason.Code
	}
	for _, l := range old.Lookups {
		e.Lookups = append(e.Lookups, l.current())
	}
	if e.Observe {
		e.Would, e.Action = e.Action, policy.Accept
	}
	return e, nil
}

// refused returns why outbound mail was rejected. It derives the reason from the evidence, in the order in which policy.AssignRole checked
// it.
func (e *entry1) refused() policy.Reason {
	why, ev := legacy(e.Assignment.Reason), e.Evidence.current()
	switch {
	case why.Code != policy.Legacy:
	case ev.Oversize:
		why = policy.Reason{Code: policy.HeaderTooLarge}
	case ev.Author.Cause != "":
		why = policy.Reason{Code: policy.HostileFrom, Cause: string(ev.Author.Cause), Detail: ev.Author.Detail}
	case len(ev.Author.Domains) > 1:
		why = policy.Reason{Code: policy.SeveralAuthors}
	case len(ev.Author.Domains) == 1 && ev.Envelope.Login != "":
		why = policy.Reason{Code: policy.LoginMismatch, Domain: ev.Author.Domains[0], Detail: ev.Envelope.Login}
	}
	return why
}

// submitter1 returns the code of the reason why a message was outbound.
func submitter1(e *policy.Evidence) policy.Code {
	switch {
	case e.Envelope.Login != "":
		return policy.Authenticated
	case e.Connection.SMTP && e.Connection.Daemon == "ORIGINATING":
		return policy.Originating
	case e.Connection.SMTP || !e.Connection.Client.IsLoopback():
		return policy.TrustedNetwork
	}
	return policy.LocalSubmission
}

// legacy returns the reason for a sentence of version 1. Only two sentences get a code: those that what-if needs to repeat the decision.
func legacy(text string) policy.Reason {
	switch text {
	case "", "neither authenticated nor in trusted_networks": // the role verify states it
		return policy.Reason{}
	case "an internal error; see the log":
		return policy.Reason{Code: policy.InternalError}
	case "the message has more header fields to sign than fit into a signature":
		return policy.Reason{Code: policy.TooManyFields}
	}
	return policy.Reason{Code: policy.Legacy, Detail: text}
}

// action returns the action of an entry, which is the first word of the stored text.
func (e *entry1) action() string {
	word, _, _ := strings.Cut(e.Done, " ")
	return (Outcome{Action: word}).current().Action
}

// role returns the role. Version 1 had the role refuse for outbound mail that was rejected, and for inbound mail with a large header.
func (e *entry1) role() string {
	c := &e.Evidence.Connection
	if e.Assignment.Role == "refuse" && e.Evidence.Oversize && e.Evidence.Envelope.Login == "" && c.Daemon != "ORIGINATING" && !c.Client.IsLoopback() {
		return string(policy.RoleVerify)
	}
	return (Outcome{Role: e.Assignment.Role}).current().Role
}

// current returns the outcome in the words of version 2. The database keeps the words of version 1.
func (o Outcome) current() Outcome {
	switch o.Action {
	case "accepted":
		o.Action = string(policy.Accept)
	case "signed":
		o.Action = string(policy.Sign)
	case "tagged":
		o.Action = string(policy.Tag)
	case "held":
		o.Action = string(policy.Hold)
	case "deferred":
		o.Action = string(policy.Tempfail)
	case "refused":
		o.Action = string(policy.Reject)
	}
	switch o.Role {
	case "leave":
		o.Role = string(policy.RoleBypass)
	case "refuse":
		o.Role = string(policy.RoleSign)
	}
	return o
}

// cause1 returns the cause of a failed lookup. The method determines the cause.
func cause1(m dmarc.Method) dmarc.Cause {
	switch m {
	case dmarc.DKIM:
		return dmarc.KeyLookupFailed
	case dmarc.SPF:
		return dmarc.SPFLookupFailed
	}
	return policy.LegacyCause // this includes a failed policy lookup; the detail states the method
}

func (e *evidence1) current() policy.Evidence {
	now := e.Evidence
	now.Connection = policy.Connection(e.Connection)
	now.Envelope = policy.Envelope(e.Envelope)
	now.Author = dmarc.Author{Domains: e.Author.Domains}
	if now.Author.Detail = e.Author.Doubt; e.Author.Doubt != "" {
		now.Author.Cause = policy.LegacyCause
		if e.Author.TooMany {
			now.Author.Cause = dmarc.FromTooManyDomains
		}
	}
	now.Size, now.Relayed, now.Others, now.Absent, now.Fault = e.Size, e.Relayed, e.Others, e.Absent, e.Fault
	if s := e.SPF; s != nil {
		s.Result.Cause, s.Result.Detail = policy.LegacyCause, s.Reason
		now.SPF = &s.Result
	}
	for _, s := range e.DKIM {
		r := s.Result
		r.Cause, r.Detail = policy.LegacyCause, s.Reason
		r.HeaderHolds, r.HoldsUntagged, r.HeaderOpen = s.HeaderHolds, s.HoldsUntagged, s.HeaderOpen
		now.DKIM = append(now.DKIM, r)
	}
	for _, d := range e.DMARC {
		r := d.Result
		r.Cause, r.Detail = cause1(d.Method), d.Reason
		if method, domain, ok := strings.Cut(d.Aligned, " "); ok {
			r.Aligned = &dmarc.AlignedIdentifier{Method: dmarc.Method(method), Domain: domain}
		}
		if d.Fault != "" {
			r.Fault = &dmarc.Fault{Cause: policy.LegacyCause, Detail: d.Fault}
		}
		now.DMARC = append(now.DMARC, r)
	}
	if c := e.ARC; c != nil {
		c.Chain.Cause, c.Chain.Detail = policy.LegacyCause, c.Reason
		now.ARC = &c.Chain
	}
	return now
}
