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

// BenchmarkSignature alternates between signing a message of 4 KiB and signing only a hash, both with RSA-2048, so that both run under
// the same load. The minimum of each time is used, because other load only adds time. x-bare is the ratio of the two minimums.
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
