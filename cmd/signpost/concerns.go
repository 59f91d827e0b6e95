package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/keys"
	"signpost/policy"
)

// concerns are what check-config and doctor say of a configuration that is valid.
func concerns(conf *config.Config, now time.Time) (all []doctor.Finding) {
	if conf.TagUnhandled() {
		all = append(all, doctor.Finding{Level: doctor.Red, What: "dmarc.quarantine_handled is false: no filter is known to act on the tag of quarantined mail",
			Why: "without a filter that acts on X-Signpost-Disposition, quarantined forgeries reach the inbox",
			Fix: "quarantine_handled = true # in [dmarc], after you installed junk.sieve or milter_header_checks: docs/operations.md, \"Quarantined mail\""})
	}
	for _, key := range conf.NotYet() {
		all = append(all, doctor.Finding{What: key + ": has no effect yet in this version", Why: "what it asks for is not done", Fix: "# " + key})
	}
	for _, entry := range expired(conf, now) {
		all = append(all, doctor.Finding{What: "has expired and does not count: " + entry, Why: "what it was for is no longer let through, or refused",
			Fix: "expires = " + now.AddDate(1, 0, 0).Format(time.DateOnly) + " # or take it out"})
	}
	if _, err := os.Stat(conf.DMARC.ForwardersFile); conf.DMARC.ForwardersGiven && errors.Is(err, fs.ErrNotExist) {
		all = append(all, doctor.Finding{What: "dmarc.forwarders_file: there is no " + conf.DMARC.ForwardersFile, Why: "no list or forwarder is accepted", Fix: "signpost forwarders"})
	}
	if conf.MetricsOpen() {
		_, port, _ := net.SplitHostPort(conf.MetricsListen)
		all = append(all, doctor.Finding{What: openMetrics, Why: "there is no password", Fix: `metrics.listen = "127.0.0.1:` + port + `"`})
	}
	if slices.Equal(conf.Keys.Algorithms, []string{"ed25519"}) {
		all = append(all, doctor.Finding{What: `keys.algorithms: with "ed25519" alone, many receivers cannot verify the mail`, Why: keys.Ed25519Alone,
			Fix: `algorithms = ["rsa", "ed25519"] # in [keys]`})
	}
	return append(all, tsigConcerns(conf)...)
}

// tsigConcerns returns what is wrong with the TSIG secrets of all publish tables. Only dkimkey uses them, so that the daemon
// starts all the same.
func tsigConcerns(conf *config.Config) (all []doctor.Finding) {
	read := map[string]bool{}
	for _, domain := range append([]string{""}, slices.Sorted(maps.Keys(conf.PublishDomain))...) {
		p, table := conf.PublishFor(domain), conf.PublishTable(domain)
		if p.Method != "rfc2136" || read[table] {
			continue
		}
		read[table] = true
		_, err := keys.ReadTSIGSecret(p.TSIGSecretFile, p.TSIGName, p.TSIGAlgorithm)
		if err == nil {
			err = readableByOwner(p.TSIGSecretFile, conf.KeysDir())
		}
		if err == nil {
			continue
		}
		fix := fmt.Sprintf("tsig_secret_file = %q # a file of mode 0600 with the secret of key %q, in [%s]", p.TSIGSecretFile, p.TSIGName, table)
		if errors.Is(err, fs.ErrNotExist) {
			fix = fmt.Sprintf("(umask 077; tsig-keygen -a %s %s > %s)", p.TSIGAlgorithm, p.TSIGName, p.TSIGSecretFile)
		}
		all = append(all, doctor.Finding{What: table + ".tsig_secret_file: " + err.Error(), Why: "dkimkey cannot publish records", Fix: fix})
	}
	return all
}

// readableByOwner returns an error if root can read a file and the owner of the keys directory, as whom the timer runs dkimkey,
// cannot. It reports nothing where that is unknown.
func readableByOwner(file, dir string) error {
	fi, err := os.Stat(file)
	if err != nil || os.Geteuid() != 0 {
		return nil
	}
	of, err := os.Stat(dir)
	if err != nil {
		return nil
	}
	st, owner := fi.Sys().(*syscall.Stat_t), of.Sys().(*syscall.Stat_t)
	own := st.Uid == owner.Uid && fi.Mode().Perm()&0o400 != 0
	group := fi.Mode().Perm()&0o040 != 0 // of which the user may be a member
	if owner.Uid == 0 || own || group {
		return nil
	}
	return fmt.Errorf("%s: user %d, who owns %s, cannot read the file; chown it", file, owner.Uid, dir)
}

// expired are the exceptions and the accepted forwarders that count no more, in words.
func expired(conf *config.Config, now time.Time) []string {
	var all []string
	for _, list := range []struct {
		name  string
		rules []config.LocalRule
	}{{"[[allow]]", conf.Allow}, {"[[deny]]", conf.Deny}} {
		for _, r := range list.rules {
			if !now.Before(r.Expires) {
				all = append(all, list.name+" "+policy.LocalRule(r).String())
			}
		}
	}
	for _, f := range acceptedForwarders(conf) {
		if !now.Before(f.Expires) {
			all = append(all, "[[forwarder]] "+f.String()+" in "+conf.DMARC.ForwardersFile)
		}
	}
	return all
}
