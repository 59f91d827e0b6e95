package dns

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// ParseV1 parses an answer from a journal entry of version 1. There, an answer is one text that contains the records or the error. It sets
// the type, status, records and Cut of the Lookup. The other values are in the journal entry.
func ParseV1(qtype, answer string) Lookup {
	l := Lookup{Type: qtype, Status: NoError}
	switch n, _ := fmt.Sscanf(answer, "(cut, %d bytes)", &l.Cut); {
	case n == 1:
		return l
	case answer == "(no longer known)":
		l.Status = Forgotten
		return l
	case qtype == "TXT":
		if l.parseTextV1(answer) {
			return l
		}
	default:
		l.Records = strings.Split(answer, ", ")
		if recall(question{qtype: dns.StringToType[qtype]}, l) != nil { // names end in a dot, errors do not
			return l
		}
	}
	return Lookup{Type: qtype, Status: statusV1(answer)}
}

// parseTextV1 parses quoted TXT records. A note on omitted records may follow.
func (l *Lookup) parseTextV1(answer string) bool {
	for rest := answer; rest != ""; rest = strings.TrimPrefix(rest, ", ") {
		var left, bytes int
		if n, _ := fmt.Sscanf(rest, "(%d more records, %d bytes)", &left, &bytes); n == 2 && len(l.Records) > 0 {
			l.Cut = bytes
			for _, r := range l.Records {
				l.Cut += len(r)
			}
			return true
		}
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return false
		}
		rest = rest[len(quoted):]
		record, _ := strconv.Unquote(quoted) // QuotedPrefix has checked it
		l.Records = append(l.Records, record)
	}
	return true
}

// statusV1 returns the Status for the text of an error in version 1.
func statusV1(text string) Status {
	for _, c := range []struct {
		end string
		s   Status
	}{
		{"too many open files", NoDescriptor},
		{"too many open files in system", NoDescriptor},
		{"connection refused", ConnectionRefused},
		{"connection reset by peer", ConnectionClosed},
	} {
		if strings.HasSuffix(text, ": "+c.end) {
			return c.s
		}
	}
	for _, c := range []struct {
		begin string
		s     Status
	}{
		{"no such name", NXDomain},
		{"no such record", NoData},
		{"timeout", Timeout},
		{"no answer in time", Timeout},
		{"the time for it was up", Timeout},
		{"too many DNS lookups at a time", NoSlot},
		{"too many queries at a time", NoSlot},
		{"its aliases lead in circles", AliasLoop},
		{"the answer is to another question", UnrelatedAnswer},
		{"the answer is truncated", Truncated},
		{"malformed answer", Malformed},
		{"internal error", InternalError},
		{"there is no name server", NoServer},
		{"this host is short of resources", NoSocket},
		{"EOF", ConnectionClosed},
	} {
		if strings.HasPrefix(text, c.begin) {
			return c.s
		}
	}
	if rcode, ok := strings.CutPrefix(text, "the name servers answer "); ok && rcode != "" {
		return Status(rcode)
	}
	if _, what, ok := strings.Cut(text, "more than "); ok {
		switch {
		case strings.HasSuffix(what, " records"):
			return TooManyRecords
		case strings.HasSuffix(what, " aliases"):
			return TooManyAliases
		case strings.HasSuffix(what, " of text"):
			return TooMuchText
		}
	}
	return Unreachable
}
