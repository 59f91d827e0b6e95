package trial

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"signpost/internal/doctor/postfix"
	"signpost/internal/testmta"
)

// pick returns one of several texts.
func pick(r *rand.Rand, all ...string) string { return all[r.IntN(len(all))] }

// someAddress returns an address of this host or of another one, with or without an extension.
func someAddress(r *rand.Rand, domains ...string) string {
	return pick(r, "a", "b", "c", "d") + pick(r, "", "", "+x", "+y") + "@" + pick(r, domains...)
}

// randomTables returns tables that map the addresses of a few domains to one another, and to another host.
func randomTables(r *rand.Rand) map[string]map[string]string {
	here := []string{"mx.example.org", "example.org", "alias.example"}
	target := func() string {
		switch r.IntN(8) {
		case 0:
			return someAddress(r, "remote.example")
		case 1:
			return pick(r, "a", "b", "c", "d") + pick(r, "", "+x")
		case 2:
			return pick(r, "a", "b") + pick(r, "%", "%", "!") + "remote.example@" + pick(r, here...)
		}
		return someAddress(r, here...)
	}
	targets := func() string {
		if r.IntN(3) == 0 {
			return target() + ", " + target()
		}
		return target()
	}
	all := map[string]map[string]string{"virtual": {}, "canonical": {}, "aliases": {}, "transport": {}}
	for range 8 {
		switch r.IntN(5) {
		case 0:
			all["virtual"][pick(r, "a", "b", "c", "d", "a+x")] = targets()
		case 1:
			all["virtual"]["@"+pick(r, here...)] = pick(r, targets(), "@"+pick(r, here...))
		default:
			all["virtual"][someAddress(r, here...)] = targets()
		}
	}
	for range r.IntN(3) {
		all["canonical"][pick(r, someAddress(r, here...), "@alias.example", "d")] = pick(r, target(), "@example.org")
	}
	for range 4 {
		all["aliases"][pick(r, "a", "b", "c", "d")+pick(r, "", "+x")] = targets()
	}
	for range r.IntN(4) {
		all["transport"][pick(r, someAddress(r, here...), "example.org", "mx.example.org", ".example.org", "*")] = pick(r, "local:", "virtual:", "remote:gone", ":", "discard:")
	}
	all["aliasPatterns"], all["routePatterns"] = map[string]string{}, map[string]string{}
	for range r.IntN(3) {
		all["aliasPatterns"]["/"+somePattern(r)+"/"] = target()
		all["routePatterns"]["/"+somePattern(r)+"/"] = pick(r, "local:", "virtual:", "remote:gone", ":")
	}
	return all
}

// somePattern returns a pattern for addresses, or for the other keys of Postfix's lookups.
func somePattern(r *rand.Rand) string {
	return pick(r, "^a@", "^[bc]", `^c\+x@example`, "@alias", `^mx\.example\.org$`, `^example\.org$`, "^d$", "^@mx", `^\.`, `\+y@`, `^\*$`)
}

// ask returns what Postfix finds in one of these tables.
func ask(tables map[string]map[string]string, name, key string) (string, bool) {
	entries := tables[filepath.Base(name)]
	if !strings.HasPrefix(name, "regexp:") {
		value, ok := entries[strings.ToLower(key)]
		return value, ok
	}
	for _, pattern := range slices.Sorted(maps.Keys(entries)) {
		if regexp.MustCompile("(?i)" + strings.Trim(pattern, "/")).MatchString(key) {
			return entries[pattern], true
		}
	}
	return "", false
}

// randomSetting returns a line for main.cf, or nothing. table returns the name of a table with its type.
func randomSetting(r *rand.Rand, table func(kind, name string) string) string {
	return pick(r, "", "virtual_alias_maps = "+table("regexp", "aliasPatterns")+", "+table("texthash", "virtual")+"\n", "transport_maps = "+table("regexp", "routePatterns")+", "+table("texthash", "transport")+"\n",
		"virtual_alias_maps = "+table("texthash", "virtual")+", "+table("regexp", "aliasPatterns")+"\n", "transport_maps = "+table("texthash", "transport")+", "+table("regexp", "routePatterns")+"\n",
		"canonical_maps = "+table("regexp", "aliasPatterns")+"\n", "alias_maps = "+table("texthash", "aliases")+", "+table("regexp", "aliasPatterns")+"\n", "canonical_classes = envelope_sender\n", "receive_override_options = no_address_mappings\n", "recipient_delimiter = +-\n", "propagate_unmatched_extensions = canonical, virtual, alias, forward, include\n",
		"propagate_unmatched_extensions =\n", "virtual_transport = local\n", "mydestination = mx.example.org, example.org\n", "mydestination = !example.org, mx.example.org\n", "append_dot_mydomain = yes\n", "myorigin = example.org\n",
		"virtual_alias_domains =\nvirtual_mailbox_domains = example.org, alias.example\n", "recipient_delimiter =\n", "swap_bangpath = no\nallow_percent_hack = no\n", "parent_domain_matches_subdomains = transport_maps\n")
}

// Of a Postfix with random tables and settings, no mail leaves for any address that counts as local.
func TestLocalAgainstPostfix(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("Postfix needs root, and some seconds")
	}
	rounds, seed := 8, uint64(1796131686260802797)
	if n, err := strconv.Atoi(os.Getenv("SIGNPOST_LOCAL_ROUNDS")); err == nil { // for a longer search
		rounds, seed = n, uint64(time.Now().UnixNano())
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // user postfix reads the tables
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	table := func(kind, name string) string { return kind + ":" + filepath.Join(dir, name) }
	write := func(tables map[string]map[string]string) {
		for name, entries := range tables {
			var b strings.Builder
			for _, k := range slices.Sorted(maps.Keys(entries)) {
				fmt.Fprintf(&b, "%s %s\n", k, entries[k])
			}
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, time.Time{}, time.Now().Add(-time.Minute)); err != nil { // Postfix waits before it reads a file that has just been written
				t.Fatal(err)
			}
		}
	}
	write(map[string]map[string]string{"virtual": {}, "canonical": {}, "aliases": {}, "transport": {}})
	mta, err := testmta.Start(t.Context(), testmta.Options{Domains: []string{"example.org"}, MasterCF: "remote unix - - n - - discard\n", MainCF: map[string]string{
		"mydestination": "mx.example.org", "virtual_alias_domains": "alias.example", "default_transport": "remote:gone", "recipient_delimiter": "+", "append_dot_mydomain": "no", "myorigin": "mx.example.org",
		"virtual_alias_maps": table("texthash", "virtual"), "canonical_maps": table("texthash", "canonical"), "alias_maps": table("texthash", "aliases"), "transport_maps": table("texthash", "transport"), "smtpd_relay_restrictions": "permit_mynetworks, reject"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mta.Stop(); err != nil {
			t.Error(err)
		}
	}()
	postconf := postfix.Postconf(filepath.Join(mta.Dir, "etc"))
	main, err := os.ReadFile(filepath.Join(mta.Dir, "etc", "main.cf"))
	if err != nil {
		t.Fatal(err)
	}
	sent, local, left := 0, 0, 0
	for range rounds {
		r := rand.New(rand.NewPCG(seed, 0))
		seed++
		tables := randomTables(r)
		write(tables)
		setting := randomSetting(r, table)
		file := filepath.Join(mta.Dir, "etc", "main.cf")
		if err := os.WriteFile(file, append(main, setting...), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
		n := strings.Count(mta.Log(), "reload -- version")
		if _, err := mta.Run(t.Context(), "postfix", "reload"); err != nil {
			t.Fatal(err)
		}
		for strings.Count(mta.Log(), "reload -- version") == n {
			time.Sleep(10 * time.Millisecond)
		}
		s := &Site{Postconf: func(ctx context.Context, args ...string) (string, error) {
			out, err := postconf(ctx, args...)
			return regexp.MustCompile(`(?m)^(remote .*)discard$`).ReplaceAllString(out, "${1}smtp"), err // another host
		}, Ask: func(_ context.Context, name, key string) (string, bool, error) {
			value, ok := ask(tables, name, key)
			return value, ok, nil
		}}
		routes, err := s.routes(t.Context(), service{address: mta.SMTP})
		if err != nil {
			t.Fatalf("%s: %v", setting, err)
		}
		start := len(mta.Log())
		stays := map[string]bool{}
		byID := map[string]string{}
		for _, name := range []string{"a", "b", "c", "d"} {
			for _, extension := range []string{"", "+x", "+y"} {
				for _, domain := range []string{"mx.example.org", "example.org", "alias.example"} {
					to := name + extension + "@" + domain
					if stays[to] = s.local(t.Context(), routes, to) == nil; stays[to] {
						local++
					}
					id, err := deliver(t.Context(), mta, to)
					if err != nil {
						t.Logf("%s: %v", to, err)
						continue
					}
					sent++
					byID[id] = to
				}
			}
		}
		for range 1000 {
			out, err := mta.Run(t.Context(), "postqueue", "-p")
			if err == nil && strings.Contains(out, "Mail queue is empty") {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		log := mta.Log()[start:]
		for id, to := range byID {
			for queue := []string{id}; len(queue) > 0; queue = queue[1:] {
				all, _ := deliveries(log, queue[0])
				for _, d := range all {
					if m := regexp.MustCompile(`forwarded as (\w+)`).FindStringSubmatch(d.text); m != nil {
						queue = append(queue, m[1])
					}
					if d.text != "gone" {
						continue
					}
					if left++; stays[to] {
						t.Errorf("seed %d: mail for %s left this host, to %s\n%s%v", seed-1, to, d.to, setting, tables)
					}
				}
			}
		}
	}
	t.Logf("%d messages, %d of them to addresses that count as local; %d copies left", sent, local, left)
	if left == 0 || local < sent/20 {
		t.Error("the tables test nothing")
	}
}

// deliver sends a message and returns its queue ID.
func deliver(ctx context.Context, mta *testmta.MTA, to string) (string, error) {
	s, err := testmta.Dial(ctx, mta.SMTP)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if _, err = s.Expect(220); err != nil {
		return "", err
	}
	for _, line := range []string{"EHLO client.example.com", "MAIL FROM:<>", "RCPT TO:<" + to + "> NOTIFY=NEVER"} {
		if _, err = s.Cmd(250, line); err != nil {
			return "", err
		}
	}
	reply, err := s.Data(250, []byte("Subject: x\r\n\r\nx\r\n"))
	if err != nil {
		return "", err
	}
	_, id, _ := strings.Cut(reply, "queued as ")
	return strings.TrimSpace(id), nil
}
