package daemon

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/testdns"
)

// Until the date in the file has passed, mail from an accepted forwarder is tagged and not rejected. Mail that an accepted list signed
// is accepted until then. A reload of a file with an error changes nothing.
func TestAcceptedForwarders(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	record, err := dkim.FormatKeyRecord(key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	server, err := testdns.Start("_dmarc.example.com. TXT \"v=DMARC1; p=reject\"\ns._domainkey.lists.example.org. TXT \"" + record + "\"\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	r := start(t, "[dns]\nservers = [\""+server.Addr()+"\"]\n")
	fields := []dkim.Field{{Name: "From", Value: " ann@example.com"}, {Name: "List-Id", Value: " <lists.example.org>"},
		{Name: "List-Post", Value: " <mailto:friends@lists.example.org>"}}
	signer, err := dkim.NewSigner(fields, []dkim.Key{{Domain: "lists.example.org", Selector: "s", Signer: key}}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(signer, "text\r\n")
	signature, err := signer.Sign()
	if err != nil {
		t.Fatal(err)
	}
	straight := []string{"From\x00 ann@example.com\x00"}
	listed := []string{"DKIM-Signature\x00" + signature[0].Value + "\x00", "From\x00 ann@example.com\x00", "List-Id\x00 <lists.example.org>\x00",
		"List-Post\x00 <mailto:friends@lists.example.org>\x00"}
	// what returns the action of the answers to a message.
	what := func(header []string) string {
		answers := r.dial().Message("ann@example.com", header...)
		switch all := strings.Join(answers, "\n"); {
		case strings.HasPrefix(answers[len(answers)-1], "y550"):
			return "reject"
		case strings.Contains(all, "X-Signpost-Disposition"):
			return "tag"
		}
		return "accept"
	}
	accept := func(text string) (log string, ok bool) {
		r.put("forwarders.toml", text)
		return r.hangup("[dns]\nservers = [\"" + server.Addr() + "\"]\n")
	}
	entry := func(what, until string) string {
		return "[[forwarder]]\n" + what + "\ncomment = \"x\"\nexpires = " + until + "\n"
	}
	check := func(when, wantStraight, wantListed string) {
		t.Helper()
		if got := what(straight); got != wantStraight {
			t.Errorf("%s: the forwarder's is %s", when, got)
		}
		if got := what(listed); got != wantListed {
			t.Errorf("%s: the list's is %s", when, got)
		}
	}
	check("nobody accepted", "reject", "tag")
	network, list := `network = "192.0.2.0/24"`, `signer = "lists.example.org"`
	if log, ok := accept(entry(network, "2099-01-01") + entry(list, "2099-01-01")); !ok || !strings.Contains(log, "changed=dmarc.forwarders_file") {
		t.Error(log)
	}
	check("accepted", "tag", "accept")
	if log, ok := accept("\n[[forwarder]]\nsigner = \"x\"\n"); ok || !strings.Contains(log, "forwarders.toml:3: forwarder[1].signer: ") || !strings.Contains(log, "must have expires") {
		t.Error(log)
	}
	check("with an error in the file", "tag", "accept")
	if log, ok := accept(entry(network, "2026-01-01") + entry(list, "2026-01-01")); !ok || strings.Count(log, "has expired and is ignored") != 2 {
		t.Error(log)
	}
	check("expired", "reject", "tag")
	if _, ok := accept(entry(list+"\nnetwork = \"198.51.100.0/24\"", "2099-01-01")); !ok {
		t.Error("not read")
	}
	check("from another network", "reject", "tag")
}
