package testdkim

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"signpost/internal/dkim"
)

// chain returns Signpost's result for the ARC chain of a message.
func chain(t *testing.T, msg []byte, records map[string]string) dkim.Chain {
	fields, body := split(t, msg)
	v := dkim.NewVerifier(fields, nil)
	v.Write(body)
	return v.Chain(time.Now(), func(name string) ([]string, error) {
		if r, ok := records[name]; ok {
			return []string{r}, nil
		}
		return nil, &net.DNSError{IsNotFound: true}
	})
}

// Signpost and dkimpy have the same result for chains of one to three hops, sealed by dkimpy or by Sealer. With both, a chain fails if the
// body or the results were changed, or if a set was removed.
func TestChains(t *testing.T) {
	if testing.Short() {
		t.Skip("runs Python")
	}
	p := newPair(t)
	key := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(p.rsa)}))
	for _, sealer := range []string{"dkimpy", "ours"} {
		msg := []byte(messages()["plain"])
		for hop := 1; hop <= 3; hop++ {
			id := fmt.Sprintf("mx%d.example", hop)
			results := id + "; dmarc=pass header.from=example.org"
			if hop > 1 {
				results += "; arc=pass"
			}
			var err error
			if sealer == "dkimpy" {
				msg, err = DKIMPySeal(t.Context(), append([]byte("Authentication-Results: "+results+"\r\n"), msg...),
					SealOptions{Domain: "example.org", Selector: "r1", Key: key, AuthservID: id})
			} else {
				msg, err = Sealer{Domain: "example.org", Selector: "r1", Signer: p.rsa, Results: results}.Seal(msg)
			}
			if err != nil {
				t.Fatal(err)
			}
			dropped := regexp.MustCompile(fmt.Sprintf(`(?m)^ARC-[A-Za-z-]+:(.*\r\n[ \t])*.*\bi=%d;.*\r\n([ \t].*\r\n)*`, max(1, hop-1))).ReplaceAllString(string(msg), "")
			type variant struct{ name, msg, want string }
			variants := []variant{
				{"as sealed", string(msg), "pass"},
				{"body changed", string(msg) + "more\r\n", "fail"},
				{"results changed", strings.Replace(string(msg), "Results: i=1; mx1", "Results: i=1; my1", 1), "fail"},
			}
			if hop > 1 {
				for _, name := range []string{dkim.ARCSealField, dkim.ARCSignatureField, dkim.ARCResultsField} {
					if n := strings.Count(dropped, name+": "); n != hop-1 {
						t.Fatalf("%s: %d %s left of %d", sealer, n, name, hop)
					}
				}
				variants = append(variants, variant{"a set dropped", dropped, "fail"})
			}
			for _, v := range variants {
				if v.want == "fail" && v.msg == string(msg) {
					t.Fatalf("the change %q has no effect on\n%s", v.name, msg)
				}
				theirs, err := DKIMPyVerifyARC(t.Context(), []byte(v.msg), p.records)
				if err != nil {
					t.Fatal(err)
				}
				ours := chain(t, []byte(v.msg), p.records)
				if theirs.Status != v.want || string(ours.Status) != v.want {
					t.Errorf("%s, %d hops, %s: dkimpy %s (%s), we %s (%s), want %s", sealer, hop, v.name, theirs.Status, theirs.Detail, ours.Status, ours.Cause, v.want)
				}
				if v.want == "pass" && (len(ours.Sets) != hop || ours.Sets[hop-1].Domain != "example.org") {
					t.Errorf("%s, %d hops: sets %+v", sealer, hop, ours.Sets)
				}
			}
		}
	}
}
