package dkim

import (
	"crypto"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"signpost/internal/testdkim"
)

// chainOf verifies the chain of a message with CRLF line ends.
func chainOf(t testing.TB, msg []byte, key func(string) ([]string, error)) Chain {
	t.Helper()
	fields, body := splitMessage(t, msg)
	v := NewVerifier(fields, nil)
	v.Write(body)
	return v.Chain(testTime(), key)
}

// sealed puts n sets of one sealer on the letter.
func sealed(t testing.TB, n int, s testdkim.Sealer) []byte {
	t.Helper()
	msg := crlf(letter)
	for range n {
		var err error
		if msg, err = s.Seal(msg); err != nil {
			t.Fatal(err)
		}
	}
	return msg
}

func sealer(signer crypto.Signer) testdkim.Sealer {
	return testdkim.Sealer{Domain: "list.example", Selector: "s", Signer: signer, Results: "list.example; dmarc=pass header.from=example.org"}
}

// RFC 8617 section 5.2: what a stranger may do to a chain, and the one thing that it must say of it.
func TestChainRules(t *testing.T) {
	k := newKeys(t)
	good := zone(map[string]string{"s._domainkey.list.example": record(t, k.ed), "r._domainkey.list.example": record(t, k.rsa)})
	with := func(change func(*testdkim.Sealer)) testdkim.Sealer {
		s := sealer(k.ed)
		change(&s)
		return s
	}
	plain := sealer(k.ed)
	edit := func(msg []byte, old, new string) []byte { // the first one
		if !strings.Contains(string(msg), old) {
			t.Fatalf("%q is not in the message", old)
		}
		return []byte(strings.Replace(string(msg), old, new, 1))
	}
	drop := func(msg []byte, field string) []byte {
		return []byte(regexp.MustCompile("(?m)^"+field+":.*\r\n").ReplaceAllString(string(msg), ""))
	}
	// A message signature covers a DKIM-Signature that stands above everything.
	const signature = "DKIM-Signature: v=1; d=example.org\r\n"
	below, err := with(func(s *testdkim.Sealer) { s.Headers = "From:DKIM-Signature" }).Seal(append([]byte(signature), crlf(letter)...))
	if err != nil {
		t.Fatal(err)
	}
	above := append([]byte(signature), strings.Replace(string(below), signature, "", 1)...)
	for _, c := range []struct {
		name   string
		msg    []byte
		status Status
		reason string
	}{
		{"5.1.1: a DKIM-Signature is covered", below, Pass, ""},
		{"5.1.1: a DKIM-Signature on top is covered", above, Pass, ""},
		{"no sets", crlf(letter), None, ""},
		{"one set, Ed25519", sealed(t, 1, plain), Pass, ""},
		{"RSA", sealed(t, 2, with(func(s *testdkim.Sealer) { s.Signer, s.Selector = k.rsa, "r" })), Pass, ""},
		{"5.2 step 1: 50 sets", sealed(t, 50, plain), Pass, ""},
		{"5.2 step 1: 51 sets", sealed(t, 51, plain), Fail, "more than 50 ARC sets"},
		{"names of any case", edit(edit(sealed(t, 1, plain), "ARC-Seal", "aRC-sEAL"), "ARC-Message-Signature", "arc-MESSAGE-signature"), Pass, ""},
		{"4.2.1: i=01", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Instance = "01" })), Pass, ""},
		{"4.2.1: i=0", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Instance = "0" })), Fail, "not a number from 1 to 50"},
		{"4.2.1: i=001", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Instance = "001" })), Fail, "not a number from 1 to 50"},
		{"4.2.1: i=+1", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Instance = "+1" })), Fail, "not a number from 1 to 50"},
		{"4.2.1: i=-1", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Instance = "-1" })), Fail, "not a number from 1 to 50"},
		{"4.2.1: i=1.0", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Instance = "1.0" })), Fail, "not a number from 1 to 50"},
		{"4.2.1: i empty", edit(sealed(t, 1, plain), "ARC-Seal: i=1;", "ARC-Seal: i=;"), Fail, "not a number from 1 to 50"},
		{"4.2.1: i=51", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Instance = "51" })), Fail, "not a number from 1 to 50"},
		{"4.2.1: i over every integer", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Instance = "18446744073709551617" })), Fail, "not a number from 1 to 50"},
		{"a gap: only instance 2", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Instance = "2" })), Fail, "i=2, where there are 1 sets"},
		{"an instance twice", sealed(t, 2, with(func(s *testdkim.Sealer) { s.Instance = "1" })), Fail, "instance 1 stands twice"},
		{"1 and 01 are one instance", edit(sealed(t, 2, plain), "ARC-Seal: i=2", "ARC-Seal: i=01"), Fail, "instance 1 stands twice"},
		{"results missing", drop(sealed(t, 1, plain), ARCResultsField), Fail, "not as many of each field"},
		{"message signature missing", drop(sealed(t, 1, plain), ARCSignatureField), Fail, "not as many of each field"},
		{"seal missing", drop(sealed(t, 1, plain), ARCSealField), Fail, "not as many of each field"},
		{"results without i=", edit(sealed(t, 1, plain), "Results: i=1; ", "Results: "), Fail, "does not begin with i="},
		{"5.2 step 2: cv=fail", sealed(t, 2, with(func(s *testdkim.Sealer) { s.CV = "fail" })), Fail, "cv=fail"},
		{"5.2 step 3: the first with cv=pass", sealed(t, 1, with(func(s *testdkim.Sealer) { s.CV = "pass" })), Fail, "cv=pass, not none"},
		{"5.2 step 3: the second with cv=none", sealed(t, 2, with(func(s *testdkim.Sealer) { s.CV = "none" })), Fail, "cv=none, not pass"},
		{"cv is lower case", sealed(t, 1, with(func(s *testdkim.Sealer) { s.CV = "None" })), Fail, "cv= is not"},
		{"4.1.3: a seal with h=", sealed(t, 1, with(func(s *testdkim.Sealer) { s.SealTags = " h=from;" })), Fail, "it has h="},
		{"a message signature over ARC-Seal", sealed(t, 2, with(func(s *testdkim.Sealer) { s.Headers = "from:ARC-Seal" })), Fail, "covers ARC-Seal"},
		{"NUL in a tag", sealed(t, 1, with(func(s *testdkim.Sealer) { s.SealTags = " n=\x00;" })), Fail, "a character that is not allowed"},
		{"a control character in d=", edit(sealed(t, 1, plain), "d=list", "d=li\x01st"), Fail, "a character that is not allowed"},
		{"d= is no name", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Domain = "list.example\"" })), Fail, "d= is not a domain name"},
		{"a tag twice", sealed(t, 1, with(func(s *testdkim.Sealer) { s.SealTags = " i=1;" })), Fail, "stands twice"},
		{"RFC 8301: rsa-sha1", edit(sealed(t, 1, plain), "a=ed25519-sha256", "a=rsa-sha1"), Fail, "rsa-sha1 must not be used"},
		{"l= over the whole body", sealed(t, 1, with(func(s *testdkim.Sealer) { s.MessageTags = " l=24;" })), Pass, ""},
		{"l= leaves body unsigned", append(sealed(t, 1, with(func(s *testdkim.Sealer) { s.MessageTags = " l=24;" })), "more\r\n"...), Fail, "unsigned"},
		{"l= 0", sealed(t, 1, with(func(s *testdkim.Sealer) { s.MessageTags = " l=0;" })), Fail, "body hash does not match"},
		{"a seal from the future", edit(sealed(t, 1, plain), "t=1700000000", "t=1999999999"), Fail, "lies in the future"},
		{"an expired message signature", sealed(t, 1, with(func(s *testdkim.Sealer) { s.MessageTags = " x=1700000001;" })), Fail, "expired"},
		{"a changed body", append(sealed(t, 2, plain), "more\r\n"...), Fail, "instance 2: the body hash"},
		{"a changed header", edit(sealed(t, 1, plain), "Subject: ", "Subject: x"), Fail, "Message-Signature of instance 1: the signature does not match"},
		{"changed results of an older set", edit(sealed(t, 2, plain), "Results: i=1; list.example; dmarc=pass", "Results: i=1; list.example; dmarc=fail"), Fail, "Seal of instance 2: the signature does not match"},
		{"no key", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Selector = "none" })), Fail, "there is no key record"},
		{"another's key", sealed(t, 1, with(func(s *testdkim.Sealer) { s.Signer = newKeys(t).ed })), Fail, "does not match"},
	} {
		got := chainOf(t, c.msg, good)
		if got.Status != c.status || !strings.Contains(got.Reason, c.reason) || c.reason == "" && got.Reason != "" || got.Temporary {
			t.Errorf("%s: %s %q, want %s %q", c.name, got.Status, got.Reason, c.status, c.reason)
		}
	}
}

// RFC 8617 section 5.2.1: a failure of DNS fails the chain; it is told apart, and never a pass. A changed body is seen
// without DNS.
func TestChainWithoutDNS(t *testing.T) {
	k := newKeys(t)
	records := zone(map[string]string{"s._domainkey.list.example": record(t, k.ed)})
	msg := sealed(t, 1, sealer(k.ed))
	other := sealer(k.ed)
	other.Selector = "dead"
	msg, err := other.Seal(msg)
	if err != nil {
		t.Fatal(err)
	}
	for _, failure := range []error{errors.New("lost"), &net.DNSError{Err: "SERVFAIL", IsTemporary: true}, &net.DNSError{Err: "time", IsTimeout: true}} {
		key := func(name string) ([]string, error) {
			if name == "dead._domainkey.list.example" {
				return nil, failure
			}
			return records(name)
		}
		if got := chainOf(t, msg, key); got.Status != Fail || !got.Temporary || !strings.Contains(got.Reason, "could not be looked up") {
			t.Errorf("%v: %+v", failure, got)
		}
		if got := chainOf(t, append(msg, "x\r\n"...), key); got.Status != Fail || got.Temporary {
			t.Errorf("a changed body, %v: %+v", failure, got)
		}
	}
}

// Who sealed is told of whole sets, and h= says whether he vouches for the author.
func TestChainTellsItsSealers(t *testing.T) {
	k := newKeys(t)
	first, second := sealer(k.ed), sealer(k.ed)
	second.Domain, second.Headers, second.Results = "Second.Example", "To", "mx.second.example; arc=pass"
	msg, err := second.Seal(sealed(t, 1, first))
	if err != nil {
		t.Fatal(err)
	}
	got := chainOf(t, msg, zone(map[string]string{"s._domainkey.list.example": record(t, k.ed), "s._domainkey.second.example": record(t, k.ed)}))
	want := Chain{Status: Pass, Sets: []Sealer{
		{1, "list.example", "s", "none", true, " list.example; dmarc=pass header.from=example.org"},
		{2, "second.example", "s", "pass", false, " mx.second.example; arc=pass"},
	}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// RFC 8617 section 5.2 step 5: 0 where every message signature holds; otherwise the oldest from which on all do.
func TestOldestPass(t *testing.T) {
	k := newKeys(t)
	records := zone(map[string]string{"s._domainkey.list.example": record(t, k.ed)})
	s := sealer(k.ed)
	later := func(msg []byte, n int) []byte {
		for range n {
			var err error
			if msg, err = s.Seal(msg); err != nil {
				t.Fatal(err)
			}
		}
		return msg
	}
	for _, c := range []struct{ before, after, want int }{
		{1, 1, 2}, {2, 1, 3}, {1, 3, 2},
		{1, 0, 0}, {3, 0, 0}, {maxMessageSignatures, 0, 0},
		// Older than the bound is not looked at, and not vouched for.
		{maxMessageSignatures + 2, 0, 3},
	} {
		msg := sealed(t, c.before, s)
		if c.after > 0 { // a list adds its footer and seals
			msg = later(append(msg, "footer\r\n"...), c.after)
		}
		if got := chainOf(t, msg, records); got.Status != Pass || got.OldestPass != c.want {
			t.Errorf("%d sets, a change, %d sets: %s %s oldest-pass %d, want %d", c.before, c.after, got.Status, got.Reason, got.OldestPass, c.want)
		}
	}
}

// A chain that is none costs no look-up, and one of 50 sets at most one for each key.
func TestChainLookups(t *testing.T) {
	k := newKeys(t)
	names := func(msg []byte) int {
		fields, _ := splitMessage(t, msg)
		return len(NewVerifier(fields, nil).KeyNames())
	}
	s := sealer(k.ed)
	if n := names(sealed(t, 50, s)); n != 1 {
		t.Errorf("50 sets by one key: %d names", n)
	}
	if n := names(sealed(t, 51, s)); n != 0 {
		t.Errorf("51 sets: %d names", n)
	}
	s.CV = "fail"
	if n := names(sealed(t, 2, s)); n != 0 {
		t.Errorf("cv=fail: %d names", n)
	}
}

// Whatever a stranger writes into a set, nothing breaks, and without a key nothing passes.
func FuzzChain(f *testing.F) {
	k := newKeys(f)
	msg := string(sealed(f, 1, sealer(k.ed)))
	seal, rest, _ := strings.Cut(strings.TrimPrefix(msg, "ARC-Seal:"), "\r\nARC-Message-Signature:")
	message, rest, _ := strings.Cut(rest, "\r\nARC-Authentication-Results:")
	results, _, _ := strings.Cut(rest, "\r\n")
	f.Add(seal, message, results)
	f.Add(" i=1; cv=none;;", " i=1; h=:::", " i=1;")
	f.Fuzz(func(t *testing.T, seal, message, results string) {
		fields := []Field{{"ARC-Seal", seal}, {"ARC-Message-Signature", message}, {"ARC-Authentication-Results", results}, {"From", " ann@example.org"}}
		v := NewVerifier(fields, nil)
		for _, name := range v.KeyNames() {
			if again, err := Domain(strings.Replace(name, "_domainkey.", "", 1)); err != nil || again == "" {
				t.Fatalf("an unsafe name to look up: %q", name)
			}
		}
		v.Write([]byte("Hello\r\n"))
		other := "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
		if got := v.Chain(testTime(), func(string) ([]string, error) { return []string{other}, nil }); got.Status != Fail {
			t.Fatalf("%+v", got)
		}
	})
}

// The cost of a chain grows with the octets of the header, not with their square.
func BenchmarkChain(b *testing.B) {
	k := newKeys(b)
	records := zone(map[string]string{"s._domainkey.list.example": record(b, k.ed)})
	for _, n := range []int{1, 5, 10, 50} {
		s := sealer(k.ed)
		s.Results += "; x=" + strings.Repeat("long results ", 1500) // a MiB for 50 sets
		msg := sealed(b, n, s)
		fields, body := splitMessage(b, msg)
		b.Run(fmt.Sprint(n, " sets"), func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			for b.Loop() {
				v := NewVerifier(fields, nil)
				v.Write(body)
				if c := v.Chain(testTime(), records); c.Status != Pass {
					b.Fatal(c.Reason)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(msg)), "ns/octet")
		})
	}
}
