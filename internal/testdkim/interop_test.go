package testdkim

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"signpost/internal/conformance"
	"signpost/internal/dkim"
)

func split(t *testing.T, msg []byte) ([]dkim.Field, []byte) {
	t.Helper()
	fields, rest, err := dkim.ReadMessage(bytes.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(rest)
	if err != nil {
		t.Fatal(err)
	}
	return fields, body
}

func messages() map[string]string {
	const header = "From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject:  two   spaces\r\n\tand a fold\r\nDate: Tue, 24 Nov 2026 08:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\r\n"
	return map[string]string{
		"plain":            header + "Hello  Bob,\r\n\r\n see you \t\r\n",
		"empty":            header,
		"no final newline": header + "text",
		"trailing blanks":  header + "text\r\n\r\n\r\n\r\n",
		"bare spaces":      header + "  \t \r\n \r\n",
		"eight bits":       header + "Gr\xfc\xdfe \xff\r\n",
		"very long line":   header + strings.Repeat("long ", 20000) + "\r\n",
		"odd header": "From:Ann\r\n\t <ann@example.org>\r\nTo:\r\nsubject:  \t odd \r\n\t\r\n  space \t\r\nDate:\r\n Tue, 24 Nov 2026 08:00:00 +0000\r\n" +
			"Comments: one\r\nComments: two\r\nX-8: \xfc\xff\r\n\r\ntext\r\n",
		"leading blanks": header + "\r\n\r\n \t\r\ntext\r\n",
	}
}

type pair struct {
	rsa     *rsa.PrivateKey
	ed      ed25519.PrivateKey
	records map[string]string
}

func newPair(t *testing.T) pair {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, e, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{r, e, map[string]string{}}
	if p.records["r1._domainkey.example.org"], err = dkim.FormatKeyRecord(r.Public()); err != nil {
		t.Fatal(err)
	}
	if p.records["e1._domainkey.example.org"], err = dkim.FormatKeyRecord(e.Public()); err != nil {
		t.Fatal(err)
	}
	return p
}

// dkimpy verifies our signatures with both algorithms. OpenDKIM and Mail::DKIM verify our RSA signatures. With all three implementations, a
// changed body fails.
func TestTheyVerifyOurs(t *testing.T) {
	if testing.Short() {
		t.Skip("runs Python, Perl and OpenDKIM")
	}
	p := newPair(t)
	conformance.Add(t, "dkim-verifiers", "DKIM: dkimpy, OpenDKIM and Mail::DKIM verify Signpost's signatures of %d unusual messages.", len(messages()))
	for name, msg := range messages() {
		t.Run(name, func(t *testing.T) {
			fields, body := split(t, []byte(msg))
			s, err := dkim.NewSigner(fields, []dkim.Key{{Domain: "example.org", Selector: "r1", Signer: p.rsa}, {Domain: "example.org", Selector: "e1", Signer: p.ed}}, time.Now(), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			s.Write(body)
			signatures, err := s.Sign()
			if err != nil {
				t.Fatal(err)
			}
			signed := ""
			for _, f := range signatures {
				signed += f.Name + ":" + f.Value + "\r\n"
			}
			signed += msg
			opinions, err := DKIMPyVerify(t.Context(), []byte(signed), p.records)
			if err != nil || len(opinions) != 2 || !opinions[0].OK || !opinions[1].OK {
				t.Errorf("dkimpy: %+v, %v", opinions, err)
			}
			if o, err := MailDKIMVerify(t.Context(), []byte(signatures[0].Name+":"+signatures[0].Value+"\r\n"+msg), p.records); err != nil || len(o) != 1 || !o[0].OK {
				t.Errorf("Mail::DKIM: %+v, %v", o, err)
			}
			// OpenDKIM gets only the RSA signature, because it does not support the other algorithm.
			alone := signatures[0].Name + ":" + signatures[0].Value + "\r\n" + msg
			if !strings.HasSuffix(alone, "\r\n") {
				alone += "\r\n" // the test mode of OpenDKIM drops a last line without a line end, which no MTA passes to a milter
			}
			if o, err := OpenDKIMVerify(t.Context(), []byte(alone), p.records); err != nil || !o.OK {
				t.Errorf("opendkim: %+v, %v", o, err)
			}
			if o, err := OpenDKIMVerify(t.Context(), []byte(alone+"more\r\n"), p.records); err != nil || o.OK {
				t.Errorf("opendkim, a changed body: %+v, %v", o, err)
			}
		})
	}
}

// Signpost verifies signatures of dkimpy and Mail::DKIM with every canonicalization, with both algorithms of dkimpy, and with l=.
func TestWeVerifyTheirs(t *testing.T) {
	if testing.Short() {
		t.Skip("runs Python and Perl")
	}
	p := newPair(t)
	der := x509.MarshalPKCS1PrivateKey(p.rsa)
	key := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}))
	bare := base64.StdEncoding.EncodeToString(der)
	seed := base64.StdEncoding.EncodeToString(p.ed.Seed())
	verified := map[string]int{}
	verify := func(signer, name string, o SignOptions, signed []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		fields, body := split(t, signed)
		v := dkim.NewVerifier(fields, nil)
		v.Write(body)
		got := v.Results(time.Now(), func(name string) ([]string, error) {
			if r, ok := p.records[name]; ok {
				return []string{r}, nil
			}
			return nil, &net.DNSError{IsNotFound: true}
		})
		if len(got) != 1 || got[0].Status != dkim.Pass {
			t.Errorf("%s: %s, %s %s/%s: %+v", signer, name, o.Algorithm, o.Header, o.Body, got)
			return
		}
		verified[signer]++
	}
	for name, msg := range messages() {
		for _, header := range []string{"simple", "relaxed"} {
			for _, body := range []string{"simple", "relaxed"} {
				o := SignOptions{Domain: "example.org", Selector: "r1", Key: key, Algorithm: "rsa-sha256", Header: header, Body: body}
				signed, err := DKIMPySign(t.Context(), []byte(msg), o)
				verify("dkimpy", name, o, signed, err)
				o.Key = bare
				// With simple canonicalization, Mail::DKIM does not add a missing line end to the last line (RFC 6376 section 3.4.3). No
				// MTA passes such a line to a milter.
				ended := msg
				if body == "simple" && !strings.HasSuffix(msg, "\r\n") {
					ended += "\r\n"
				}
				signed, err = MailDKIMSign(t.Context(), []byte(ended), o)
				verify("Mail::DKIM", name, o, signed, err)
			}
		}
		o := SignOptions{Domain: "example.org", Selector: "r1", Key: key, Algorithm: "rsa-sha256", Header: "relaxed", Body: "relaxed", Length: true}
		signed, err := DKIMPySign(t.Context(), []byte(msg), o)
		verify("dkimpy", name, o, signed, err)
		o = SignOptions{Domain: "example.org", Selector: "e1", Key: seed, Algorithm: "ed25519-sha256", Header: "relaxed", Body: "relaxed"}
		signed, err = DKIMPySign(t.Context(), []byte(msg), o)
		verify("dkimpy", name, o, signed, err)
	}
	conformance.Add(t, "dkim-signers", "DKIM: Signpost verifies %d signatures of dkimpy and %d of Mail::DKIM over unusual messages, with each canonicalization.", verified["dkimpy"], verified["Mail::DKIM"])
}
