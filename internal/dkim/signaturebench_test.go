package dkim

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"
	"time"
)

// A message of 4 KiB signed with RSA-2048 and, in turn with it, the bare signature of a hash, so that both see the same
// machine. The least time of each counts, because what else the machine does only adds; x-bare is the one by the other.
func BenchmarkSignature(b *testing.B) {
	key := newKeys(b).rsa
	fields, _ := splitMessage(b, crlf(letter))
	body := bytes.Repeat([]byte(strings.Repeat("eight or ", 7)+"nine\r\n"), 4096/69)
	sum := sha256.Sum256(body)
	message, bare := time.Hour, time.Hour
	b.ReportAllocs()
	for b.Loop() {
		begin := time.Now()
		s, err := NewSigner(fields, []Key{{"example.org", "r1", key}}, testTime(), 7*24*time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		s.Write(body)
		if _, err := s.Sign(); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if _, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:]); err != nil {
			b.Fatal(err)
		}
		message, bare = min(message, middle.Sub(begin)), min(bare, time.Since(middle))
	}
	b.ReportMetric(float64(message.Nanoseconds()), "message-ns")
	b.ReportMetric(float64(bare.Nanoseconds()), "bare-ns")
	b.ReportMetric(float64(message)/float64(bare), "x-bare")
}
