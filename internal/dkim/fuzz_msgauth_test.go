package dkim

import (
	"bytes"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// knownDifference returns why two correct verifiers may differ on a message, or "". Each reason is a rule that go-msgauth lacks or a
// limit of Signpost. If a reason applies, Signpost's result must be the stricter one, or the one that the RFC requires.
func knownDifference(ours Result, theirs error) string {
	switch {
	case ours.Status == Policy:
		return "an l= that leaves body unsigned, or a limit, has the result policy here"
	case ours.Status == Pass && theirs != nil && strings.Contains(theirs.Error(), "insecure body length"):
		return "go-msgauth rejects an l= that covers the whole body"
	case ours.Cause == KeyForbidsSubIdentity:
		return "go-msgauth does not know the flag t=s"
	case ours.Status == Pass && theirs != nil && strings.Contains(theirs.Error(), "domain mismatch"):
		return "go-msgauth compares i= and d= byte by byte, not as domain names (RFC 6376 section 3.5)"
	case ours.Cause == SignatureInFuture, ours.Cause == ExpirationNotAfterSigning:
		return "go-msgauth does not check t="
	case theirs != nil && strings.Contains(theirs.Error(), "expired"), ours.Cause == SignatureExpired:
		return "go-msgauth uses the wall clock and allows no skew"
	case slices.Contains([]Cause{DuplicateTag, MalformedTagName, InvalidCharacterInTag, KeyRecordDuplicateTag, KeyRecordTagName, KeyRecordCharacter}, ours.Cause):
		return "go-msgauth accepts tag lists that RFC 6376 section 3.2 does not allow"
	case ours.Cause == SignedLengthExceedsBody:
		return "go-msgauth accepts an l= that is longer than the body"
	}
	return ""
}

// Each library signs messages, which are then changed. Both libraries return the same status for these messages, except for known
// differences.
func FuzzAgainstMsgauth(f *testing.F) {
	k := newKeys(f)
	records := map[string]string{"sel._domainkey.example.org": record(f, k.rsa)}
	strict := map[string]string{"sel._domainkey.example.org": record(f, k.rsa) + "; t=s"}
	f.Add([]byte("Hello  Bob\r\n\r\n"), []byte("odd \t value"), uint64(1))
	f.Add([]byte(" \r\n\t"), []byte(""), uint64(77))
	f.Add([]byte("a\r\n\r\nb"), []byte("\xff"), uint64(4242))
	f.Fuzz(func(t *testing.T, body, value []byte, seed uint64) {
		if len(body) > 4096 || len(value) > 512 { // go-msgauth is quadratic on blank lines
			return
		}
		rnd := mathrand.New(mathrand.NewPCG(seed, 1))
		// Postfix passes only CRLF line ends, and no CR, LF or NUL in a value.
		text := strings.NewReplacer("\r\n", "\r\n", "\r", "", "\n", "\r\n").Replace(string(body))
		subject := strings.NewReplacer("\r", "", "\n", "", "\x00", "").Replace(string(value))
		msg := []byte("From: ann@example.org\r\nSubject: " + subject + "\r\nTo: bob@example.net\r\n\r\n" + text)
		canon := []string{"simple", "relaxed"}
		h, b := canon[rnd.IntN(2)], canon[rnd.IntN(2)]
		var signed []byte
		if rnd.IntN(3) == 0 {
			var out bytes.Buffer
			if err := msgauth.Sign(&out, bytes.NewReader(msg), &msgauth.SignOptions{Domain: "example.org", Selector: "sel", Signer: k.rsa,
				HeaderCanonicalization: msgauth.Canonicalization(h), BodyCanonicalization: msgauth.Canonicalization(b)}); err != nil {
				return
			}
			signed = out.Bytes()
		} else {
			more := []string{"", "", "l=3;", "l=4000;", "i=@mail.example.org;", "i=@EXAMPLE.org;", "t=1;", "t=9; x=5;", "yy=1;", "d=example.org;", "q=dns/txt;"}
			signed = forge(t, msg, k.rsa, fmt.Sprintf("v=1; a=rsa-sha256; c=%s/%s; d=example.org; s=sel; h=from:subject:subject; bh=$BH; %s",
				h, b, more[rnd.IntN(len(more))]))
		}
		for range rnd.IntN(3) {
			at := rnd.IntN(len(signed))
			piece := []string{" ", "\t", "x", "\r\n", "\r\n ", ";", "="}[rnd.IntN(7)]
			if signed[at] == '\n' || at > 0 && signed[at-1] == '\r' && signed[at] == '\n' {
				continue
			}
			signed = append(signed[:at:at], append([]byte(piece), signed[at:]...)...)
		}
		compareWithMsgauth(t, signed, [2]map[string]string{records, strict}[rnd.IntN(2)])
	})
}

func compareWithMsgauth(t *testing.T, signed []byte, records map[string]string) {
	t.Helper()
	header, _, ok := bytes.Cut(signed, []byte("\r\n\r\n"))
	if !ok || bytes.HasPrefix(header, []byte(" ")) || bytes.HasPrefix(header, []byte("\t")) || bytes.HasPrefix(header, []byte("\r\n")) {
		return
	}
	lookup := func(name string) ([]string, error) {
		if txt, ok := records[name]; ok {
			return []string{txt}, nil
		}
		return nil, notFound(name)
	}
	theirs, err := msgauth.VerifyWithOptions(bytes.NewReader(signed), &msgauth.VerifyOptions{LookupTXT: lookup})
	if err != nil {
		return // go-msgauth rejects a header field without a colon
	}
	ours := verifyIn(t, signed, 7, time.Now(), lookup)
	if len(ours) != len(theirs) {
		t.Fatalf("Signpost finds %d signatures, go-msgauth %d:\n%q", len(ours), len(theirs), signed)
	}
	for i, o := range ours {
		if (o.Status == Pass) != (theirs[i].Err == nil) && knownDifference(o, theirs[i].Err) == "" {
			t.Fatalf("ours %+v, go-msgauth %v:\n%q", o, theirs[i].Err, signed)
		}
	}
}
