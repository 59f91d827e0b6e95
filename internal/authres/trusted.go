package authres

import "strings"

// ReadTrusted parses the results of a sealer that the operator trusts. It ignores stray words and results that cannot be parsed. ok is
// false if a quoted string or a comment does not end. Without this check, text that the sealer copied from its client could be read as
// results.
//
// If the value of a DMARC result cannot be parsed, the result has an empty Value. So the caller can see that there is more than one DMARC
// result. A property value that is not a single quoted string keeps its quotes.
func ReadTrusted(value string) (results []Result, ok bool) {
	if len(value) > maxRead || !plain(value) {
		return nil, false
	}
	for first := true; value != ""; first = false {
		end, ok := endOf(value, ";")
		if !ok || len(results) >= maxResults {
			return nil, false
		}
		part := value[:end]
		value = value[min(end+1, len(value)):]
		if r, ok := readLoosely(part); ok || !first && isDMARC(part) {
			results = append(results, r...)
		}
	}
	return results, true
}

// isDMARC reports whether a part that cannot be parsed begins like a DMARC result.
func isDMARC(part string) bool {
	start, ok := skipCFWS(part)
	if !ok {
		return false
	}
	word, _ := readWord(start)
	return strings.EqualFold(word, "dmarc")
}

// readLoosely parses one result and ignores words in it that are not properties. If dmarc= follows without a semicolon, it also returns
// an empty DMARC result.
func readLoosely(part string) (results []Result, ok bool) {
	s, ok := skipCFWS(part)
	if !ok || s == "" {
		return nil, false
	}
	word, s := readWord(s)
	r := Result{Method: strings.ToLower(word)}
	if strings.HasPrefix(s, "/") {
		s = strings.TrimLeft(s[1:], "0123456789")
	}
	if s, ok = skipEquals(s); !ok || strings.Contains(word, ".") {
		return []Result{r}, false
	}
	word, s = readWord(s)
	r.Value = strings.ToLower(word)
	results = []Result{{}}
	for {
		if s, ok = skipCFWS(s); !ok || s == "" {
			break
		}
		name, rest := readWord(s)
		text, equals := skipEquals(rest)
		if !equals || name == "" {
			end, _ := endOf(s, " \t\r\n(")
			s = s[max(end, 1):]
			continue
		}
		end, _ := endOf(text, " \t\r\n(")
		value := text[:end]
		s = text[end:]
		if value != "" && value[0] == '"' {
			if unquoted, rest, ok := readValue(value); ok && rest == "" {
				value = unquoted
			}
		}
		if kind, prop, typed := strings.Cut(strings.ToLower(name), "."); typed {
			r.Props = append(r.Props, Prop{kind, prop, value})
		} else if kind == "reason" {
			r.Reason = value
		} else if kind == "dmarc" {
			results = append(results, Result{Method: kind})
		}
	}
	results[0] = r
	return results, true
}

// endOf returns the index of the first byte of s that is in stops. It skips quoted strings and comments. If there is none, it returns
// len(s). ok is false if a quoted string or a comment does not end.
func endOf(s, stops string) (end int, ok bool) {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if depth == 0 && !quoted && strings.IndexByte(stops, c) >= 0 {
			return i, true
		}
		switch {
		case c == '\\' && (quoted || depth > 0):
			i++
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted:
			depth++
		case c == ')' && depth > 0:
			depth--
		}
	}
	return len(s), depth == 0 && !quoted
}
