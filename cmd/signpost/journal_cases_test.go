package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"signpost/internal/decision"
	"signpost/internal/journal"
	"signpost/policy"
)

// These marks replace the local parts and logins of the cases.
const markLocal, markLogin = "Zq.local-Part", "zqlogin"

// marked puts the marks into a case. No other text of a case looks like a mark.
func marked(parts map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range parts {
		out[name] = text
	}
	for line := range strings.Lines(parts["session"]) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		local, domain, ok := strings.Cut(rest, "@")
		switch {
		case word == "from" && ok && local != "":
			out["session"] = strings.Replace(out["session"], "from "+rest, "from "+markLocal+"@"+domain, 1)
			out["message"] = strings.ReplaceAll(out["message"], rest, markLocal+"@"+domain)
		case word == "login":
			marked := markLogin
			if ok {
				marked += "@" + domain
			}
			out["session"] = strings.Replace(out["session"], "login "+rest, "login "+marked, 1)
			out["config"] = strings.ReplaceAll(out["config"], `"`+rest+`"`, `"`+marked+`"`)
		}
	}
	return out
}

// judgedCase is a case and the result of playing it.
type judgedCase struct {
	name   string
	record *decision.Record
	rules  policy.Rules
}

// caseParts returns the parts of a case by name.
func caseParts(t *testing.T, file string) map[string]string {
	t.Helper()
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for _, f := range ar.Files {
		parts[f.Name] = string(f.Data)
	}
	return parts
}

func judgedCases(t *testing.T) (all []judgedCase) {
	t.Helper()
	files, _ := filepath.Glob("../../testdata/*.txtar")
	more, _ := filepath.Glob("../../testdata/*/*.txtar")
	for _, file := range append(files, more...) {
		parts := caseParts(t, file)
		report, rules, _, _ := judgeCase(t, marked(parts), "SERVFAIL")
		all = append(all, judgedCase{strings.TrimSuffix(filepath.Base(file), ".txtar"), report, rules})
	}
	// These records use all SPF macros that contain the sender: in an include, a redirect and a mechanism, with and without an answer
	// in DNS.
	for name, record := range map[string]string{
		"macro-term":     "v=spf1 exists:%{l}._a.example.com -all",
		"macro-reversed": "v=spf1 a:%{l1r-}.%{L2r}._b.example.com exists:%{S}._c.example.com ?all",
		"macro-redirect": "v=spf1 redirect=%{l}.spf.example.com",
		"macro-mapped":   "v=spf1 include:x.example.com -all",
	} {
		report, rules, _, _ := judgeCase(t, map[string]string{
			"session": "client 203.0.113.9\nhelo helo.example\nfrom " + markLocal + "@example.com\n",
			"dns": "example.com. TXT \"" + record + "\"\nx.example.com. TXT \"v=spf1 mx:%{s}.example.com ?all\"\n" +
				markLocal + ".spf.example.com. TXT \"v=spf1 exists:%{l}.deep.example.com -all\"\n",
			"message": "From: " + markLocal + "@example.com\nDKIM-Signature: v=1; a=ed25519-sha256; d=example.com; s=k; i=" + markLocal + "@example.com; h=from; bh=AAAA; b=AAAA\n\ntext\n",
		}, "")
		all = append(all, judgedCase{name, report, rules})
	}
	report, rules, _, _ := judgeCase(t, marked(map[string]string{
		"session": "client 203.0.113.9\nhosted example.org\nlogin ann@example.org\nfrom ann@example.org\n",
		"config":  "[sign]\nlogin_domains = { \"ann@example.org\" = [\"example.org\"] }\n",
		"message": "From: ann@example.org\n\ntext\n",
	}), "")
	all = append(all, judgedCase{"login-allowed", report, rules})
	for i := range all {
		to := &all[i].record.Evidence.Envelope
		to.Addressees, to.Recipients = 2, []string{markLocal + "@rcpt.example", "zqlogin@rcpt.example"}
	}
	return all
}

// keptCases writes the cases to a journal. It returns the entries in the same order, and the bytes of all files of the journal.
func keptCases(t *testing.T, cases []judgedCase, addresses journal.Addresses) (entries []journal.Entry, files string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal", "journal.db")
	j := journal.Open(journal.Options{Path: path, Limits: journal.Limits{Keep: 24 * time.Hour, MaxSize: 512 << 20, Addresses: addresses},
		Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	for _, c := range cases {
		j.Add(c.record)
	}
	j.Close()
	r, err := journal.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Each(t.Context(), journal.Filter{}, func(e *journal.Entry) bool { entries = append(entries, *e); return true }); err != nil || len(entries) != len(cases) {
		t.Fatalf("%d of %d cases: %v", len(entries), len(cases), err)
	}
	names, _ := filepath.Glob(path + "*")
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files += string(b)
	}
	return entries, files
}

// Unless journal.addresses is "full", the journal contains no local part of an envelope address and no login. This applies to its files
// and to the text of its entries. With "full", each entry contains these values.
func TestJournalPrivacy(t *testing.T) {
	cases := judgedCases(t)
	given := regexp.MustCompile(`(?i)zq[.]?local|local-part|part\.zq|zqlogin`)
	for _, addresses := range []journal.Addresses{journal.Omit, journal.Hash, journal.Full} {
		t.Run(string(addresses), func(t *testing.T) {
			entries, files := keptCases(t, cases, addresses)
			if addresses != journal.Full {
				if at := given.FindStringIndex(files); at != nil {
					t.Errorf("in the files: %q", files[max(0, at[0]-100):min(len(files), at[1]+100)])
				}
			}
			for i, e := range entries {
				b, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				if found := given.FindIndex(b); (found != nil) != (addresses == journal.Full) {
					t.Errorf("%s: %s", cases[i].name, b)
				}
				if to := e.Evidence.Envelope; to.Addressees != 2 || (len(to.Recipients) == 0) != (addresses == journal.Omit) {
					t.Errorf("%s: recipients %d %q", cases[i].name, to.Addressees, to.Recipients)
				}
			}
		})
	}
}

// For each case, the journal contains no part of a body and no part of a private key.
func TestJournalHasNoBodyNorKey(t *testing.T) {
	files, _ := filepath.Glob("../../testdata/*.txtar")
	more, _ := filepath.Glob("../../testdata/*/*.txtar")
	const body = "a line of the body"
	secret := "a key for the cases, of 32 bytes"
	signed := 0
	for _, file := range append(files, more...) {
		parts := caseParts(t, file)
		if !strings.Contains(parts["message"], "\n\n") {
			parts["message"] += "\n"
		}
		parts["message"] += body + "\n"
		record, _, _, _ := judgeCase(t, parts, "SERVFAIL")
		b, err := json.Marshal(journal.Entry{Record: *record})
		if err != nil {
			t.Fatal(err)
		}
		if record.Action == policy.Sign {
			signed++
		}
		for _, never := range []string{body, secret, base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret))} {
			if strings.Contains(string(b), never) {
				t.Errorf("%s: %q is kept: %s", file, never, b)
			}
		}
	}
	if len(files) < 50 || signed == 0 {
		t.Errorf("%d files, %d signed: cases are missing", len(files), signed)
	}
}

// Each decision can be repeated from the journal, whatever journal.addresses is. The only exception is a login that sign.login_domains
// allows, because the login is recorded only with "full".
func TestJournalReplay(t *testing.T) {
	cases := judgedCases(t)
	for addresses, want := range map[journal.Addresses][]string{
		journal.Full: nil,
		journal.Hash: {"login-allowed"},
		journal.Omit: {"login-allowed"},
	} {
		t.Run(string(addresses), func(t *testing.T) {
			entries, _ := keptCases(t, cases, addresses)
			var differ []string
			for i, e := range entries {
				was, rules := cases[i].record, cases[i].rules
				role, v := policy.AssignRole(e.Evidence, rules)
				same := role.Role == was.Role && role.Domain == was.Assignment.Domain && role.ResultsOnly == was.ResultsOnly
				if v.Action == "" && role.Role == policy.RoleVerify {
					v = policy.Decide(e.Evidence, rules)
				}
				if w := was.Verdict; v.Action != "" {
					same = same && v.Action == was.Decided() && v.Reply.Code == w.Reply.Code && v.Reply.Enhanced == w.Reply.Enhanced && v.Code() == w.Code() &&
						v.Override == w.Override && len(v.Evidence) == len(w.Evidence)
				}
				if !same {
					differ = append(differ, cases[i].name)
				}
			}
			if !slices.Equal(differ, want) {
				t.Errorf("decided otherwise: %q, want %q", differ, want)
			}
		})
	}
}
