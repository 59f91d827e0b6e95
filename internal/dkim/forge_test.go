package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// forge signs a message with any tag list, to simulate any signer. It replaces $BH and $SIG. It appends b= if there is no $SIG.
func forge(t testing.TB, msg []byte, signer crypto.Signer, tags string) []byte {
	t.Helper()
	fields, body := splitMessage(t, msg)
	parsed, _ := parseTags(tags) // some tests use broken tags
	h, b, _ := strings.Cut(strings.ToLower(parsed["c"]), "/")
	header, _ := canonByName(h)
	bodyCanon, _ := canonByName(b)
	bodyHash := base64.StdEncoding.EncodeToString(bodySum(bodyCanon, body, parsed["l"]))
	tags = strings.NewReplacer("$BH-UNPADDED", strings.TrimRight(bodyHash, "="), "$BH", bodyHash).Replace(tags)
	if !strings.Contains(tags, "$SIG") {
		tags += " b=$SIG"
	}
	s := &signature{at: -1, field: Field{SignatureField, " " + strings.Replace(tags, "$SIG", "", 1)}, header: header}
	for name := range strings.SplitSeq(parsed["h"], ":") {
		s.result.Headers = append(s.result.Headers, strings.ToLower(strings.Trim(name, fws)))
	}
	digest := NewVerifier(fields, nil).headerSum(s)
	var opts crypto.SignerOpts = crypto.SHA256
	if _, ok := signer.(ed25519.PrivateKey); ok {
		opts = crypto.Hash(0)
	}
	value, err := signer.Sign(rand.Reader, digest[:], opts)
	if err != nil {
		t.Fatal(err)
	}
	line := SignatureField + ": " + strings.Replace(tags, "$SIG", base64.StdEncoding.EncodeToString(value), 1) + "\r\n"
	return append([]byte(line), msg...)
}

// bodySum returns the hash of a canonical body, or of its first l bytes if it is longer.
func bodySum(c canon, data []byte, l string) []byte {
	var limits []int64
	n, err := strconv.ParseInt(l, 10, 64)
	if err == nil && n >= 0 {
		limits = []int64{n}
	}
	b := &body{canon: c, sink: newSink(limits)}
	b.Write(data)
	b.close()
	if sum, ok := b.sink.sums[n]; ok {
		return sum
	}
	return b.sink.total
}

type testKeys struct {
	rsa *rsa.PrivateKey
	ed  ed25519.PrivateKey
}

func newKeys(t testing.TB) testKeys {
	t.Helper()
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return testKeys{rsa: long, ed: ed}
}

func record(t testing.TB, k crypto.Signer) string {
	t.Helper()
	txt, err := FormatKeyRecord(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return txt
}

// The body of letter has 24 bytes in relaxed form.
const letter = `From: Ann <ann@example.org>
To: bob@example.net
Subject:  two   spaces
	and a fold
Date: Tue, 24 Nov 2026 08:00:00 +0000
Message-ID: <1@example.org>

Hello  Bob,

 see you 	

`

func testTime() time.Time { return time.Unix(1795507200, 0) }

// atTestTime runs f at testTime, also for go-msgauth, which compares x= with the clock.
func atTestTime(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(testTime()))
		f(t)
	})
}

func TestBodySums(t *testing.T) {
	for _, c := range []struct {
		name, body, simple, relaxed string
	}{
		{"empty", "", "\r\n", ""},
		{"one line end", "\r\n", "\r\n", ""},
		{"blank lines only", "\r\n \r\n\t\r\n", "\r\n \r\n\t\r\n", ""},
		{"6376 3.4.5", " C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"},
		{"no final line end", "a", "a\r\n", "a\r\n"},
		{"white space at the end", "a \t", "a \t\r\n", "a\r\n"},
		{"a lone CR", "a\rb \r \r\n", "a\rb \r \r\n", "a\rb \r\r\n"},
		{"a lone LF", "a\nb\r\n", "a\nb\r\n", "a\nb\r\n"},
		{"a CR at the very end", "a\r", "a\r\r\n", "a\r\r\n"},
		{"eight bits", "\xff \xfe\r\n", "\xff \xfe\r\n", "\xff \xfe\r\n"},
	} {
		for canon, want := range map[canon]string{simple: c.simple, relaxed: c.relaxed} {
			for n := 1; n <= len(c.body)+1; n++ {
				b := &body{canon: canon, sink: newSink(nil)}
				for rest := c.body; rest != ""; rest = rest[min(n, len(rest)):] {
					b.Write([]byte(rest[:min(n, len(rest))]))
				}
				b.close()
				if sum := sha256.Sum256([]byte(want)); string(b.sink.total) != string(sum[:]) || b.sink.length != int64(len(want)) {
					t.Errorf("%s, canonicalization %d, pieces of %d: want the sum of %q", c.name, canon, n, want)
				}
			}
		}
	}
}
