package dkim

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// splitMessage takes a message with CRLF line ends apart.
func splitMessage(t testing.TB, msg []byte) ([]Field, []byte) {
	t.Helper()
	header, body, ok := bytes.Cut(msg, []byte("\r\n\r\n"))
	if !ok {
		t.Fatal("the message has no empty line")
	}
	var fields []Field
	for line := range strings.SplitSeq(string(header), "\r\n") {
		if line[0] == ' ' || line[0] == '\t' {
			fields[len(fields)-1].Value += "\r\n" + line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, Field{name, value})
	}
	return fields, body
}

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// zone answers from a map, as Results expects it.
func zone(records map[string]string) func(string) ([]string, error) {
	return func(name string) ([]string, error) {
		if txt, ok := records[name]; ok {
			return []string{txt}, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
}

// verifyIn verifies with the body handed over in pieces of n octets.
func verifyIn(t testing.TB, msg []byte, n int, now time.Time, key func(string) ([]string, error)) []Result {
	t.Helper()
	fields, body := splitMessage(t, msg)
	v := NewVerifier(fields, nil)
	for len(body) > 0 {
		k := min(n, len(body))
		v.Write(body[:k])
		body = body[k:]
	}
	return v.Results(now, key)
}

// Each file of testdata is a message, the key records in DNS, and a line for each signature's result:
// status, domain, selector, algorithm, key bits.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]string{}
			for _, f := range ar.Files {
				parts[f.Name] = string(f.Data)
			}
			records := map[string]string{}
			for line := range strings.Lines(parts["dns"]) {
				name, txt, _ := strings.Cut(strings.TrimSpace(line), " ")
				records[name] = txt
			}
			for _, n := range []int{1, 7, 1 << 20} {
				var got strings.Builder
				for _, r := range verifyIn(t, crlf(parts["message"]), n, time.Unix(1700000000, 0), zone(records)) {
					fmt.Fprintln(&got, r.Status, r.Domain, r.Selector, r.Algorithm, r.KeyBits)
				}
				if got.String() != parts["want"] {
					t.Errorf("in pieces of %d:\ngot:\n%swant:\n%s", n, got.String(), parts["want"])
				}
			}
		})
	}
}
