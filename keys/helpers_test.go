package keys

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

func TestMain(m *testing.M) {
	// The tests sync many files, so the files are in memory.
	if shm, err := os.Stat("/dev/shm"); err == nil && shm.IsDir() && os.Getenv("TMPDIR") == "" {
		if err := os.Setenv("TMPDIR", "/dev/shm"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

func owner(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := fi.Sys().(*syscall.Stat_t)
	return st.Uid, st.Gid
}

// pemOf returns a new key as a PEM file of a block type. Type "small" is a PKCS#1 key that RFC 8301 forbids.
func pemOf(t testing.TB, kind string) string {
	t.Helper()
	if kind == "small" {
		p, q := big.NewInt(4294967291), big.NewInt(4294967279)
		n := new(big.Int).Mul(p, q)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, big.NewInt(1)), new(big.Int).Sub(q, big.NewInt(1)))
		d := new(big.Int).ModInverse(big.NewInt(65537), phi)
		k := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, D: d, Primes: []*big.Int{p, q}}
		return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}))
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der := x509.MarshalPKCS1PrivateKey(k)
	if kind == "PRIVATE KEY" {
		if der, err = x509.MarshalPKCS8PrivateKey(k); err != nil {
			t.Fatal(err)
		}
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// parseTXT parses zone file text with miekg/dns, in place of the operator's name server.
func parseTXT(t *testing.T, text string) *dns.TXT {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err, text)
	}
	return rr.(*dns.TXT)
}
