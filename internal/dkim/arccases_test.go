package dkim

import (
	"crypto"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"signpost/internal/conformance"
	"signpost/internal/testdkim"
)

// RFC 8617 section 5.2. Each file of testdata/arc has a message, the changes that sealers and others make, the key records in DNS, and
// the state of the chain. testdata/README.md describes the format. A new case needs no Go code.
func TestARCCases(t *testing.T) {
	files, err := filepath.Glob("testdata/arc/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	conformance.Add(t, "cases-arc", "ARC: %d cases of sets, seals and message signatures (internal/dkim/testdata/arc).", len(files))
	keys := newCaseKeys(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			parts := readCase(t, file)
			msg := []byte(unescape(string(crlf(parts["message"]))))
			for line := range strings.Lines(parts["seal"]) {
				msg = keys.sealLine(t, msg, strings.TrimSuffix(line, "\n"))
			}
			if got := chainLines(chainOf(t, msg, keys.zone(t, parts["dns"]))); got != parts["want"] {
				t.Errorf("got:\n%swant:\n%s", got, parts["want"])
			}
		})
	}
}

// sealLine applies one line of the part "seal".
func (k caseKeys) sealLine(t *testing.T, msg []byte, line string) []byte {
	t.Helper()
	if strings.Contains(line, " ==> ") {
		return replaceFirst(t, msg, line)
	}
	if number, ok := strings.CutPrefix(line, "sets "); ok {
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		return addSets(t, msg, n, sealer(k.ed))
	}
	var signer crypto.Signer = k.rsa
	switch {
	case strings.Contains(line, "ed25519"):
		signer = k.ed
	case strings.Contains(line, "s=short"):
		signer = k.short
	}
	msg, err := testdkim.AddARCField(msg, unescape(line), signer)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// chainLines returns a chain in the form of the part "want".
func chainLines(c Chain) string {
	var b strings.Builder
	b.WriteString(string(c.Status))
	if c.Temporary {
		b.WriteString(" temporary")
	}
	if c.OldestPass > 0 {
		fmt.Fprintf(&b, " oldest-pass=%d", c.OldestPass)
	}
	if c.Cause != "" {
		b.WriteString(": " + causeWords(c.Cause, c.Detail))
	}
	b.WriteString("\n")
	if c.Field != "" {
		fmt.Fprintf(&b, "at %s", c.Field)
		if c.Instance > 0 {
			fmt.Fprintf(&b, " %d", c.Instance)
		}
		if c.KeyName != "" {
			fmt.Fprintf(&b, " key %s", c.KeyName)
		}
		b.WriteString("\n")
	}
	for _, s := range c.Sets {
		from := "no-from"
		if s.CoversFrom {
			from = "from"
		}
		fmt.Fprintf(&b, "%d %s %s cv=%s %s\n", s.Instance, s.Domain, s.Selector, s.CV, from)
	}
	return b.String()
}
