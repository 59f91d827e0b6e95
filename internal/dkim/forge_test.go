package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"
)

// forge signs a message with a tag list of the test's choice: $BH and, at the end, the value of b= are filled in. It
// stands for every signer that a stranger could write.
func forge(t testing.TB, msg []byte, signer crypto.Signer, tags string) []byte {
	t.Helper()
	fields, body := splitMessage(t, msg)
	parsed, _ := parseTags(tags) // the broken ones are part of the game
	h, b, _ := strings.Cut(parsed["c"], "/")
	header, _ := canonByName(h)
	bodyCanon, _ := canonByName(b)
	tags = strings.ReplaceAll(tags, "$BH", base64.StdEncoding.EncodeToString(bodySum(bodyCanon, body, parsed["l"])))
	s := &signature{field: Field{SignatureField, " " + tags + " b="}, header: header}
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
	line := s.field.Name + ":" + s.field.Value + base64.StdEncoding.EncodeToString(value) + "\r\n"
	return append([]byte(line), msg...)
}

// bodySum hashes a canonical body, or its first l octets where it has so many.
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

// letter's body is 24 octets in relaxed form.
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

// Each line: what a signature or a key record may say, and the verdict that the RFC asks for.
func TestSignatureRules(t *testing.T) {
	k := newKeys(t)
	const base = "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=sel; h=from:to:subject; bh=$BH;"
	with := func(old, new string) string { return strings.Replace(base, old, new, 1) }
	rec := record(t, k.rsa)
	ed := record(t, k.ed)
	for _, c := range []struct {
		rule, tags, record string
		signer             crypto.Signer
		status             Status
		reason             string
	}{
		{"6376 3.5: a plain signature", base, rec, k.rsa, Pass, ""},
		{"6376 3.4.1: simple/simple", with("c=relaxed/relaxed", "c=simple/simple"), rec, k.rsa, Pass, ""},
		{"6376 3.5: c= absent is simple/simple", with("c=relaxed/relaxed;", ""), rec, k.rsa, Pass, ""},
		{"6376 3.5: c=relaxed is relaxed/simple", with("c=relaxed/relaxed", "c=relaxed"), rec, k.rsa, Pass, ""},
		{"6376 3.5: simple/relaxed", with("c=relaxed/relaxed", "c=simple/relaxed"), rec, k.rsa, Pass, ""},
		{"8463: ed25519", with("rsa-sha256", "ed25519-sha256"), ed, k.ed, Pass, ""},
		{"8301 3.1: rsa-sha1", with("rsa-sha256", "rsa-sha1"), rec, k.rsa, PermError, "rsa-sha1"},
		{"6376 3.3: unknown algorithm", with("rsa-sha256", "rsa-sha512"), rec, k.rsa, PermError, "algorithm"},
		{"6376 3.5: unknown canonicalisation", with("relaxed/relaxed", "relaxed/tight"), rec, k.rsa, PermError, "c="},
		{"6376 6.1.1: v=2", with("v=1", "v=2"), rec, k.rsa, PermError, "v="},
		{"6376 6.1.1: no v=", with("v=1; ", ""), rec, k.rsa, PermError, "v="},
		{"6376 6.1.1: no a=", with("a=rsa-sha256; ", ""), rec, k.rsa, PermError, "a="},
		{"6376 6.1.1: no d=", with("d=example.org; ", ""), rec, k.rsa, PermError, "d="},
		{"6376 6.1.1: no s=", with("s=sel; ", ""), rec, k.rsa, PermError, "s="},
		{"Mail::DKIM until 2026: no h=", with("h=from:to:subject; ", ""), rec, k.rsa, PermError, "h="},
		{"Mail::DKIM until 2026: no bh=", with("bh=$BH;", ""), rec, k.rsa, PermError, "bh="},
		{"6376 3.5: bh= of a wrong length", with("bh=$BH;", "bh=AAAA;"), rec, k.rsa, PermError, "bh="},
		{"6376 3.2: a tag twice", base + " d=example.org;", rec, k.rsa, PermError, "twice"},
		{"6376 5.4: h= without From", with("h=from:", "h="), rec, k.rsa, PermError, "From"},
		{"6376 5.4.2: a name listed that is not there", with("h=from", "h=from:from:cc:x-none"), rec, k.rsa, Pass, ""},
		{"6376 3.5: h= with folding white space", with("h=from:to", "h=From :\r\n\t To"), rec, k.rsa, Pass, ""},
		{"bound: 201 names in h=", with("h=from", "h=from"+strings.Repeat(":x", 198)), rec, k.rsa, Policy, "200"},
		{"bound: 200 names in h=", with("h=from", "h=from"+strings.Repeat(":x", 197)), rec, k.rsa, Pass, ""},
		{"6376 3.5: i= below d=", base + " i=ann@mail.example.org;", rec, k.rsa, Pass, ""},
		{"6376 3.5: i= in another case", base + " i=ann@Mail.EXAMPLE.org;", rec, k.rsa, Pass, ""},
		{"6376 3.5: i= in quoted-printable", base + " i=ann=3Dx@example.org;", rec, k.rsa, Pass, ""},
		{"6376 3.5: i= elsewhere", base + " i=ann@example.net;", rec, k.rsa, PermError, "i="},
		{"6376 3.5: i= that only ends like d=", base + " i=ann@badexample.org;", rec, k.rsa, PermError, "i="},
		{"6376 3.5: i= above d=", base + " i=ann@org;", rec, k.rsa, PermError, "i="},
		{"6376 3.5: q= unknown", base + " q=http/json;", rec, k.rsa, PermError, "q="},
		{"6376 3.5: q= with one that is known", base + " q=http/json:dns/txt;", rec, k.rsa, Pass, ""},
		{"6376 3.5: z= is not looked at", base + " z=From:foo=20bar|To:x;", rec, k.rsa, Pass, ""},
		{"6376 3.2: unknown tags are not looked at", base + " yy=1;", rec, k.rsa, Pass, ""},
		{"6376 3.5: t= now", base + " t=1795507200;", rec, k.rsa, Pass, ""},
		{"6376 3.5: t= half an hour ahead", base + " t=1795509000;", rec, k.rsa, Pass, ""},
		{"6376 3.5: t= a day ahead", base + " t=1795593600;", rec, k.rsa, PermError, "t="},
		{"6376 3.5: t= is no number", base + " t=now;", rec, k.rsa, PermError, "t="},
		{"6376 3.5: x= past by minutes", base + " x=1795506900;", rec, k.rsa, Pass, ""},
		{"6376 3.5: x= past by a day", base + " x=1795420800;", rec, k.rsa, PermError, "expired"},
		{"6376 3.5: x= before t=", base + " t=1795507200; x=1795507199;", rec, k.rsa, PermError, "x="},
		{"6376 8.2: l= over the whole body", base + " l=24;", rec, k.rsa, Pass, ""},
		{"May 2024: l= that leaves body unsigned", base + " l=7;", rec, k.rsa, Policy, "unsigned"},
		{"May 2024: l=0", base + " l=0;", rec, k.rsa, Policy, "unsigned"},
		{"6376 3.5: l= longer than the body", base + " l=25;", rec, k.rsa, PermError, "l="},
		{"6376 3.5: l= is negative", base + " l=-1;", rec, k.rsa, PermError, "l="},
		{"USENIX 2020: NUL in d=", with("d=example.org", "d=example.org\x00.evil.example"), rec, k.rsa, PermError, "character"},
		{"USENIX 2020: NUL in s=", with("s=sel", "s=sel\x00x"), rec, k.rsa, PermError, "character"},
		{"CVE-2020-12272: parenthesis in d=", with("d=example.org", "d=example.org(.evil.example"), rec, k.rsa, PermError, "d="},
		{"6376 3.6.1: the record names no version", base, strings.TrimPrefix(rec, "v=DKIM1; "), k.rsa, Pass, ""},
		{"6376 3.6.1: another version", base, strings.Replace(rec, "DKIM1", "DKIM2", 1), k.rsa, PermError, "DKIM1"},
		{"6376 3.6.1: version not first", base, strings.TrimPrefix(rec, "v=DKIM1; ") + "; v=DKIM1", k.rsa, PermError, "DKIM1"},
		{"6376 3.6.1: revoked", base, "v=DKIM1; p=", k.rsa, PermError, "revoked"},
		{"6376 3.6.1: no p=", base, "v=DKIM1; k=rsa", k.rsa, PermError, "p="},
		{"6376 3.6.1: p= is nonsense", base, "v=DKIM1; p=AAAA", k.rsa, PermError, "RSA"},
		{"6376 3.6.1: h= without sha256", base, strings.Replace(rec, "h=sha256", "h=sha1", 1), k.rsa, PermError, "h="},
		{"6376 3.6.1: h= with more", base, strings.Replace(rec, "h=sha256", "h=sha1:sha256", 1), k.rsa, Pass, ""},
		{"6376 3.6.1: s=email", base, rec + "; s=email", k.rsa, Pass, ""},
		{"6376 3.6.1: s=*", base, rec + "; s=tlsrpt:*", k.rsa, Pass, ""},
		{"6376 3.6.1: s=tlsrpt", base, rec + "; s=tlsrpt", k.rsa, PermError, "s="},
		{"6376 3.6.1: n= notes", base, rec + "; n=some notes=20", k.rsa, Pass, ""},
		{"6376 3.6.1: k= does not fit a=", base, ed, k.rsa, PermError, "k="},
		{"6376 3.6.1: k= unknown", base, strings.Replace(rec, "k=rsa", "k=ecdsa", 1), k.rsa, PermError, "k="},
		{"6376 3.6.1: t=s and i= is d=", base + " i=@example.org;", rec + "; t=s", k.rsa, Pass, ""},
		{"6376 3.6.1: t=s and i= below d=", base + " i=@mail.example.org;", rec + "; t=y:s", k.rsa, PermError, "t=s"},
		{"8463 4.2: an Ed25519 key in ASN.1", with("rsa-sha256", "ed25519-sha256"),
			strings.Replace(ed, "p=", "p=MCowBQYDK2VwAyEA", 1), k.ed, PermError, "32"},
		{"another key of the same type", base, record(t, newKeys(t).rsa), k.rsa, Fail, "signature"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			msg := forge(t, crlf(letter), c.signer, c.tags)
			got := verifyIn(t, msg, 5, testTime(), zone(map[string]string{"sel._domainkey.example.org": c.record}))
			if len(got) != 1 || got[0].Status != c.status || !strings.Contains(got[0].Reason, c.reason) {
				t.Errorf("got %+v, want %s %q", got, c.status, c.reason)
			}
		})
	}
}

// RFC 6376 section 3.6.1: mail signed with a key in testing mode is told apart.
func TestTestingFlag(t *testing.T) {
	k := newKeys(t)
	msg := sign(t, crlf(letter), Key{"example.org", "r1", k.rsa})
	for txt, want := range map[string]bool{record(t, k.rsa): false, record(t, k.rsa) + "; t=y": true} {
		if got := verifyIn(t, msg, 5, testTime(), zone(map[string]string{"r1._domainkey.example.org": txt}))[0]; got.Testing != want || got.Status != Pass {
			t.Errorf("%s: %+v", txt, got)
		}
	}
}

// RFC 8301 section 3.2: a key of less than 1024 bits never passes; ours has an upper bound as well.
func TestKeySizes(t *testing.T) {
	for bits, want := range map[int]string{1023: "less than 1024", 1024: "", 8192: "", 8193: "more than"} {
		key := rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), bits-1, 1), E: 65537}
		_, err := ParseKeyRecord("p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key)))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d bits: %v, want %q", bits, err, want)
		}
	}
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
					t.Errorf("%s, canonicalisation %d, pieces of %d: want the sum of %q", c.name, canon, n, want)
				}
			}
		}
	}
}
