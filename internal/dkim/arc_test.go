package dkim

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"signpost/internal/testdkim"

	"signpost/internal/domain"
)

// chainOf verifies the chain of a message with CRLF line ends.
func chainOf(t testing.TB, msg []byte, key func(string) ([]string, error)) Chain {
	t.Helper()
	fields, body, err := ReadMessage(bytes.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(fields, nil)
	if _, err := io.Copy(v, body); err != nil {
		t.Fatal(err)
	}
	return v.Chain(testTime(), key)
}

// addSets returns msg with n more sets of one sealer on top.
func addSets(t testing.TB, msg []byte, n int, s testdkim.Sealer) []byte {
	t.Helper()
	for range n {
		var err error
		if msg, err = s.Seal(msg); err != nil {
			t.Fatal(err)
		}
	}
	return msg
}

// sealed returns the letter with n sets of one sealer.
func sealed(t testing.TB, n int, s testdkim.Sealer) []byte {
	t.Helper()
	return addSets(t, crlf(letter), n, s)
}

func sealer(signer crypto.Signer) testdkim.Sealer {
	return testdkim.Sealer{Domain: "list.example", Selector: "s", Signer: signer, Results: "list.example; dmarc=pass header.from=example.org"}
}

// RFC 8617 section 5.2.1: a DNS failure fails the chain, and is recorded as temporary. A changed body is detected without a DNS lookup.
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
		if got := chainOf(t, msg, key); got.Status != Fail || !got.Temporary || got.Cause != KeyLookupFailed || got.Field != arcSignature || got.Instance != 2 || got.KeyName != "dead._domainkey.list.example" {
			t.Errorf("%v: %+v", failure, got)
		}
		if got := chainOf(t, append(msg, "x\r\n"...), key); got.Status != Fail || got.Temporary {
			t.Errorf("a changed body, %v: %+v", failure, got)
		}
	}
}

// The sealers are returned if all sets are complete. CoversFrom reports whether h= lists From.
func TestChainSealers(t *testing.T) {
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

// RFC 8617 section 5.2 step 5: OldestPass is 0 if every message signature verifies. Otherwise, it is the lowest instance for which this
// signature and all newer message signatures verify.
func TestOldestPass(t *testing.T) {
	k := newKeys(t)
	records := zone(map[string]string{"s._domainkey.list.example": record(t, k.ed)})
	s := sealer(k.ed)
	for _, c := range []struct{ before, after, want int }{
		{1, 1, 2}, {2, 1, 3}, {1, 3, 2},
		{1, 0, 0}, {3, 0, 0}, {maxMessageSignatures, 0, 0},
		// Sets over the limit are not verified.
		{maxMessageSignatures + 2, 0, 3},
	} {
		msg := sealed(t, c.before, s)
		if c.after > 0 { // a list adds its footer and seals
			msg = addSets(t, append(msg, "footer\r\n"...), c.after, s)
		}
		if got := chainOf(t, msg, records); got.Status != Pass || got.OldestPass != c.want {
			t.Errorf("%d sets, a change, %d sets: %s %s oldest-pass %d, want %d", c.before, c.after, got.Status, got.Cause, got.OldestPass, c.want)
		}
	}
}

// A malformed chain causes no lookup. A chain of 50 sets causes at most one lookup for each key.
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
	if n := names(bytes.Replace(sealed(t, 2, s), []byte("cv=pass"), []byte("cv=fail"), 1)); n != 0 {
		t.Errorf("cv=fail: %d names", n)
	}
}

// A set cannot cause a panic, whatever it contains. No chain passes without a key.
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
			if again, err := domain.Parse(strings.Replace(name, "_domainkey.", "", 1)); err != nil || again == "" {
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

// The cost of a chain grows linearly with the size of the header, not with its square.
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
					b.Fatal(c.Cause)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(msg)), "ns/byte")
		})
	}
}
