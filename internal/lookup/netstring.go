package lookup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	maxRequest = MaxTable + 1 + maxKey
	maxReply   = 100_000 // bytes: socketmap_table(5), "REPLY FORMAT"
	maxDigits  = 6       // of a length
)

// errNetstring is the error for bytes that are not a netstring, or are too long.
var errNetstring = errors.New("not a netstring of an allowed length")

// readNetstring reads one netstring, LENGTH:BYTES, of at most limit bytes. It returns io.EOF if r ends before the netstring.
func readNetstring(r *bufio.Reader, limit int) (string, error) {
	var digits []byte
	for {
		c, err := r.ReadByte()
		if err != nil {
			if len(digits) > 0 {
				err = noEOF(err)
			}
			return "", err
		}
		if c == ':' {
			break
		}
		if c < '0' || c > '9' || len(digits) == maxDigits {
			return "", errNetstring
		}
		digits = append(digits, c)
	}
	n, err := strconv.Atoi(string(digits))
	if err != nil || n > limit || len(digits) > 1 && digits[0] == '0' {
		return "", errNetstring
	}
	text := make([]byte, n+1)
	if _, err := io.ReadFull(r, text); err != nil {
		return "", noEOF(err)
	}
	if text[n] != ',' {
		return "", errNetstring
	}
	return string(text[:n]), nil
}

// noEOF converts io.EOF to io.ErrUnexpectedEOF.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func netstring(text string) []byte { return fmt.Appendf(nil, "%d:%s,", len(text), text) }

// splitRequest splits "NAME KEY" at the first space that is not in braces. A table such as inline:{ a=b, c=d } has spaces in its name.
func splitRequest(request string) (table, key string, ok bool) {
	depth := 0
	for i := range len(request) {
		switch c := request[i]; {
		case c == '{':
			depth++
		case c == '}':
			depth--
		case c == ' ' && depth <= 0:
			return request[:i], request[i+1:], true
		}
	}
	return "", "", false
}

// tableOf returns the table for the name in a request. In Postfix, the name of a socketmap begins after the last colon, so it has no colon.
// If a name has none, its first "=" is replaced by a colon: mysql=/etc/postfix/sql/domains.cf.
func tableOf(name string) string {
	if strings.Contains(name, ":") {
		return name
	}
	return strings.Replace(name, "=", ":", 1)
}

// reply formats the reply of a server.
func reply(a Answer, err error) string {
	if err != nil {
		e := failed("", err)
		return string(e.Kind) + " " + e.Reason
	}
	if !a.Found {
		return "NOTFOUND "
	}
	return "OK " + a.Value
}

// parseReply parses the reply of a server about a table.
func parseReply(table, text string) (Answer, error) {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "OK":
		return Answer{rest, true}, nil
	case "NOTFOUND":
		return Answer{}, nil
	case string(Temporary), string(Timeout), string(Permanent):
		return Answer{}, &Error{Kind(word), table, oneLine(rest)}
	}
	return Answer{}, &Error{Temporary, table, "the table server sent a reply that does not follow socketmap_table(5)"}
}

// oneLine returns the first maxReason bytes of a text, without control characters.
func oneLine(text string) string {
	const maxReason = 300
	text = strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text))
}
