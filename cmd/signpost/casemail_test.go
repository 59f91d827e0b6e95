package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"signpost/internal/dkim"
	"signpost/keys"
)

// longRun is the length of the text that replaces %LONG% in a case. It is far longer than any line or field that Postfix passes on.
const longRun = 500_000

// caseMessage returns the message of a case. Part "message" must be well-formed; part "message-escaped" may be malformed.
func caseMessage(parts map[string]string) (fields []dkim.Field, body []byte, err error) {
	text, escaped := parts["message-escaped"]
	if !escaped {
		fields, reader, err := dkim.ReadMessage(strings.NewReader(parts["message"]))
		if err != nil {
			return nil, nil, err
		}
		body, err := io.ReadAll(reader)
		return fields, body, err
	}
	text = strings.ReplaceAll(text, "%LONG%", strings.Repeat("x", longRun))
	var lines []string
	for line := range strings.Lines(text) {
		line, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.TrimSuffix(line, "\n"), `"`, `\"`) + `"`)
		if err != nil {
			return nil, nil, fmt.Errorf("%.40q: %w", line, err)
		}
		lines = append(lines, strings.Split(line, "\n")...)
	}
	fields, lines = asPostfix(lines)
	var b bytes.Buffer
	for _, line := range lines {
		b.WriteString(line + "\r\n")
	}
	return fields, b.Bytes(), nil
}

// asPostfix separates header and body as cleanup(8) does. The body begins after an empty line, or at the first line that is not a
// header field. A continuation line before any field is not a header field. If the first line begins with "From ", as in a mailbox, it
// becomes field X-Mailbox-Line, as in smtpd(8).
func asPostfix(lines []string) (fields []dkim.Field, body []string) {
	if len(lines) > 0 && strings.HasPrefix(lines[0], "From ") {
		lines[0] = "X-Mailbox-Line: " + lines[0]
	}
	for i, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		switch {
		case line == "":
			return fields, lines[i+1:]
		case (line[0] == ' ' || line[0] == '\t') && len(fields) > 0:
			fields[len(fields)-1].Value += "\r\n" + line
		case !ok || !fieldName(strings.TrimRight(name, " \t")):
			return fields, lines[i:]
		default:
			fields = append(fields, dkim.Field{Name: name, Value: value})
		}
	}
	return fields, nil
}

// fieldName reports whether is_header(3) of Postfix accepts s as the name of a field.
func fieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// hosting returns the keys of a server that signs for one domain.
func hosting(t *testing.T, domain string, key ed25519.PrivateKey) func() *keys.Snapshot {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	store := keys.Store{State: t.TempDir(), Now: time.Now}
	store.Dir = filepath.Join(store.State, "keys")
	if _, err := store.Import(keys.Foreign{Domain: domain, Selector: "key", Source: file}, "manual"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Activate(domain, "key"); err != nil {
		t.Fatal(err)
	}
	set, err := store.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() *keys.Snapshot { return &keys.Snapshot{Set: set, Hosted: map[string]bool{domain: true}} }
}
