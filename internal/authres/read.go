package authres

import "strings"

// Bounds on results that somebody else wrote.
const (
	// maxRead is how many octets are read: Postfix's own header_size_limit is 100 KiB, honest fields have one or two.
	maxRead = 32 << 10
	// maxResults is how many results are read; honest fields have up to a dozen.
	maxResults = 100
)

// Read takes apart what stands behind the name of an Authentication-Results field, or behind the instance of an
// ARC-Authentication-Results field: RFC 8601 section 2.2. Methods, results and names come in lower case. ok is false where
// the rule of the grammar is left anywhere, since whoever wrote it may have been made to; two things are passed over,
// since large senders write them: a semicolon at the end, and properties without a type, like action=none.
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
	if rest, ok = skipCFWS(rest); !ok {
		return "", nil, false
	}
	if rest, ok = skipCFWS(strings.TrimLeft(rest, "0123456789")); !ok || rest == "" { // the version
		return "", nil, false
	}
	for rest != "" {
		if rest[0] != ';' || len(results) == maxResults {
			return "", nil, false
		}
		if rest, ok = skipCFWS(rest[1:]); !ok {
			return "", nil, false
		}
		if rest == "" {
			break
		}
		var r Result
		if r, rest, ok = readResult(rest); !ok {
			return "", nil, false
		}
		if r.Method != "" {
			results = append(results, r)
		}
	}
	return id, results, true
}

// readResult reads one result up to its semicolon or the end. The word none, which stands for no result, gives none.
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
		if len(after) == len(rest) { // nothing between this and what came before
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

// readWord reads a keyword, or two with a dot between them.
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

// skipEquals skips an equals sign with what may stand around it.
func skipEquals(s string) (rest string, ok bool) {
	rest, ok = skipCFWS(s)
	if !ok || rest == "" || rest[0] != '=' {
		return "", false
	}
	return skipCFWS(rest[1:])
}
