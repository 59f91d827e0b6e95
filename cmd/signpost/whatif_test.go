package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"signpost/internal/config"
	"signpost/internal/daemon"
	"signpost/internal/decision"
	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/filter"
	"signpost/internal/journal"
	"signpost/internal/setup"
	"signpost/internal/whatif"
	"signpost/keys"
	"signpost/policy"
)

// keepReports writes reports to the journal in a state directory, all with the same time.
func keepReports(t *testing.T, conf *config.Config, at time.Time, reports ...*decision.Record) {
	t.Helper()
	lost := 0
	j := journal.Open(journal.Options{Path: conf.JournalFile(), Limits: daemon.JournalLimits(conf), Now: func() time.Time { return at },
		Log: slog.New(slog.DiscardHandler), Lost: func(_ journal.Cause, n int) { lost += n }})
	for _, r := range reports {
		j.Add(r)
	}
	j.Close()
	if lost > 0 {
		t.Fatalf("%d messages are not in the journal", lost)
	}
}

// allEntries reads the entries in the order in which they were written.
func allEntries(t *testing.T, conf *config.Config) (all []journal.Entry) {
	t.Helper()
	r, err := readJournal(conf)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Each(t.Context(), journal.Filter{}, func(e *journal.Entry) bool { all = append(all, *e); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

func stateIn(t *testing.T) *config.Config {
	conf := config.Default()
	conf.StateDir = t.TempDir()
	return conf
}

// The result that what-if calculates from the journal is the same as the filter's result under the new rules. Each case is played and
// recorded, decided again from its record, and played again under the new rules.
func TestWhatIfIsTrue(t *testing.T) {
	everywhere := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("2000::/3")}
	until := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	changes := map[string]func(*policy.Rules){
		"none":          func(*policy.Rules) {},
		"reject always": func(r *policy.Rules) { r.Reject, r.RejectFor = policy.RejectAlways, nil },
		"never, hold": func(r *policy.Rules) {
			r.Reject, r.RejectFor, r.Quarantine = policy.RejectNever, nil, policy.QuarantineHold
		},
		"spf reject": func(r *policy.Rules) {
			r.SPFFail, r.TempError, r.HostileFrom = policy.SPFReject, policy.TempErrorDefer, policy.HostileTag
		},
		"trusted forwarders": func(r *policy.Rules) { r.TrustedForwarders = everywhere },
		"trusted sealers": func(r *policy.Rules) {
			r.TrustedSealers = []string{"list.example", "forwarder.example", "lists.example.net"}
		},
		"allow": func(r *policy.Rules) {
			r.Deny, r.Allow = nil, []policy.LocalRule{{Domain: "example.com", Comment: "x", Expires: until}}
		},
		"allow that has expired": func(r *policy.Rules) {
			r.Allow = []policy.LocalRule{{Network: everywhere[0], Comment: "x", Expires: time.Unix(1_600_000_000, 0)}}
		},
		"deny": func(r *policy.Rules) {
			r.Deny = []policy.LocalRule{{Network: everywhere[0], Comment: "x", Expires: until}}
		},
		"skipped":   func(r *policy.Rules) { r.SkipNetworks = everywhere },
		"trusted":   func(r *policy.Rules) { r.TrustedNetworks, r.SkipNetworks, r.LoginDomains = everywhere, nil, nil },
		"nobody's":  func(r *policy.Rules) { r.TrustedNetworks, r.SkipNetworks = nil, nil },
		"a login's": func(r *policy.Rules) { r.LoginDomains = map[string][]string{"nobody@example.org": nil} },
	}
	files, _ := filepath.Glob("../../testdata/*.txtar")
	more, _ := filepath.Glob("../../testdata/*/*.txtar")
	type played struct {
		name, fault string
		attack      bool
		parts       map[string]string
		rules       policy.Rules
		keys        func() *keys.Snapshot
		hosted      map[string]bool
		entry       journal.Entry
	}
	var cases []*played
	var reports []*decision.Record
	for _, file := range append(files, more...) {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := &played{name: filepath.Base(file), attack: slices.Contains(more, file), parts: map[string]string{}, hosted: map[string]bool{}}
		for _, f := range ar.Files {
			c.parts[f.Name] = string(f.Data)
		}
		if strings.Contains(c.parts["dns"], "TIMEOUT") {
			continue // this fault takes seconds, and its evidence is the same as with SERVFAIL
		}
		if strings.Contains(c.parts["dns"], "%FAULT%") {
			c.fault = "SERVFAIL"
		}
		for line := range strings.Lines(c.parts["session"]) {
			if name, ok := strings.CutPrefix(line, "hosted "); ok {
				c.hosted[strings.TrimSpace(name)] = true
			}
		}
		var first *filter.Filter
		runCase(t, c.parts, c.fault, func(f *filter.Filter) {
			c.rules, first = f.Rules, f
			wrap(f, func(r *decision.Record) { reports = append(reports, r) })
		})
		c.keys = first.Keys
		cases = append(cases, c)
	}
	conf := stateIn(t)
	keepReports(t, conf, time.Unix(1_700_000_000, 0), reports...)
	entries := allEntries(t, conf)
	if len(entries) != len(cases) || len(cases) < 200 {
		t.Fatalf("%d cases, but %d entries in the journal", len(cases), len(entries))
	}
	var judged, unknown, changed atomic.Int64
	t.Run("cases", func(t *testing.T) {
		for i, c := range cases {
			c.entry = entries[i]
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				for name, change := range changes {
					if c.attack && !slices.Contains([]string{"reject always", "spf reject", "allow", "trusted"}, name) {
						continue // attacks have the same kinds of evidence as the other cases
					}
					rules := c.rules
					change(&rules)
					var real whatif.Fate
					runCase(t, c.parts, c.fault, func(f *filter.Filter) {
						f.Rules, f.Observe, f.Keys = rules, false, c.keys
						wrap(f, func(r *decision.Record) {
							e := journal.Entry{Record: *r}
							real = whatif.Was(&e)
						})
					})
					rules.Hosted = c.hosted
					said := whatif.Judge(&c.entry, rules)
					if said.Unknown != "" {
						unknown.Add(1)
						if c.entry.Evidence.SPF != nil && real.Role == policy.RoleVerify {
							t.Errorf("%s: %s, but the message was verified", name, said.Unknown)
						}
						continue
					}
					judged.Add(1)
					if real != whatif.Was(&c.entry) {
						changed.Add(1)
					}
					if said.Fate != real {
						t.Errorf("%s: recorded %v, what-if calculates %v, the filter decides %v", name, whatif.Was(&c.entry), said.Fate, real)
					}
				}
			})
		}
	})
	if n := judged.Load(); n < 1200 || changed.Load() < 200 || unknown.Load() > n/20 {
		t.Errorf("%d judged, of them %d changed, and %d unknown", n, changed.Load(), unknown.Load())
	}
}

func wrap(f *filter.Filter, also func(*decision.Record)) {
	before := f.Finished
	f.Finished = func(r *decision.Record) {
		before(r)
		also(r)
	}
}

// If what-if replaces p=none by another policy, its result is the same as the filter's result with that policy in DNS.
func TestWhatIfPolicyIsTrue(t *testing.T) {
	files, _ := filepath.Glob("../../testdata/*.txtar")
	tried := 0
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := map[string]string{}
		for _, f := range ar.Files {
			parts[f.Name] = string(f.Data)
		}
		if dns := parts["dns"]; !strings.Contains(dns, "p=none") || strings.Contains(dns, "FAULT") {
			continue
		}
		play := func(policy string) (all []*decision.Record) {
			parts := map[string]string{"config": parts["config"], "session": parts["session"], "message": parts["message"], "dns": strings.ReplaceAll(parts["dns"], "p=none", "p="+policy)}
			runCase(t, parts, "", func(f *filter.Filter) { wrap(f, func(r *decision.Record) { all = append(all, r) }) })
			return all
		}
		for _, p := range []dmarc.Policy{dmarc.PolicyQuarantine, dmarc.PolicyReject} {
			tried++
			conf := stateIn(t)
			keepReports(t, conf, time.Unix(1_700_000_000, 0), play("none")...)
			entry := allEntries(t, conf)[0]
			own, err := config.Parse("config", []byte(parts["config"]))
			if err != nil {
				t.Fatal(err)
			}
			if said, real := whatif.Judge(whatif.AsIf(&entry, p), setup.Rules(own)), play(string(p))[0]; said.Action != real.Action || said.Reply != whatif.Was(&journal.Entry{Record: *real}).Reply {
				t.Errorf("%s: with p=%s, what-if calculates %v, and the filter decides %v", file, p, said.Fate, real.Verdict)
			}
		}
	}
	if tried < 6 {
		t.Errorf("only %d", tried)
	}
}

// failing returns the record of a forged message whose author's domain publishes p=POLICY.
func failing(t *testing.T, author, policyWord string) *decision.Record {
	t.Helper()
	var record *decision.Record
	runCase(t, map[string]string{
		"dns":     "_dmarc." + author + ". TXT \"v=DMARC1; p=" + policyWord + "\"\n",
		"session": "client 203.0.113.9\nhelo \x1b[2J.example\nfrom ann@" + author + "\n",
		"message": "From: ann@" + author + "\r\nMessage-ID: <1@" + author + ">\r\n\r\ntext\r\n",
	}, "", func(f *filter.Filter) { wrap(f, func(r *decision.Record) { record = r }) })
	record.QueueID = "4Q\x1b[2J" + author
	return record
}

// what-if prints how many messages would get another action, who sent them, and some examples. Control characters in a message do not reach
// the terminal.
func TestWhatIfSays(t *testing.T) {
	conf := stateIn(t)
	observed := failing(t, "observed.example", "reject")
	observed.Observe = true
	keepReports(t, conf, time.Now(), failing(t, "a.example", "reject"), failing(t, "a.example", "reject"), failing(t, "b.example", "none"), observed)
	say := func(change func(c *config.Config), o whatIfOptions) string {
		c := *conf
		change(&c)
		var out bytes.Buffer
		if err := whatIf(t.Context(), &c, "NEW.toml", o, &out, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	never := func(c *config.Config) { c.DMARC.Reject = policy.RejectNever }
	same := func(*config.Config) {}
	for _, c := range []struct {
		name string
		got  string
		want []string
	}{
		{"less strict", say(never, whatIfOptions{}), []string{"under NEW.toml\n4 messages", "1   25.0%  unchanged", "3   75.0%  would change", "2   50.0%  reject 550 5.7.1 -> tag\n",
			"authors: a.example 2\n", "clients: 203.0.113.9 2\n", "senders: a.example 2\n", "for example 4Q?[2Ja.example at ", "1   25.0%  accept -> tag\n"}},
		{"what observe mode would have rejected", say(same, whatIfOptions{}), []string{"1   25.0%  accept -> reject 550 5.7.1\n", "authors: observed.example 1\n", "3   75.0%  unchanged"}},
		{"p=none as p=reject", say(same, whatIfOptions{asIf: "reject"}), []string{"p=none replaced by p=reject", "2   50.0%  accept -> reject 550 5.7.1\n", "b.example 1"}},
		{"of one domain", say(never, whatIfOptions{domain: "B.example", asIf: "quarantine"}), []string{"1 messages", "1  100.0%  accept -> tag\n"}},
		{"an upgrade", say(never, whatIfOptions{upgrade: true}), []string{"1   25.0%  unchanged", "3   75.0%  reject 550 5.7.1 -> tag\n"}},
		{"of nobody", say(never, whatIfOptions{domain: "c.example"}), []string{"no messages"}},
	} {
		for _, want := range c.want {
			if !strings.Contains(c.got, want) {
				t.Errorf("%s: %q is missing\n%s", c.name, want, c.got)
			}
		}
		if strings.Contains(c.got, "\x1b") {
			t.Errorf("%s: %q", c.name, c.got)
		}
	}
	if got := say(same, whatIfOptions{upgrade: true}) + say(same, whatIfOptions{upgrade: true, json: true}); got != "" {
		t.Errorf("an upgrade that changes nothing: %s", got)
	}
	var r whatif.Result
	if err := json.Unmarshal([]byte(say(never, whatIfOptions{json: true})), &r); err != nil || r.Changed != 3 || len(r.Changes) != 2 || len(r.Changes[0].Examples) != 2 {
		t.Errorf("%v %+v", err, r)
	}
	// This entry has no verified relays.
	older := failing(t, "a.example", "reject")
	older.Evidence.RelaysChecked, older.Evidence.DKIM = false, []dkim.Result{{Status: dkim.Fail, Domain: "a.example", HeaderHolds: true}}
	keepReports(t, conf, time.Now(), older)
	if got := say(same, whatIfOptions{upgrade: true}); got != "1 of 5 messages cannot be judged from the journal: "+whatif.OlderVersion+"\n" {
		t.Errorf("an upgrade that changes nothing, with a message that cannot be judged: %s", got)
	}
	if got := say(same, whatIfOptions{upgrade: true, json: true}); !strings.Contains(got, `"undecidable": 1`) {
		t.Errorf("the same as JSON: %s", got)
	}
}

// A missing journal and invalid flags cause errors that state what to do.
func TestWhatIfErrors(t *testing.T) {
	conf := stateIn(t)
	if err := whatIf(t.Context(), conf, "NEW.toml", whatIfOptions{since: "14d", upgrade: true}, nil, &bytes.Buffer{}); err != nil {
		t.Errorf("an upgrade without a journal: %v", err)
	}
	for want, o := range map[string]whatIfOptions{
		conf.JournalFile() + ": there is no journal here yet": {},
		`--since "yesterday" is not a time; use 14d`:          {since: "yesterday"},
		`--as-if-policy "none" is not a policy`:               {asIf: "none"},
		`--domain: `:                                          {domain: "two words"},
	} {
		if err := whatIf(t.Context(), conf, "NEW.toml", o, nil, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// The number of names in the result is limited, because senders can invent names. All messages are counted.
func TestWhatIfIsBounded(t *testing.T) {
	var tally whatif.Tally
	const many = 30_000
	for i := range many {
		e := &journal.Entry{}
		e.Action, e.Role = policy.Accept, policy.RoleVerify
		e.Evidence.Connection.Client = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		tally.Add(e, whatif.Judged{Fate: whatif.Fate{Role: policy.RoleVerify, Action: policy.Tag}})
	}
	c := tally.Result(2).Changes[0]
	if i := slices.IndexFunc(c.Clients, func(n whatif.Count) bool { return n.Name == "(others)" }); i != 2 || c.Clients[i].Messages != many-2 || c.Messages != many {
		t.Errorf("%+v", c)
	}
}
