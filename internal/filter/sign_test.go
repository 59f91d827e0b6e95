package filter

import (
	"crypto"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/keys"
	"signpost/milter"
	"signpost/policy"
)

// counted counts the signatures that a key makes.
type counted struct {
	crypto.Signer
	made int
}

func (c *counted) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	c.made++
	return c.Signer.Sign(random, digest, opts)
}

// A signature is by far the most expensive part of handling an outbound message. Each key therefore makes one signature, at the end of the
// message. It makes none for a message that is rejected or aborted.
func TestEachKeySignsOnce(t *testing.T) {
	store := keys.Store{State: t.TempDir(), Now: time.Now}
	store.Dir = filepath.Join(store.State, "keys")
	for _, algorithm := range []string{"rsa", "ed25519"} {
		metadata, err := store.Create(keys.Options{Domain: "example.org", Algorithm: algorithm, Bits: 2048, Publish: "manual", NewRSA: keys.NewRSA})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Activate(metadata.Domain, metadata.Selector); err != nil {
			t.Fatal(err)
		}
	}
	set, err := store.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	signers := map[string]*counted{}
	for _, k := range set.All() {
		signers[k.Algorithm] = &counted{Signer: k.Signer}
		k.Signer = signers[k.Algorithm]
	}
	f := newFilter(t, "")
	f.Keys = func() *keys.Snapshot { return &keys.Snapshot{Set: set, Hosted: map[string]bool{"example.org": true}} }
	f.Rules.LoginDomains = map[string][]string{"ann": {"example.org"}}
	session := milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}
	for _, c := range []struct {
		name, login string
		aborted     bool
		want        int
	}{
		{"the first message", "ann", false, 1},
		{"a second one", "ann", false, 1},
		{"a message that is aborted", "ann", true, 0},
		{"a message that is rejected", "bob", false, 0},
	} {
		m := f.Begin(t.Context(), session, milter.Envelope{Sender: "ann@example.org", Login: c.login})
		m.Header("From", " ann@example.org")
		m.EndHeaders("Q")
		m.Body([]byte("text\r\n"))
		inserted := 0
		if !c.aborted {
			edits, _ := m.Finish(t.Context())
			inserted = len(edits.Insert)
		}
		if inserted != 2*c.want || signers["rsa"].made != c.want || signers["ed25519"].made != c.want {
			t.Errorf("%s: %d fields inserted; %d signatures by the RSA key and %d by the Ed25519 key, want %d by each",
				c.name, inserted, signers["rsa"].made, signers["ed25519"].made, c.want)
		}
		signers["rsa"].made, signers["ed25519"].made = 0, 0
	}
}

// Postfix breaks lines over 998 bytes when it sends a message, which breaks its signature. The log has a warning about such lines, for
// signed mail only. It has the warning in observe mode too.
func TestLongLineIsLogged(t *testing.T) {
	f := newFilter(t, "")
	hosting(t, f, rsaKey(t))
	var log strings.Builder
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	var judged policy.Evidence
	f.Finished = func(r *decision.Record) { judged = r.Evidence }
	for _, c := range []struct {
		name, login, field, body string
		observe                  bool
		level                    string
		noted                    bool // the line has a note on long lines
		bytes                    int  // length of the longest line that Postfix breaks
	}{
		{"body", "ann", "", strings.Repeat("x", 2000), false, "level=WARN", true, 2000},
		{"observe mode", "ann", "", strings.Repeat("x", 2000), true, "level=WARN", true, 2000},
		{"unsigned field", "ann", strings.Repeat("r", 1000), "x", false, "level=INFO", true, 0},
		{"short lines", "ann", strings.Repeat("r", 900), strings.Repeat("x", 998), false, "level=INFO", false, 0},
		{"inbound", "", "", strings.Repeat("x", 2000), false, "level=INFO", false, 0},
	} {
		log.Reset()
		f.Observe = c.observe
		m := f.Begin(t.Context(), milter.Session{MTA: "mx", SMTP: true, Client: netip.MustParseAddr("203.0.113.9")}, milter.Envelope{Sender: "ann@example.com", Login: c.login})
		m.Header("From", " ann@example.com")
		m.Header("References", " "+c.field)
		m.Header("Date", " Mon, 30 Nov 2026 01:00:00 +0000")
		m.EndHeaders("Q")
		m.Body([]byte(c.body + "\r"))
		m.Body([]byte("\n"))
		m.Finish(t.Context())
		line := log.String()
		if strings.Contains(line, policy.Absent([]string{"Message-ID"})) != (c.login != "") {
			t.Errorf("%s: %s", c.name, line)
		}
		if note := policy.LongLines(judged.LongLines); !strings.Contains(line, c.level) || !strings.Contains(line, note) || (note != "") != c.noted {
			t.Errorf("%s: %s", c.name, line)
		}
		if l := judged.LongLines; (l != nil) != c.noted || l != nil && l.LongestLineBytes != c.bytes {
			t.Errorf("%s: %+v", c.name, l)
		}
	}
}
