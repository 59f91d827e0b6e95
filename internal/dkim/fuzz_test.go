package dkim

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"signpost/internal/domain"
)

// For any DKIM-Signature field, parsing ends, and the names in the result are safe to print and to look up.
func FuzzReadSignature(f *testing.F) {
	f.Add(" v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=sel; h=from:to; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA; i=a=20b@x.example.org; l=5; t=1; x=2; q=dns/txt")
	f.Add(" v=1;;b=;b")
	f.Add(" d=bücher.example; s=\x00")
	f.Add(" v=1; x d = \"ann@exam\r\n ple.org.\" ; s=<sel>; s=sel\x00")
	f.Add(" =?utf-8?q?v=3D1=3B_d=3Dexample=2Eorg=3B?= =?x?b?cz1zZWw=?=")
	f.Fuzz(func(t *testing.T, value string) {
		s := readSignature(Field{SignatureField, value})
		for _, name := range []string{s.result.Domain, s.result.Selector} {
			if again, err := domain.Parse(name); name != "" && (err != nil || again != name) {
				t.Fatalf("an unsafe name: %q", name)
			}
		}
		if v := s.withoutValue().Value; len(v) > len(value) {
			t.Fatalf("grew: %q", v)
		}
	})
}

func FuzzParseKeyRecord(f *testing.F) {
	f.Add("v=DKIM1; k=rsa; h=sha256; s=email; t=y:s; n=note; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX")
	f.Add("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
	f.Add("v=DKIM1\\; k=rsa; p=MFowCwYJKoZIhvcNAQEBA0sAMEgCQQCo9+BpMRYQ/dL3DS2CyJxRF")
	f.Fuzz(func(t *testing.T, txt string) {
		k, err := ParseKeyRecord(txt)
		if err == nil && (k.Bits < 256 || k.Bits > MaxRSABits) {
			t.Fatalf("a key of %d bits", k.Bits)
		}
	})
}

// The canonical form of a body does not depend on how the body was cut. A literal implementation of the rules returns the same form.
func FuzzBody(f *testing.F) {
	f.Add([]byte(" C \r\nD \t E\r\n\r\n\r\n"), 3)
	f.Add([]byte("\r\r\n \r"), 1)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		n = max(1, n&0xff)
		for _, c := range []canon{simple, relaxed} {
			b := &body{canon: c, sink: newSink(nil)}
			for rest := data; len(rest) > 0; rest = rest[min(n, len(rest)):] {
				b.Write(rest[:min(n, len(rest))])
			}
			b.close()
			if want := sha256.Sum256(slowBody(c, data)); !bytes.Equal(b.sink.total, want[:]) {
				t.Fatalf("canonicalization %d of %q", c, data)
			}
		}
	})
}

// slowBody implements RFC 6376 sections 3.4.3 and 3.4.4 literally.
func slowBody(c canon, data []byte) []byte {
	lines := strings.Split(string(data), "\r\n")
	if c == relaxed {
		for i, l := range lines {
			var b strings.Builder
			for j, r := range []byte(l) {
				if r != ' ' && r != '\t' {
					b.WriteByte(r)
				} else if j == 0 || l[j-1] != ' ' && l[j-1] != '\t' {
					b.WriteByte(' ')
				}
			}
			lines[i] = strings.TrimSuffix(b.String(), " ")
		}
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 && c == relaxed {
		return nil
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n")
}
