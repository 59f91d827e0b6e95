package filter

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/spf"
	"signpost/policy"
)

const (
	// maxLine is the maximum size in bytes of the attributes of a line. With time, level and message, a line has at most 4 KiB.
	maxLine = 4<<10 - 128
	// tail is the part of maxLine that is reserved for the numbers at the end of a line.
	tail = 256
	// maxValue is the maximum size of most values. maxWords is the maximum size of a value that has a part for each signature or reason.
	maxValue = 256
	maxWords = 1024
	// maxRcpts is the maximum number of recipients in a line.
	maxRcpts = 10
	// usualAttrs is the initial capacity. It is enough for a verified message with all optional attributes.
	usualAttrs = 32
)

// log writes the log line of a message. Do not change the attributes or their order. The section "What every log line means" of docs/log.md
// describes them. Values that a sender can choose come after client and role. The handler quotes them.
func (f *Filter) log(ctx context.Context, r *decision.Record) {
	l := line{attrs: make([]slog.Attr, 0, usualAttrs), left: maxLine - tail}
	l.text("queue_id", r.QueueID, maxValue)
	client := "unknown"
	if r.Client.IsValid() {
		client = r.Client.String()
	}
	l.text("client", client, maxValue)
	l.text("action", string(r.Action), maxValue)
	l.text("would", string(r.Would), maxValue)
	l.text("code", string(r.Code), maxValue)
	l.text("role", string(r.Role), maxValue)
	l.text("header_from", strings.Join(r.Author.Domains, ","), maxValue)
	l.attrs = append(l.attrs, slog.String("mail_from", l.fit(r.Sender, maxValue)))
	l.text("login", r.Login, maxValue)
	l.text("rcpts", strings.Join(r.Recipients[:min(maxRcpts, len(r.Recipients))], ","), maxWords/2)
	l.number("rcpt_count", r.Addressees)
	if r.SPF != nil && r.Role == policy.RoleVerify {
		l.text("spf", spfWord(r.SPF), maxValue)
		l.text("dkim", dkimWords(r.DKIM), maxWords/2)
		l.text("arc", arcWord(r.ARC), maxValue)
		status, policies := dmarcWords(r.DMARC)
		l.text("dmarc", status, maxValue)
		l.text("policy", policies, maxValue)
	}
	l.text("override", string(r.Override), maxValue)
	if r.Reply.Code != 0 {
		l.text("reply", fmt.Sprintf("%d %s", r.Reply.Code, r.Reply.Enhanced), maxValue)
	}
	l.text("reason", reason(r), maxWords)
	l.text("evidence", policy.Text(r.Verdict.Evidence), maxWords/2)
	l.text("compared", policy.Compare(r.Evidence).String(), maxWords)
	l.text("message_id", r.MessageID, maxValue)
	l.text("helo", r.HELO, maxValue)
	if !r.SMTP {
		l.attrs = append(l.attrs, slog.Bool("smtp", false))
	}
	l.text("sign_domain", r.Assignment.Domain, maxValue)
	l.text("selectors", strings.Join(r.Selectors, ","), maxValue)
	if r.Report != nil {
		l.text("report", string(r.Report.Copy), maxValue)
	}
	l.attrs = append(l.attrs, slog.Int64("body_bytes", r.Size))
	l.number("forged_fields_removed", r.Forged)
	l.number("unnamed_results_removed", r.Unnamed)
	if r.Role == policy.RoleVerify {
		l.attrs = append(l.attrs, slog.Int("dns_queries", r.DNSQueries), slog.Float64("dns_ms", r.DNSMS))
	}
	l.attrs = append(l.attrs, slog.Float64("handler_ms", r.HandlerMS))
	level := slog.LevelInfo
	if decided := r.Decided(); decided == policy.Tempfail || decided == policy.Hold || r.LongLines != nil && r.LongLines.LongestLineBytes > 0 {
		level = slog.LevelWarn
	}
	// This does not call LogAttrs. LogAttrs would look up a source line, and the log does not show source lines.
	if h := f.Log.Handler(); h.Enabled(ctx, level) {
		record := slog.NewRecord(time.Now(), level, "message", 0)
		record.AddAttrs(l.attrs...)
		_ = h.Handle(ctx, record) // an error cannot be reported
	}
}

// reason returns the reason why the message was not simply accepted or signed, and notes about a signed message.
func reason(r *decision.Record) string {
	var all []string
	if !r.Assignment.Reason.Code.Plain() && r.Assignment.Reason.Code != r.Verdict.Code() {
		all = append(all, r.Assignment.Reason.String())
	}
	if !r.Verdict.Code().Plain() {
		all = append(all, policy.Text(r.Reasons))
	}
	all = append(all, policy.Absent(r.Absent), policy.LongLines(r.LongLines))
	var text strings.Builder
	for _, s := range all {
		if s != "" && text.Len() > 0 {
			text.WriteString("; ")
		}
		text.WriteString(s)
	}
	return text.String()
}

// line collects the attributes of a line. left is the number of bytes that still fit.
type line struct {
	attrs []slog.Attr
	left  int
}

// text adds a value unless it is empty. The parameter most is the maximum length of the value in bytes.
func (l *line) text(key, value string, most int) {
	if value == "" {
		return
	}
	l.left -= len(key) + len(` =""`)
	if l.left > 0 {
		l.attrs = append(l.attrs, slog.String(key, l.fit(value, most)))
	}
}

func (l *line) number(key string, n int) {
	if n > 0 {
		l.attrs = append(l.attrs, slog.Int(key, n))
	}
}

// fit cuts a value to the length most. If the quoted value does not fit into the rest of the line, fit cuts more.
func (l *line) fit(value string, most int) string {
	value = clip(value, most)
	for size := quoted(value); size > l.left; size = quoted(value) {
		value = clip(value, max(0, len(value)/2-len(cutMark)))
		if len(value) <= len(cutMark) {
			break
		}
	}
	l.left -= quoted(value)
	return value
}

// quoted returns the size that a value takes in a log line. It is the larger of the sizes in text and in JSON. The quotes around the value
// do not count.
func quoted(s string) int {
	plain := true
	inJSON := len(s)
	for _, r := range s {
		switch {
		case r < ' ' || r == utf8.RuneError: // JSON has \u0001, or \ufffd for a byte that is not valid UTF-8
			inJSON += len(`\u0000`) - 1
		case r == '"' || r == '\\':
			inJSON++
		case r == '\u2028' || r == '\u2029':
			inJSON += len(`\u2028`) - len("\u2028")
		case r < 0x7f:
			continue
		}
		plain = false
	}
	if plain {
		return len(s)
	}
	return max(len(strconv.Quote(s)), inJSON)
}

// spfWord returns status and domain: "pass:example.org".
func spfWord(s *spf.Result) string {
	return strings.TrimSuffix(string(s.Status)+":"+s.Domain, ":")
}

// dkimWords returns status, domain and selector of each signature: "pass:example.org/s1,fail:list.example/x".
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

// arcWord returns the status and the newest sealer: "pass:list.example".
func arcWord(c *dkim.Chain) string {
	switch {
	case c == nil:
		return ""
	case len(c.Sets) == 0:
		return string(c.Status)
	}
	return string(c.Status) + ":" + c.Sets[len(c.Sets)-1].Domain
}

// dmarcWords returns the status and the policy of each Author Domain.
func dmarcWords(domains []dmarc.Result) (status, policies string) {
	if len(domains) == 1 {
		return string(domains[0].Status), string(domains[0].Policy)
	}
	var words [2][]string
	for _, d := range domains {
		words[0], words[1] = append(words[0], string(d.Status)), append(words[1], string(d.Policy))
	}
	return strings.Join(words[0], ","), strings.Trim(strings.Join(words[1], ","), ",")
}

// cutMark ends a value that was cut.
const cutMark = "..."

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + cutMark
}
