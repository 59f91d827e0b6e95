package authres

import "strings"

// Limits on the results of other programs.
const (
	// maxRead is the maximum number of bytes that are parsed. Postfix's header_size_limit is 100 KiB. Honest fields have one or two KiB.
	maxRead = 32 << 10
	// maxResults is the maximum number of results that are read. Honest fields have up to a dozen.
	maxResults = 100
)

// Read parses the value of an Authentication-Results field, or the text after the instance in an ARC-Authentication-Results field: RFC
// 8601 section 2.2. Methods, results and property names are in lower case. ok is false if the value does not follow the grammar. Such a
// value may be an attack by an unauthenticated client. Two deviations are accepted, because large senders write them: a semicolon at the
// end, and properties without a type, such as action=none.
func Read(value string) (id string, results []Result, ok bool) {
	if len(value) > maxRead || !plain(value) {
		return "", nil, false
	}
	rest, ok := skipCFWS(value)
	if !ok || rest == "" {
		return "", nil, false
	}
	id, rest, ok = readValue(rest)
	if !ok || id == "" {
		return "", nil, false
	}
	if rest, ok = skipVersion(rest); !ok || rest == "" {
		return "", nil, false
	}
	results, _, ok = readResults(rest)
	return id, results, ok
}

// skipVersion skips the version of an authserv-id and the white space and comments around it.
func skipVersion(s string) (rest string, ok bool) {
	if rest, ok = skipCFWS(s); !ok {
		return "", false
	}
	return skipCFWS(strings.TrimLeft(rest, "0123456789"))
}

// readResults parses the text after an authserv-id, including semicolons. first is the rest of s from the first result on.
func readResults(s string) (results []Result, first string, ok bool) {
	for s != "" {
		if s[0] != ';' || len(results) == maxResults {
			return nil, first, false
		}
		if s, ok = skipCFWS(s[1:]); !ok {
			return nil, first, false
		}
		if s == "" {
			break
		}
		r, rest, ok := readResult(s)
		if !ok {
			return nil, first, false
		}
		if r.Method != "" {
			if len(results) == 0 {
				first = s
			}
			results = append(results, r)
		}
		s = rest
	}
	return results, first, true
}

// readResult reads one result, up to the next semicolon or the end of the text. For the keyword none, it returns no result.
func readResult(s string) (r Result, rest string, ok bool) {
	word, rest := readWord(s)
	if after, fine := skipCFWS(rest); fine && strings.EqualFold(word, "none") && (after == "" || after[0] == ';') {
		return Result{}, after, true
	}
	r.Method = strings.ToLower(word)
	if strings.HasPrefix(rest, "/") { // the method's version
		rest = strings.TrimLeft(rest[1:], "0123456789")
	}
	if rest, ok = skipEquals(rest); !ok || r.Method == "" || strings.Contains(r.Method, ".") {
		return Result{}, "", false
	}
	word, rest = readWord(rest)
	if r.Value = strings.ToLower(word); r.Value == "" {
		return Result{}, "", false
	}
	for {
		after, fine := skipCFWS(rest)
		if !fine {
			return Result{}, "", false
		}
		if after == "" || after[0] == ';' {
			return r, after, true
		}
		if len(after) == len(rest) { // no white space or comment precedes the word
			return Result{}, "", false
		}
		word, rest = readWord(after)
		if rest, ok = skipEquals(rest); !ok || word == "" || rest == "" {
			return Result{}, "", false
		}
		var value string
		if value, rest, ok = readValue(rest); !ok {
			return Result{}, "", false
		}
		kind, name, typed := strings.Cut(strings.ToLower(word), ".")
		switch {
		case typed:
			r.Props = append(r.Props, Prop{kind, name, value})
		case kind == "reason":
			r.Reason = value
		}
	}
}

// readWord reads a keyword, or two keywords with a dot between them.
func readWord(s string) (word, rest string) {
	end := 0
	for end < len(s) {
		c := s[end]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			break
		}
		end++
	}
	return s[:end], s[end:]
}

// skipEquals skips an equals sign and the white space and comments around it.
func skipEquals(s string) (rest string, ok bool) {
	rest, ok = skipCFWS(s)
	if !ok || rest == "" || rest[0] != '=' {
		return "", false
	}
	return skipCFWS(rest[1:])
}
