package judge

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"regexp"
	"strings"
)

// IDField is the field with the ID of a message.
const IDField = "X-Soak-Id"

// tagField is the field of quarantined messages: docs/quarantine.md.
const tagField = "X-Signpost-Disposition"

// ReadCopy returns the copy of a message from the mailbox of a host. It sets neither Host nor At. The Authentication-Results of the host are
// those with its name as the authserv-id.
func ReadCopy(name string, raw []byte) (Copy, error) {
	r := bufio.NewReader(bytes.NewReader(raw))
	header, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil {
		return Copy{}, fmt.Errorf("reading the header: %w", err)
	}
	c := Copy{ID: header.Get(IDField)}
	if c.ID == "" {
		return Copy{}, errors.New("the message has no " + IDField)
	}
	for _, value := range header.Values("Authentication-Results") {
		id, _, _ := strings.Cut(strings.TrimSpace(value), ";")
		if id = strings.TrimSpace(id); !strings.EqualFold(id, name) {
			continue
		}
		if c.Results != nil {
			c.Foreign++
			continue
		}
		// The first field is that of the host, because it is added on top.
		if c.Results, err = results(value); err != nil {
			return Copy{}, fmt.Errorf("%s: reading Authentication-Results %q: %w", c.ID, value, err)
		}
	}
	domain := regexp.MustCompile(`(?:^|;)\s*d\s*=\s*([^;\s]+)`)
	for _, value := range header.Values("DKIM-Signature") {
		if m := domain.FindStringSubmatch(value); m != nil {
			c.Signers = append(c.Signers, strings.ToLower(m[1]))
		}
	}
	c.Tagged = strings.HasPrefix(strings.TrimSpace(header.Get(tagField)), "quarantine")
	body, err := io.ReadAll(r)
	c.Sum = sha256.Sum256(body)
	return c, err
}

// results returns the best result of each method (RFC 8601 section 2.2): pass, then temperror. A message can have several signatures. go-msgauth's parser does not
// accept a reason with spaces.
func results(value string) (map[string]string, error) {
	value = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\([^()]*\)`).ReplaceAllString(value, " ")
	_, rest, ok := strings.Cut(value, ";")
	if !ok {
		return nil, errors.New("there is no result")
	}
	found := map[string]string{}
	for part := range strings.SplitSeq(rest, ";") {
		words := strings.Fields(part)
		if len(words) == 0 || words[0] == "none" {
			continue
		}
		method, result, ok := strings.Cut(strings.ToLower(words[0]), "=")
		if !ok || result == "" {
			return nil, errors.New("no result in " + part)
		}
		// A failed lookup may hide a better result.
		if found[method] != "pass" && (found[method] != "temperror" || result == "pass") {
			found[method] = result
		}
	}
	return found, nil
}
