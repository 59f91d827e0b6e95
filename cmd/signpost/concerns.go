package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/doctor"
	"signpost/internal/owner"
	"signpost/keys"
	"signpost/keys/publish"
	"signpost/policy"
)

// concerns are what check-config and doctor say of a configuration that is valid.
func concerns(conf *config.Config, now time.Time) (all []doctor.Finding) {
	if conf.TagUnhandled() {
		all = append(all, doctor.Finding{Level: doctor.Red, Where: conf.Place("dmarc.quarantine_handled"), What: "dmarc.quarantine_handled is false: no filter is known to act on the tag of quarantined mail",
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
		all = append(all, doctor.Finding{What: "dmarc.forwarders_file: there is no " + conf.DMARC.ForwardersFile, Where: conf.Place("dmarc.forwarders_file"), Why: "no list or forwarder is accepted", Fix: "signpost forwarders"})
	}
	if conf.MetricsOpen() {
		_, port, _ := net.SplitHostPort(conf.MetricsListen)
		all = append(all, doctor.Finding{What: openMetrics, Where: conf.Place("metrics.listen"), Why: "there is no password", Fix: `metrics.listen = "127.0.0.1:` + port + `"`})
	}
	if slices.Equal(conf.Keys.Algorithms, []string{"ed25519"}) {
		all = append(all, doctor.Finding{What: `keys.algorithms: with "ed25519" alone, many receivers cannot verify the mail`, Where: conf.Place("keys.algorithms"), Why: keys.Ed25519Alone,
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
		file := p.TSIGSecretFile
		_, err := publish.ReadTSIGSecret(file, p.TSIGName, p.TSIGAlgorithm)
		reader, denied := unreadableFor(file, conf.KeysDir())
		if err == nil {
			err = denied
		}
		if err == nil {
			continue
		}
		fix := fmt.Sprintf("tsig_secret_file = %q # a file of mode 0600 with the secret of key %q, in [%s]", file, p.TSIGName, table)
		fi, noFile := os.Stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			fix = fmt.Sprintf("(umask 077; tsig-keygen -a %s %s > %s) && chown %s %s", p.TSIGAlgorithm, p.TSIGName, file, reader, file)
		case errors.Is(err, fs.ErrPermission), noFile == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o007 != 0:
			fix = fmt.Sprintf("chown %s %s && chmod 0600 %s", reader, file, file)
		}
		all = append(all, doctor.Finding{What: table + ".tsig_secret_file: " + err.Error(), Why: "dkimkey cannot publish records", Fix: fix,
			Where: cmp.Or(conf.Place("publish.domain."+domain+".tsig_secret_file"), conf.Place("publish.tsig_secret_file"))})
	}
	return all
}

// unreadableFor returns the owner of the keys directory, as whom the timer runs dkimkey, and an error if root can read a file and
// this user cannot. It reports no error where that is unknown.
func unreadableFor(file, dir string) (name string, err error) {
	of, err := os.Stat(dir)
	if err != nil {
		return "signpost", nil
	}
	uid := of.Sys().(*syscall.Stat_t).Uid
	name = strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	fi, err := os.Stat(file)
	if err != nil || os.Geteuid() != 0 || uid == 0 {
		return name, nil
	}
	st := fi.Sys().(*syscall.Stat_t)
	own := st.Uid == uid && fi.Mode().Perm()&0o400 != 0
	group := fi.Mode().Perm()&0o040 != 0 // of which the user may be a member
	if own || group {
		return name, nil
	}
	return name, fmt.Errorf("%s: user %s, who owns %s, cannot read the file: %w", file, name, dir, fs.ErrPermission)
}

// unreadable returns an error if root can read the configuration and the owner of state_dir, as whom the daemon runs, cannot. A
// file of --config in a directory that this user cannot reach is a draft, which no daemon reads.
func unreadable(conf *config.Config, file string, given bool) error {
	fi, err := os.Stat(conf.StateDir)
	if err != nil || os.Geteuid() != 0 {
		return nil
	}
	of := fi.Sys().(*syscall.Stat_t)
	back, err := owner.Act(filepath.Join(conf.StateDir, "keys"))
	if err != nil {
		return err
	}
	var denied []string
	if _, err := os.Stat(file); err == nil || !given {
		for _, path := range doctor.ConfigFiles(conf, file) {
			f, err := os.Open(path)
			if err == nil {
				f.Close()
			}
			if errors.Is(err, fs.ErrPermission) {
				denied = append(denied, path)
			}
		}
	}
	if err := back(); err != nil {
		return err
	}
	for i, path := range denied {
		if denied[i], err = filepath.Abs(path); err != nil {
			return err
		}
	}
	var all config.Errors
	// A user can have groups that Act does not set.
	for _, f := range doctor.Unreadable(of.Uid, of.Gid, denied) {
		all = append(all, fmt.Errorf("%s (%s)\nhint: %s", f.What, f.Where, f.Fix))
	}
	if len(all) == 0 {
		return nil
	}
	return cli.Usage(all)
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
