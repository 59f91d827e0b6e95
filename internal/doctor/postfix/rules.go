package postfix

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"signpost/internal/doctor"
)

// rules finds header_checks(5) rules in the tables of a parameter. It calls matters with the pattern of each rule, and returns the rules
// for which the result is true. Only regexp: and pcre: tables can be read.
func (l *site) rules(level doctor.Level, s *service, parameter string, matters func(pattern string) bool, when, why string) (found []doctor.Finding) {
	for _, table := range words(l.postconf.get(s, parameter)) {
		kind, path, _ := strings.Cut(table, ":")
		var text []byte
		err := errNoTable
		if kind == "regexp" || kind == "pcre" {
			text, err = os.ReadFile(path)
		}
		if err != nil {
			found = append(found, doctor.Finding{Level: doctor.Yellow, What: "doctor cannot read " + table + ", which may change mail " + when, Where: l.postconf.where(s, parameter),
				Why: why, Fix: l.postconf.unset(l.postconf.at(s, parameter), parameter)})
			continue
		}
		for _, line := range tableLines(string(text)) {
			pattern, action := rule(line.text)
			if !slices.Contains([]string{"REPLACE", "IGNORE", "STRIP"}, action) || !matters(pattern) {
				continue
			}
			found = append(found, doctor.Finding{Level: level, What: fmt.Sprintf("a rule in %s changes a field or text that may be signed, %s: %s", parameter, when, pattern),
				Where: fmt.Sprintf("%s:%d: %s", path, line.first, line.text), Why: why,
				Fix: fmt.Sprintf("sed -i '%d,%ds/^/#/' %s", line.first, line.last, doctor.Quote(path))})
		}
	}
	return found
}

// rule parses a line of a table: a pattern between two equal delimiters, flags, and an action.
func rule(line string) (pattern, action string) {
	line = strings.TrimPrefix(line, "!")
	first, size := utf8.DecodeRuneInString(line)
	escaped := false
	for i, r := range line[size:] {
		switch {
		case escaped:
			escaped = false
		case r == '\\':
			escaped = true
		case r == first:
			rest := strings.Fields(line[size+i:]) // the first word consists of the delimiter and the flags
			if len(rest) < 2 {
				return line[size : size+i], ""
			}
			return line[size : size+i], strings.ToUpper(rest[1])
		}
	}
	return "", ""
}

// changes returns a function for the patterns of a parameter. That function reports whether a pattern can match signed data: a signed
// field, or the body.
func changes(parameter string) func(pattern string) bool {
	if strings.Contains(parameter, "body") || strings.Contains(parameter, "nested") {
		return func(string) bool { return true }
	}
	return onFields(`from|sender|reply-to|subject|date|to|cc|message-id|in-reply-to|references|mime-version|content-[\w-]+|list-[\w-]+|resent-[\w-]+|dkim-signature`)
}

// onFields returns a function that reports whether a pattern, or one of its alternatives, begins with one of these field names.
func onFields(names string) func(pattern string) bool {
	return regexp.MustCompile(`(?i)(^|[\^(|]|\?:|\\s\*)(` + names + `)($|[^\w-])`).MatchString
}
