package dkim

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"signpost/internal/conformance"
)

// sign adds our signatures on top of a message. The signature of the first key is the topmost.
func sign(t testing.TB, msg []byte, keys ...Key) []byte {
	t.Helper()
	fields, body := splitMessage(t, msg)
	s, err := NewSigner(fields, keys, testTime(), 7*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s.Write(body)
	signatures, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range signatures {
		fmt.Fprintf(&b, "%s:%s\r\n", f.Name, f.Value)
	}
	return append(b.Bytes(), msg...)
}

func TestSignBothAlgorithms(t *testing.T) {
	k := newKeys(t)
	keys := []Key{{"example.org", "r1", k.rsa}, {"example.org", "e1", k.ed}}
	msg := sign(t, crlf(letter), keys...)
	records := zone(map[string]string{"r1._domainkey.example.org": record(t, k.rsa), "e1._domainkey.example.org": record(t, k.ed)})
	got := verifyIn(t, msg, 100, testTime(), records)
	if len(got) != 2 || got[0].Status != Pass || got[0].Algorithm != "rsa-sha256" || got[0].KeyBits != 2048 ||
		got[1].Status != Pass || got[1].Algorithm != "ed25519-sha256" {
		t.Fatalf("%+v", got)
	}
	for line := range bytes.SplitSeq(msg, []byte("\r\n")) {
		if len(line) > 78 {
			t.Errorf("RFC 5322 section 2.1.1: a line of %d bytes: %s", len(line), line)
		}
	}
	header, _, _ := strings.Cut(string(msg), "\r\nFrom:")
	for _, want := range []string{"c=relaxed/relaxed;", "t=1795507200;", "x=1796112000;", "d=example.org;"} {
		if strings.Count(header, want) != 2 {
			t.Errorf("%q is not in each signature:\n%s", want, header)
		}
	}
	if strings.Contains(header, " l=") {
		t.Error("l= must never be signed")
	}
}

// RFC 6376 section 8.15: adding another field that readers see, or changing one, breaks the signature.
func TestSignedHeaderIsClosed(t *testing.T) {
	k := newKeys(t)
	rec := zone(map[string]string{"r1._domainkey.example.org": record(t, k.rsa)})
	full := strings.Replace(letter, "To: bob@example.net\n", "To: bob@example.net\nSender: ann@example.org\nList-Id: <l.example.org>\n"+
		"MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: 7bit\n", 1)
	msg := string(sign(t, crlf(full), Key{"example.org", "r1", k.rsa}))
	for _, n := range signedNames() {
		name := n.name
		if n.oversign == never {
			continue
		}
		changed := strings.Replace(msg, "\r\n\r\n", "\r\n"+name+": x\r\n\r\n", 1)
		if got := verifyIn(t, []byte(changed), 100, testTime(), rec); got[0].Status != Fail {
			t.Errorf("%s added below: %+v", name, got[0])
		}
		if got := verifyIn(t, []byte(name+": x\r\n"+msg), 100, testTime(), rec); got[0].Status != Fail {
			t.Errorf("%s added on top: %+v", name, got[0])
		}
	}
	for _, name := range []string{"Sender", "List-Id"} {
		changed := strings.Replace(msg, "\r\n"+name+": ", "\r\n"+name+": x", 1)
		if got := verifyIn(t, []byte(changed), 100, testTime(), rec); got[0].Status != Fail {
			t.Errorf("%s changed: %+v", name, got[0])
		}
	}
	for _, name := range []string{"List-Help", "Resent-From", "Received", "Authentication-Results", "List-Post"} {
		if got := verifyIn(t, []byte(name+": x\r\n"+msg), 100, testTime(), rec); got[0].Status != Pass {
			t.Errorf("%s added by a list: %+v", name, got[0])
		}
	}
}

// A missing field that a relay adds (RFC 6409 section 8) does not break the signature. A second field of that name breaks it. A field whose
// name relays do not add also breaks it. go-msgauth returns the same results.
func TestFieldsThatRelaysAdd(t *testing.T) { atTestTime(t, fieldsThatRelaysAdd) }

func fieldsThatRelaysAdd(t *testing.T) {
	k := newKeys(t)
	records := map[string]string{"r1._domainkey.example.org": record(t, k.rsa)}
	passes := func(msg string) bool {
		t.Helper()
		ours := verifyIn(t, []byte(msg), 100, testTime(), zone(records))[0].Status == Pass
		theirs, err := msgauth.VerifyWithOptions(strings.NewReader(msg), &msgauth.VerifyOptions{LookupTXT: func(name string) ([]string, error) { return []string{records[name]}, nil }})
		if err != nil || len(theirs) != 1 {
			t.Fatal(theirs, err)
		}
		if other := theirs[0].Err == nil; other != ours {
			t.Errorf("our result %v, go-msgauth's %v: %v", ours, other, theirs[0].Err)
		}
		return ours
	}
	const bare = "From: ann@example.org\r\nSubject: x\r\n"
	signed := func(header string) string {
		return string(sign(t, []byte(header+"\r\ntext\r\n"), Key{"example.org", "r1", k.rsa}))
	}
	msg := signed(bare)
	fields, _ := splitMessage(t, []byte(bare+"\r\n"))
	if s, err := NewSigner(fields, nil, testTime(), 0); err != nil || !slices.Equal(s.Absent(), []string{"Date", "Message-ID"}) {
		t.Errorf("absent: %q, %v", s.Absent(), err)
	}
	added := ""
	for _, f := range []string{"Date: Tue, 24 Nov 2026 08:00:00 +0000", "Message-ID: <1@relay.example>", "To: undisclosed-recipients:;",
		"MIME-Version: 1.0", "Content-Type: text/plain", "Content-Transfer-Encoding: 7bit"} {
		added += f + "\r\n"
		if !passes(f + "\r\n" + msg) {
			t.Errorf("%q was added to a message without it: fail, want pass", f)
		}
		if passes(f + "\r\n" + signed(bare+f+"\r\n")) {
			t.Errorf("a second %q was added: pass, want fail", f)
		}
	}
	if !passes(strings.Replace(msg, "\r\n\r\n", "\r\n"+added+"\r\n", 1)) {
		t.Error("all of them were added at the end: fail, want pass")
	}
	for _, name := range []string{"From", "Subject", "Reply-To", "Cc", "In-Reply-To", "References", "List-Unsubscribe"} {
		if passes(name + ": eve@example.net\r\n" + msg) {
			t.Errorf("%s was added: pass, want fail", name)
		}
	}
}

func TestTooManyFieldsToSign(t *testing.T) {
	fields := []Field{{"From", " a@example.org"}}
	for range MaxSignedNames {
		fields = append(fields, Field{"To", " b@example.net"})
	}
	if _, err := NewSigner(fields, nil, testTime(), 0); err == nil {
		t.Fatal(err)
	}
}

// Signatures of the Author Domain are verified in any position. The result of signatures over the limit is "policy".
func TestSignatureCap(t *testing.T) {
	k := newKeys(t)
	msg := crlf(letter)
	foreign := forge(t, msg, k.rsa, "v=1; a=rsa-sha256; d=foreign.example; s=sel; h=from; bh=$BH;")
	line, _, _ := bytes.Cut(foreign, []byte("\r\nFrom:"))
	own := forge(t, msg, k.rsa, "v=1; a=rsa-sha256; d=mail.example.org; s=sel; h=from; bh=$BH;")
	many := append(bytes.Repeat(append(line, '\r', '\n'), MaxSignatures+2), own...)
	fields, body := splitMessage(t, many)
	v := NewVerifier(fields, []string{"example.org"})
	if n := len(v.KeyNames()); n != 2 {
		t.Errorf("%d key names, want 2", n)
	}
	v.Write(body)
	rec := record(t, k.rsa)
	got := v.Results(testTime(), zone(map[string]string{"sel._domainkey.foreign.example": rec, "sel._domainkey.mail.example.org": rec}))
	count := map[Status]int{}
	for _, r := range got {
		count[r.Status]++
	}
	if last := got[len(got)-1]; last.Domain != "mail.example.org" || last.Status != Pass {
		t.Errorf("the author's signature: %+v", last)
	}
	if count[Pass] != MaxSignatures || count[Policy] != 3 {
		t.Errorf("%v", count)
	}
}

// A temporary DNS error causes temperror, unless the message fails without any key.
func TestKeyServerDown(t *testing.T) {
	k := newKeys(t)
	msg := sign(t, crlf(letter), Key{"example.org", "r1", k.rsa})
	down := func(string) ([]string, error) { return nil, errors.New("server misbehaving") }
	if got := verifyIn(t, msg, 100, testTime(), down); got[0].Status != TempError {
		t.Errorf("%+v", got)
	}
	if got := verifyIn(t, append(msg, "more\r\n"...), 100, testTime(), down); got[0].Status != Fail {
		t.Errorf("a changed body: %+v", got)
	}
	none := func(string) ([]string, error) { return nil, nil }
	if got := verifyIn(t, msg, 100, testTime(), none); got[0].Status != PermError {
		t.Errorf("no record: %+v", got)
	}
	several := func(string) ([]string, error) {
		return []string{"v=spf1 -all", record(t, newKeys(t).rsa), record(t, k.rsa)}, nil
	}
	if got := verifyIn(t, msg, 100, testTime(), several); got[0].Status != Pass {
		t.Errorf("several records: %+v", got)
	}
}

// RFC 8616 section 5: names may be U-labels in an internationalized message; lookups use A-labels.
func TestInternationalNames(t *testing.T) {
	k := newKeys(t)
	msg := forge(t, crlf(letter), k.rsa, "v=1; a=rsa-sha256; c=relaxed/simple; d=bücher.example; i=@post.BÜCHER.example; s=schlüssel; h=from; bh=$BH;")
	got := verifyIn(t, msg, 100, testTime(), zone(map[string]string{"xn--schlssel-95a._domainkey.xn--bcher-kva.example": record(t, k.rsa)}))
	if got[0].Status != Pass || got[0].Domain != "xn--bcher-kva.example" || got[0].Identity != "@post.xn--bcher-kva.example" {
		t.Fatalf("%+v", got)
	}
}

// oddBodies are bodies for which implementations of canonicalization are known to differ.
func oddBodies() map[string]string {
	return map[string]string{
		"empty":             "",
		"no final newline":  "text",
		"trailing blanks":   "text\r\n\r\n\r\n\r\n",
		"leading blanks":    "\r\n\r\ntext\r\n",
		"blank lines only":  "\r\n\r\n",
		"bare spaces":       "  \t \r\n \r\n",
		"spaces at the end": "text  \t\r\nmore\t \r\n",
		"eight bits":        "Gr\xfc\xdfe \xff\x80\r\nGrüße\r\n",
		"very long line":    strings.Repeat("long ", 40000) + "\r\n",
		"many lines":        strings.Repeat("line\r\n", 5000),
	}
}

// Two independent implementations agree: go-msgauth verifies our signatures, and we verify those of go-msgauth.
func TestAgainstMsgauth(t *testing.T) {
	k := newKeys(t)
	records := map[string]string{"r1._domainkey.example.org": record(t, k.rsa), "e1._domainkey.example.org": record(t, k.ed)}
	header, _, _ := strings.Cut(string(crlf(letter)), "\r\n\r\n")
	lookup := func(name string) ([]string, error) { return []string{records[name]}, nil }
	for name, body := range oddBodies() {
		msg := []byte(header + "\r\n\r\n" + body)
		t.Run(name, func(t *testing.T) {
			atTestTime(t, func(t *testing.T) {
				signed := sign(t, msg, Key{"example.org", "r1", k.rsa}, Key{"example.org", "e1", k.ed})
				theirs, err := msgauth.VerifyWithOptions(bytes.NewReader(signed), &msgauth.VerifyOptions{LookupTXT: lookup})
				if err != nil || len(theirs) != 2 {
					t.Fatal(theirs, err)
				}
				for _, v := range theirs {
					if v.Err != nil {
						t.Error("go-msgauth:", v.Err)
					}
				}
				for _, c := range []string{"simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"} {
					h, b, _ := strings.Cut(c, "/")
					var out bytes.Buffer
					err := msgauth.Sign(&out, bytes.NewReader(msg), &msgauth.SignOptions{Domain: "example.org", Selector: "r1", Signer: k.rsa,
						HeaderCanonicalization: msgauth.Canonicalization(h), BodyCanonicalization: msgauth.Canonicalization(b)})
					if err != nil {
						t.Fatal(err)
					}
					if got := verifyIn(t, out.Bytes(), 1000, time.Now(), zone(records)); got[0].Status != Pass {
						t.Errorf("%s by go-msgauth: %+v", c, got[0])
					}
				}
			})
		})
	}
}

// Both implementations return the same status for generated messages that were changed after signing.
func TestSameVerdictAsMsgauth(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]string{"r1._domainkey.example.org": record(t, k)}
	lookup := func(name string) ([]string, error) { return []string{records[name]}, nil }
	rnd := mathrand.New(mathrand.NewPCG(1, 2))
	count := map[bool]int{}
	for i := range 2000 {
		body := randomText(rnd, 40)
		msg := []byte("From: ann@example.org\r\nSubject: " + strings.NewReplacer("\r", "", "\n", "").Replace(randomText(rnd, 10)) + "\r\n\r\n" + body)
		canons := []string{"simple", "relaxed"}
		tags := fmt.Sprintf("v=1; a=rsa-sha256; d=example.org; s=r1; c=%s/%s; h=from:subject; bh=$BH;", canons[rnd.IntN(2)], canons[rnd.IntN(2)])
		signed := forge(t, msg, k, tags)
		if i%2 == 1 {
			at := bytes.Index(signed, []byte("\r\nFrom:")) + 2
			at += rnd.IntN(len(signed) - at)
			piece := []string{" ", "\t", "x", "\r\n"}[rnd.IntN(4)]
			if signed[at-1] != '\r' && (at > bytes.Index(signed, []byte("\r\n\r\n")) || piece == " ") {
				signed = append(signed[:at:at], append([]byte(piece), signed[at:]...)...)
			}
		}
		if !bytes.Contains(signed, []byte("\r\n\r\n")) {
			continue // the space turned the empty line into a fold
		}
		ours := verifyIn(t, signed, 3, testTime(), zone(records))[0]
		theirs, err := msgauth.VerifyWithOptions(bytes.NewReader(signed), &msgauth.VerifyOptions{LookupTXT: lookup})
		if err != nil {
			continue // go-msgauth rejects a header field without a colon
		}
		same := (ours.Status == Pass) == (theirs[0].Err == nil)
		if !same {
			t.Fatalf("message %d: ours %+v, go-msgauth %v:\n%q", i, ours, theirs[0].Err, signed)
		}
		count[ours.Status == Pass]++
	}
	conformance.Add(t, "dkim-msgauth", "DKIM: go-msgauth has the same result for %d generated messages: %d pass, %d do not pass.", count[true]+count[false], count[true], count[false])
	if count[true] < 500 || count[false] < 300 {
		t.Errorf("the generator does not make enough of both kinds: %v", count)
	}
}

// randomText returns text with CRLF line ends and no other CR or LF, like text from Postfix.
func randomText(rnd *mathrand.Rand, n int) string {
	var b strings.Builder
	for range rnd.IntN(n) {
		b.WriteString([]string{"a", "b c", " ", "\t", "\r\n", "\r\n\r\n", "  \r\n", ".", "\xfc"}[rnd.IntN(9)])
	}
	return b.String()
}
