package dkim

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"
	"time"
)

// ordinary returns a typical message, with 20 fields and 4 KiB of text, and the record of its public key.
func ordinary(t testing.TB) (fields []Field, body []byte, keys []Key) {
	t.Helper()
	header := `Return-Path: <ann@example.org>
Received: from mail.example.org (mail.example.org [192.0.2.1])
	(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))
	by mx.example.net (Postfix) with ESMTPS id 4XyZ12abcd
	for <bob@example.net>; Tue, 24 Nov 2026 10:00:00 +0000 (UTC)
Received: from laptop.example.org (unknown [198.51.100.7])
	by mail.example.org (Postfix) with ESMTPSA id 4XyZ11aaaa;
	Tue, 24 Nov 2026 09:59:59 +0000 (UTC)
Date: Tue, 24 Nov 2026 10:59:58 +0100
From: "Ann Example" <ann@example.org>
To: Bob Example <bob@example.net>,
	Carol <carol@example.com>
Cc: team@example.net
Reply-To: ann@example.org
Subject: The minutes of yesterday's meeting, and what is left to be done
Message-ID: <20261124105958.12345@example.org>
In-Reply-To: <20261123120000.54321@example.net>
References: <20261122120000.11111@example.net>
	<20261123120000.54321@example.net>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8; format=flowed
Content-Transfer-Encoding: 8bit
Content-Language: en
User-Agent: Mozilla/5.0 (X11; Linux x86_64)
X-Mailer: Example 1.0
X-Priority: 3
Organization: Example

`
	fields, _ = splitMessage(t, crlf(header))
	body = bytes.Repeat([]byte(strings.Repeat("eight or ", 7)+"nine\r\n"), 4096/69)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return fields, body, []Key{{"example.org", "s2026", key}}
}

// signed returns the same message with its signature on top.
func signed(t testing.TB) (fields []Field, body []byte, records []string) {
	t.Helper()
	fields, body, keys := ordinary(t)
	s, err := NewSigner(fields, keys, testTime(), 7*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s.Write(body)
	signatures, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	return append(signatures, fields...), body, []string{record(t, keys[0].Signer)}
}

// TestAllocations detects an unintended rise in the cost of a message, apart from RSA. A body causes no allocation, and a header causes a
// fixed number.
func TestAllocations(t *testing.T) {
	fields, text, records := signed(t)
	odd := []byte(" \t\r\n\r\n \r")
	for _, c := range []canon{simple, relaxed} {
		b := &body{canon: c, sink: newSink(nil)}
		if n := testing.AllocsPerRun(100, func() {
			b.Write(text)
			b.Write(odd)
		}); n != 0 {
			t.Errorf("canonicalization %d: %v for a body", c, n)
		}
	}
	unsigned, _, keys := ordinary(t)
	for _, c := range []struct {
		what string
		most float64
		run  func()
	}{
		{"the header of a signed message", 24, func() { NewVerifier(fields, []string{"example.org"}) }},
		{"a key record", 12, func() { ParseKeyRecord(records[0]) }},
		{"the header of a message to be signed", 12, func() { NewSigner(unsigned, keys, testTime(), time.Hour) }},
	} {
		if n := testing.AllocsPerRun(100, c.run); n > c.most {
			t.Errorf("%s: %v allocations, not %v", c.what, n, c.most)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	fields, body, records := signed(b)
	b.ReportAllocs()
	for b.Loop() {
		v := NewVerifier(fields, []string{"example.org"})
		v.KeyNames()
		v.Write(body)
		r := v.Results(testTime(), func(string) ([]string, error) { return records, nil })
		if r[0].Status != Pass {
			b.Fatal(r)
		}
		v.Chain(testTime(), func(string) ([]string, error) { return records, nil })
	}
}

func BenchmarkSign(b *testing.B) {
	fields, body, keys := ordinary(b)
	b.ReportAllocs()
	for b.Loop() {
		s, _ := NewSigner(fields, keys, testTime(), 7*24*time.Hour)
		s.Write(body)
		if _, err := s.Sign(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareVerify measures the share of RSA in BenchmarkVerify. BenchmarkBareSign measures the share of RSA in BenchmarkSign.
func BenchmarkBareVerify(b *testing.B) {
	_, _, keys := ordinary(b)
	key := keys[0].Signer.(*rsa.PrivateKey)
	sum := sha256.Sum256(nil)
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig) != nil {
			b.Fatal("does not verify")
		}
	}
}

func BenchmarkBareSign(b *testing.B) {
	_, _, keys := ordinary(b)
	sum := sha256.Sum256(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys[0].Signer.Sign(rand.Reader, sum[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
}
