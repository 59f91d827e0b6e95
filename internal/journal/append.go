package journal

import (
	"errors"
	"math"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/spf"
	"signpost/policy"
)

// appendEntry appends the JSON of an entry, with the bytes that encoding/json writes without HTML escaping. It exists because each message is
// encoded, and encoding/json takes four times as long. The fields are in the order of their structs. It returns an error if the year has more
// than four digits or a number is not finite.
func appendEntry(b []byte, e *Entry) ([]byte, error) {
	for _, ms := range [...]float64{e.DNSMS, e.HandlerMS} {
		if math.IsNaN(ms) || math.IsInf(ms, 0) {
			return b, errors.New("a number of milliseconds is not finite")
		}
	}
	b = append(b, '{')
	b = appendInt(b, "id", e.ID)
	b = append(appendName(b, "time"), '"')
	b, err := e.Time.AppendText(b)
	if err != nil {
		return b, err
	}
	b = append(b, '"', ',')
	b = appendTrue(b, "cut", e.Cut)
	b = appendInt(b, "v", e.Version)
	b = appendText(b, "code", e.Code)
	b = appendAssignment(b, &e.Assignment)
	b = appendVerdict(b, &e.Verdict)
	b = appendEvidence(b, &e.Evidence)
	b = appendTrue(b, "observe", e.Observe)
	b = appendText(b, "would", e.Would)
	b = appendTexts(b, "selectors", e.Selectors)
	b = appendCount(b, "forged_fields_removed", e.Forged)
	b = appendCount(b, "unnamed_results_removed", e.Unnamed)
	b = appendCount(b, "dns_queries", e.DNSQueries)
	if e.DNSMS != 0 {
		b = appendFloat(b, "dns_ms", e.DNSMS)
	}
	b = appendFloat(b, "handler_ms", e.HandlerMS)
	b = appendList(b, "lookups", e.Lookups, appendLookup)
	return end(b, '}'), nil
}

func appendAssignment(b []byte, a *policy.Assignment) []byte {
	b = appendText(b, "role", a.Role)
	if a.Reason != (policy.Reason{}) {
		b = appendReason(append(appendName(b, "role_reason"), '{'), &a.Reason)
		b = append(end(b, '}'), ',')
	}
	b = appendTrue(b, "results_only", a.ResultsOnly)
	return appendText(b, "sign_domain", a.Domain)
}

func appendVerdict(b []byte, v *policy.Verdict) []byte {
	b = appendString(b, "action", v.Action)
	b = appendList(b, "reasons", v.Reasons, appendReason)
	b = appendText(b, "override", v.Override)
	b = appendList(b, "evidence", v.Evidence, appendReason)
	if v.Reply != (policy.Reply{}) {
		b = append(appendName(b, "reply"), '{')
		b = appendCount(b, "code", v.Reply.Code)
		b = appendText(b, "enhanced", v.Reply.Enhanced)
		b = appendText(b, "text", v.Reply.Text)
		b = append(end(b, '}'), ',')
	}
	return b
}

func appendReason(b []byte, r *policy.Reason) []byte {
	b = appendString(b, "code", r.Code)
	b = appendText(b, "domain", r.Domain)
	b = appendText(b, "detail", r.Detail)
	b = appendText(b, "cause", r.Cause)
	return appendText(b, "address", r.Address)
}

func appendUsed(b []byte, u *policy.UsedAddress) []byte {
	b = appendText(b, "address", u.Address)
	b = appendString(b, "use", u.Use)
	return appendText(b, "table", u.Table)
}

func appendEvidence(b []byte, e *policy.Evidence) []byte {
	b = appendText(b, "queue_id", e.QueueID)
	b = appendConnection(b, &e.Connection)
	b = appendString(b, "mail_from", e.Sender)
	b = appendText(b, "login", e.Login)
	b = appendCount(b, "rcpt_count", e.Addressees)
	b = appendTexts(b, "rcpts", e.Recipients)
	b = appendTexts(b, "header_from", e.Author.Domains)
	b = appendTexts(b, "from_addresses", e.Author.Addresses)
	b = appendText(b, "from_cause", e.Author.Cause)
	b = appendText(b, "from_detail", e.Author.Detail)
	b = appendText(b, "message_id", e.MessageID)
	b = appendTrue(b, "own_results", e.OwnResults)
	b = appendTrue(b, "oversize", e.Oversize)
	b = appendInt(b, "body_bytes", e.Size)
	b = appendTrue(b, "to_reports", e.ToReports)
	b = appendTrue(b, "report_mail", e.ReportMail)
	b = appendTexts(b, "relay_fields", e.Relayed)
	b = appendPointer(b, "report", e.Report, appendReport)
	b = appendText(b, "results_about", e.ResultsAbout)
	b = appendList(b, "other_results", e.Others, appendOther)
	b = appendText(b, "listed", e.Listed)
	b = appendText(b, "listed_in", e.ListedIn)
	b = appendList(b, "from_use", e.FromUse, appendUsed)
	b = appendPointer(b, "sender_use", e.SenderUse, appendUsed)
	b = appendPointer(b, "spf", e.SPF, appendSPF)
	b = appendList(b, "dkim", e.DKIM, appendDKIM)
	b = appendList(b, "dmarc", e.DMARC, appendDMARC)
	b = appendPointer(b, "arc", e.ARC, appendARC)
	b = appendList(b, "sealed_dmarc", e.SealedDMARC, appendSealed)
	b = appendList(b, "relays", e.Relays, appendRelay)
	b = appendTrue(b, "relays_checked", e.RelaysChecked)
	b = appendPointer(b, "long_lines", e.LongLines, appendLongLines)
	b = appendTexts(b, "missing_fields", e.Absent)
	return appendText(b, "own_fault", e.Fault)
}

func appendReport(b []byte, r *policy.ReceivedReport) []byte {
	b = appendString(b, "copy", r.Copy)
	b = appendText(b, "kind", r.Kind)
	b = appendText(b, "reporter", r.Reporter)
	b = appendText(b, "tls_reporter", r.TLSReporter)
	return appendTrue(b, "only_report_addresses", r.OnlyReportAddresses)
}

func appendConnection(b []byte, c *policy.Connection) []byte {
	switch {
	case c.Client.Zone() != "":
		b = appendString(b, "client", c.Client.String())
	case c.Client.IsValid():
		b = append(appendName(b, "client"), '"')
		b = append(c.Client.AppendTo(b), '"', ',')
	}
	b = appendText(b, "client_name", c.Name)
	b = appendText(b, "client_ptr", c.PTR)
	b = appendText(b, "helo", c.HELO)
	b = appendBool(b, "smtp", c.SMTP)
	return appendText(b, "daemon_name", c.Daemon)
}

func appendOther(b []byte, o *policy.Other) []byte {
	b = appendString(b, "method", o.Method)
	b = appendString(b, "result", o.Result)
	b = appendText(b, "domain", o.Domain)
	b = appendTrue(b, "helo", o.HELO)
	b = appendText(b, "selector", o.Selector)
	b = appendText(b, "signature", o.Signature)
	return appendText(b, "reason", o.Reason)
}

func appendSPF(b []byte, r *spf.Result) []byte {
	b = appendString(b, "status", r.Status)
	b = appendString(b, "identity", r.Identity)
	b = appendText(b, "domain", r.Domain)
	b = appendText(b, "cause", r.Cause)
	b = appendText(b, "detail", r.Detail)
	b = appendText(b, "term", r.Term)
	b = appendText(b, "record_domain", r.RecordDomain)
	b = appendText(b, "record", r.Record)
	return appendText(b, "failed", r.Failed)
}

func appendDKIM(b []byte, r *dkim.Result) []byte {
	b = appendString(b, "status", r.Status)
	b = appendText(b, "cause", r.Cause)
	b = appendText(b, "detail", r.Detail)
	b = appendText(b, "domain", r.Domain)
	b = appendText(b, "selector", r.Selector)
	b = appendText(b, "identity", r.Identity)
	b = appendText(b, "algorithm", r.Algorithm)
	b = appendCount(b, "key_bits", r.KeyBits)
	b = appendTrue(b, "testing", r.Testing)
	b = appendTexts(b, "headers", r.Headers)
	b = appendText(b, "signature", r.Signature)
	b = appendText(b, "key_name", r.KeyName)
	b = appendText(b, "key_record", r.KeyRecord)
	b = appendTrue(b, "header_verifies", r.HeaderHolds)
	b = appendTrue(b, "header_verifies_untagged", r.HoldsUntagged)
	return appendTrue(b, "header_unknown", r.HeaderOpen)
}

func appendDMARC(b []byte, r *dmarc.Result) []byte {
	b = appendString(b, "status", r.Status)
	b = appendString(b, "domain", r.Domain)
	b = appendText(b, "org_domain", r.OrgDomain)
	b = appendText(b, "policy_domain", r.PolicyDomain)
	b = appendText(b, "record", r.Record)
	b = appendText(b, "tag", r.Tag)
	b = appendText(b, "published", r.Published)
	b = appendText(b, "policy", r.Policy)
	b = appendTrue(b, "testing", r.Testing)
	b = appendPointer(b, "aligned", r.Aligned, appendAligned)
	b = appendText(b, "cause", r.Cause)
	b = appendText(b, "detail", r.Detail)
	b = appendText(b, "identifier_domain", r.IdentifierDomain)
	b = appendText(b, "failed", r.Failed)
	b = appendText(b, "assumed", r.Assumed)
	b = appendTrue(b, "remembered", r.Remembered)
	return appendPointer(b, "record_fault", r.Fault, appendFault)
}

func appendAligned(b []byte, a *dmarc.AlignedIdentifier) []byte {
	b = appendString(b, "method", a.Method)
	return appendString(b, "domain", a.Domain)
}

func appendFault(b []byte, f *dmarc.Fault) []byte {
	b = appendString(b, "cause", f.Cause)
	return appendText(b, "detail", f.Detail)
}

func appendARC(b []byte, c *dkim.Chain) []byte {
	b = appendString(b, "status", c.Status)
	b = appendText(b, "cause", c.Cause)
	b = appendText(b, "detail", c.Detail)
	b = appendText(b, "field", c.Field)
	b = appendCount(b, "instance", c.Instance)
	b = appendText(b, "key_name", c.KeyName)
	b = appendTrue(b, "temporary", c.Temporary)
	b = appendText(b, "failed", c.Failed)
	b = appendList(b, "sets", c.Sets, appendSealer)
	return appendCount(b, "oldest_pass", c.OldestPass)
}

func appendSealer(b []byte, s *dkim.Sealer) []byte {
	b = appendInt(b, "instance", s.Instance)
	b = appendString(b, "domain", s.Domain)
	b = appendString(b, "selector", s.Selector)
	b = appendString(b, "cv", s.CV)
	b = appendBool(b, "covers_from", s.CoversFrom)
	return appendString(b, "results", s.Results)
}

func appendSealed(b []byte, s *policy.SealedDMARC) []byte {
	b = appendInt(b, "instance", s.Instance)
	b = appendString(b, "domain", s.Domain)
	return appendString(b, "result", s.Result)
}

func appendRelay(b []byte, r *policy.Relay) []byte {
	b = appendString(b, "kind", r.Kind)
	b = appendString(b, "domain", r.Domain)
	b = appendString(b, "method", r.Method)
	b = appendText(b, "author", r.Author)
	return appendText(b, "failed", r.Failed)
}

func appendLongLines(b []byte, l *dkim.LongLines) []byte {
	b = appendCount(b, "longest_line_bytes", l.LongestLineBytes)
	b = appendText(b, "field", l.Field)
	return appendTexts(b, "unsigned", l.Unsigned)
}

func appendLookup(b []byte, l *dns.Lookup) []byte {
	b = appendString(b, "name", l.Name)
	b = appendString(b, "type", l.Type)
	b = appendString(b, "status", l.Status)
	b = appendTexts(b, "records", l.Records)
	b = appendCount(b, "ttl_s", l.TTL)
	b = appendTrue(b, "dnssec", l.Authentic)
	b = appendTrue(b, "cached", l.Cached)
	if l.Took != 0 {
		b = append(l.Took.Append(appendName(b, "query_ms")), ',')
	}
	return appendCount(b, "cut_bytes", l.Cut)
}
