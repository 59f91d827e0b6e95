package filter

import (
	"log/slog"
	"strings"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/policy"
)

const (
	// maxLogged is how much of a stranger's words stands in a log line.
	maxLogged = 256
	// maxWords is how much of our own: all evidence, and the results of all signatures that are verified, with names of
	// usual length.
	maxWords = 2048
	// maxAttrs is how many attributes a line has: those of a verified message, and all that can join them.
	maxAttrs = 25
)

// log writes the one line of a message, its queue ID first. What comes from outside is quoted by the handler.
func (m *message) log(forged, unnamed int) {
	e := &m.evidence
	did, would := m.did, ""
	if m.filter.Observe {
		did, would = "accepted", m.did
	}
	attrs := make([]slog.Attr, 0, maxAttrs)
	attrs = append(attrs, slog.String("queue_id", clip(e.QueueID, maxLogged)), slog.String("role", string(m.assignment.Role)), slog.String("verdict", did))
	addUpTo := func(most int, key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, clip(value, most)))
		}
	}
	add := func(key, value string) { addUpTo(maxLogged, key, value) }
	words := func(key, value string) { addUpTo(maxWords, key, value) }
	add("would", would)
	reason := m.assignment.Reason
	if m.verdict.Reason != "" && m.verdict.Reason != reason {
		reason += "; " + m.verdict.Reason
	}
	for _, note := range []string{policy.Absent(e.Absent), policy.LongLines(e.LongLines)} {
		if note != "" {
			reason += "; " + note
		}
	}
	words("reason", reason)
	add("override", string(m.verdict.Override))
	words("evidence", strings.Join(m.verdict.Evidence, ", "))
	words("author", strings.Join(e.Author.Domains, ","))
	if m.verifying() {
		words("spf", spfWord(e.SPF))
		words("dkim", dkimWords(e.DKIM))
		words("arc", arcWord(e.ARC))
		words("dmarc", dmarcWords(e.DMARC))
	}
	words("compared", compared(*e))
	add("domain", m.assignment.Domain)
	add("selectors", m.selectors)
	attrs = append(attrs, slog.String("sender", clip(e.Envelope.Sender, maxLogged)))
	add("login", e.Envelope.Login)
	client := "unknown"
	if e.Connection.Client.IsValid() {
		client = e.Connection.Client.String()
	}
	add("client", client)
	attrs = append(attrs, slog.Bool("smtp", e.Connection.SMTP))
	add("helo", e.Connection.HELO)
	add("message_id", e.MessageID)
	attrs = append(attrs, slog.Int64("size", e.Size))
	if forged > 0 {
		attrs = append(attrs, slog.Int("forged_fields_removed", forged))
	}
	if unnamed > 0 {
		attrs = append(attrs, slog.Int("unnamed_results_removed", unnamed))
	}
	if v := m.verification; v != nil {
		queries, open := v.view.Spent()
		attrs = append(attrs, slog.Int("dns_queries", queries), slog.Duration("dns_time", open))
	}
	attrs = append(attrs, slog.Duration("handler_time", m.spent))
	level := slog.LevelInfo
	if strings.HasPrefix(m.did, "deferred") || m.did == "held" || e.LongLines != nil && e.LongLines.LongestLineBytes > 0 {
		level = slog.LevelWarn
	}
	// Not by LogAttrs, which looks for its caller's place in the source, that no line shows.
	if h := m.filter.Log.Handler(); h.Enabled(m.ctx, level) {
		record := slog.NewRecord(time.Now(), level, "message", 0)
		record.AddAttrs(attrs...)
		_ = h.Handle(m.ctx, record) // nobody is there to be told
	}
}

func spfWord(s *spf.Result) string {
	return strings.TrimSuffix(string(s.Status)+":"+s.Domain, ":")
}

// dkimWords has for each signature its status, domain and selector.
func dkimWords(signatures []dkim.Result) string {
	if len(signatures) == 0 {
		return "none"
	}
	var words []string
	for _, s := range signatures {
		words = append(words, strings.TrimSuffix(string(s.Status)+":"+strings.TrimSuffix(s.Domain+"/"+s.Selector, "/"), ":"))
	}
	return strings.Join(words, ",")
}

// dmarcWords has for each Author Domain its status and policy.
func dmarcWords(domains []dmarc.Result) string {
	var words []string
	for _, d := range domains {
		words = append(words, strings.TrimSuffix(string(d.Status)+":"+string(d.Policy), ":"))
	}
	return strings.Join(words, ",")
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
