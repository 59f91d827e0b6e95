package keys

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"log/slog"
	"os"
	"testing"
)

// A key is prepared once, when it is read. Without the precomputed values, crypto/rsa prepares and checks the key again for each signature.
// This takes two thirds more time, and sixty allocations instead of two.
func TestKeysAreReady(t *testing.T) {
	const most = 4
	sum := sha256.Sum256([]byte("a message"))
	allocations := func(t *testing.T, signer crypto.Signer) int {
		return int(testing.AllocsPerRun(5, func() {
			if _, err := signer.Sign(nil, sum[:], crypto.SHA256); err != nil {
				t.Fatal(err)
			}
		}))
	}
	for _, kind := range []string{"PRIVATE KEY", "RSA PRIVATE KEY"} {
		t.Run(kind, func(t *testing.T) {
			signer, err := parsePEM([]byte(pemOf(t, kind)))
			if err != nil {
				t.Fatal(err)
			}
			if n := allocations(t, signer); n > most {
				t.Errorf("%d allocations for a signature, want %d at most", n, most)
			}
			k := signer.(*rsa.PrivateKey)
			// A key that is not prepared exceeds the limit, so the limit detects the difference.
			if n := allocations(t, &rsa.PrivateKey{PublicKey: k.PublicKey, D: k.D, Primes: k.Primes}); n <= most {
				t.Errorf("%d allocations with a key that is not ready, want more than %d", n, most)
			}
		})
	}
}

// The Snapshot contains the signing keys, so that a lookup opens no file. A reload does not read keys again if their directories have not
// changed.
func TestSigningReadsNothing(t *testing.T) {
	s := newStore(t)
	activate(t, s, create(t, s, "example.org", "rsa"))
	w, err := Open(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	before := w.Current()
	if w.Reload(); w.Current() != before {
		t.Error("keys are read again although nothing has changed")
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		t.Fatal(err)
	}
	first, second := w.Current().Set.Signing("example.org"), w.Current().Set.Signing("example.org")
	if len(first) != 1 || len(second) != 1 || first[0].Signer != second[0].Signer {
		t.Errorf("%v, then %v: not the same key", first, second)
	}
}
