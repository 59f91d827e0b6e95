package read

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"signpost/internal/domain"
)

// text returns a text of a reporter in one line, without control characters, and cut to maxText bytes.
func text(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// word returns a keyword in lower case.
func word(s string) string { return strings.ToLower(text(s)) }

// domainName returns the domain of a domain name or address, as lower-case A-labels, or "".
func domainName(s string) (n string, ok bool) {
	s = strings.Trim(text(s), "<>")
	n, err := domain.ParseArgument(s[strings.LastIndexByte(s, '@')+1:])
	return n, err == nil
}

// name is like domainName, but returns what is not a name as text in lower case.
func name(s string) string {
	if n, ok := domainName(s); ok {
		return n
	}
	return word(strings.Trim(s, "<> "))
}

// maxCount is the largest number of messages or sessions of a row. With more, a sum over maxRows could overflow.
const maxCount = 1_000_000_000_000

// count returns a number of messages or sessions. If it is not one, ok is false and n is 0.
func count(s string) (n int64, ok bool) {
	if n, ok = number(s); !ok || n > maxCount {
		return 0, false
	}
	return n, true
}

// number returns an integer that is at least 0. It may be written like 12.0.
func number(s string) (n int64, ok bool) {
	s = strings.TrimSpace(s)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || f != math.Trunc(f) || !(f >= 0 && f < 1<<53) {
			return 0, false
		}
		n = int64(f)
	}
	return n, n >= 0
}

// address returns an IP address, or an invalid one.
func address(s string) netip.Addr {
	a, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(s), "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// moment returns a time in seconds or milliseconds since 1970, or in a form of ISO 8601. Without an offset, it is in UTC.
func moment(s string) (t time.Time, ok bool) {
	s = strings.TrimSpace(s)
	if n, ok := number(s); ok {
		if n > 1e11 {
			n /= 1000
		}
		t = time.Unix(n, 0).UTC()
		return t, sensible(t)
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04:05Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), sensible(t)
		}
	}
	return time.Time{}, false
}

// sensible reports whether a report can be about a time. The examples of RFC 9990 are from 1979.
func sensible(t time.Time) bool { return t.Unix() > 0 && t.Year() < 2100 }

// period sets the range of a report. If one end is missing, the range is a day. It returns an error if both are. An end that is a date includes
// this day.
func (r *Report) period(begin, end string) error {
	const day = 24*time.Hour - time.Second
	b, hasBegin := moment(begin)
	e, hasEnd := moment(end)
	switch {
	case !hasBegin && !hasEnd:
		return malformed("no date range")
	case !hasBegin:
		b = e.Add(-day)
	case !hasEnd || e.Before(b):
		e = b.Add(day)
	case len(end) == len(time.DateOnly) && strings.Contains(end, "-"):
		e = e.Add(day)
	}
	if !sensible(b) || !sensible(e) {
		return malformed("no date range")
	}
	r.Begin, r.End = b.Truncate(time.Second), e.Truncate(time.Second)
	return nil
}

// complete sets what must not be empty: reports without an ID are distinguished by their dates.
func (r *Report) complete() {
	if r.ID == "" {
		r.ID = strconv.FormatInt(r.Begin.Unix(), 10) + "-" + strconv.FormatInt(r.End.Unix(), 10)
	}
}

// note adds an error of the report.
func (r *Report) note(s string) {
	if s = text(s); s != "" && len(r.Errors) < maxKept {
		r.Errors = append(r.Errors, s)
	}
}

// Reporter returns the domain that a report claims to come from: that of its contact, or else its organization if this is a domain. It is
// empty if there is none. Nothing in a report proves it.
func (r *Report) Reporter() string {
	for _, s := range []string{r.Contact, r.OrgName} {
		if n, ok := domainName(s[strings.LastIndexByte(s, ' ')+1:]); ok && strings.Contains(n, ".") {
			return n
		}
	}
	return ""
}
