package filter

import (
	"crypto/ed25519"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"signpost/internal/authres"
	"signpost/internal/dkim"
	"signpost/internal/testdkim"
)

// hostileRecord is a record that a sender publishes. Each %s is the hostile value.
type hostileRecord struct{ name, record string }

func hostileRecords(key string) []hostileRecord {
	const dmarc, signature, spf, seal = "_dmarc.evil.example", "key._domainkey.evil.example", "evil.example", "arc._domainkey.evil.example"
	all := []hostileRecord{
		{dmarc, "v=DMARC1; %s"}, {dmarc, "v=DMARC1 %s; p=reject"}, {dmarc, "v=DMARC1; p=reject; sp=%s; np=%[1]s; rua=mailto:a@evil.example"},
	}
	for _, tag := range []string{"p", "sp", "np", "adkim", "aspf", "t", "psd", "fo", "ruf", "x"} {
		p := "p=reject; "
		if tag == "p" {
			p = ""
		}
		all = append(all, hostileRecord{dmarc, "v=DMARC1; " + p + tag + "=%s"}, hostileRecord{dmarc, "v=DMARC1; " + p + tag + "=%s; rua=mailto:a@evil.example"})
	}
	for _, name := range []string{signature, seal} {
		for _, record := range []string{"%s", "v=DKIM1; %s", "v=%s; p=" + key, "v=DKIM1%s; p=" + key, "v=DKIM1; k=%s; p=" + key, "v=DKIM1; k=rsa %s; p=" + key,
			"v=DKIM1; h=%s; p=" + key, "v=DKIM1; h=rsa-sha256 %s; p=" + key, "v=DKIM1; s=%s; p=" + key, "v=DKIM1; s=email %s; p=" + key,
			"v=DKIM1; t=y:%s; p=" + key, "v=DKIM1; n=%s; p=", "v=DKIM1; p=%s", `v=DKIM1\; %s`} {
			all = append(all, hostileRecord{name, record})
		}
	}
	for _, term := range []string{"%s", "-%s", "include:%s", "a:%s.example", "mx:%s", "ptr:%s", "exists:%s.example", "-exists:%s.found.example", "ip4:%s", "ip6:%s", "ip4:192.0.2.0/%s",
		"all%s", "redirect=%s", "redirect=%s.example", "exp=%s", "redirect=%s.example redirect=b.example", "a:%%{%s}", "a:%%%s", "dmarc=%%%s"} {
		all = append(all, hostileRecord{spf, "v=spf1 " + term + " -all"})
	}
	return all
}

// No record of a sender brings a result into our Authentication-Results field, not even in quotes, because some readers search the field
// for "dmarc=pass". In this test nothing passes.
func TestRecordsPutNoResult(t *testing.T) {
	public := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	record, err := dkim.FormatKeyRecord(public.Public())
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(record, "p=")
	passes := regexp.MustCompile(`(?i)\b(dkim|spf|dmarc|arc)\s*=\s*"?pass`)
	another := ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), 1)) // no record in this zone verifies a signature of this key
	msg := ordinaryMessage("ann@evil.example").signed(t, "evil.example", another)
	msg.envelope.Sender = "ann@evil.example"
	sealedMessage := msg
	sealedMessage.fields = sealedBy(t, msg.fields, string(msg.body), testdkim.Sealer{Domain: "evil.example", Selector: "arc", Signer: another, Results: "mx; dkim=none"})
	for _, r := range hostileRecords(key) {
		for _, value := range []string{"dmarc=pass", "arc=pass", "dkim=pass", "spf=pass", "x;spf=pass", "x; dmarc=pass", "x dkim=pass", "p=dmarc=pass", "spf = pass", `x" dmarc=pass`, "DMARC=PASS"} {
			text := r.record
			if strings.Contains(text, "%") {
				text = fmt.Sprintf(text, value)
			}
			zone := r.name + ". TXT " + quotedTXT(text) + "\n" + `dmarc=pass.found.example. A 192.0.2.1` + "\n"
			for _, m := range []ordinary{msg, sealedMessage} {
				f := newFilter(t, zone)
				edits, reply := m.play(t.Context(), f)
				field := ""
				for _, in := range edits.Insert {
					if in.Name == authres.FieldName {
						field = in.Value
					}
				}
				if field == "" && reply.Code == 0 {
					t.Errorf("%s %q: there is no %s", r.name, text, authres.FieldName)
				}
				if passes.MatchString(field) || passes.MatchString(reply.Text) {
					t.Errorf("%s %q:%s\n%s", r.name, text, field, reply.Text)
				}
			}
		}
	}
}

// quotedTXT returns a text as the string of a TXT record in a zone file.
func quotedTXT(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
