package domain

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/doctor"
	"signpost/keys"
)

// goodBits is the key size that RFC 8301 section 3.2 recommends to signers.
const goodBits = 2048

// checkKeys compares each of our keys with its record.
func (l *examination) checkKeys(ctx context.Context) {
	if all, err := l.text(ctx, "signpost-doctor-asks._domainkey."+l.domain); err == nil && len(all) > 0 {
		l.add(doctor.Finding{Level: doctor.Yellow, What: "a wildcard TXT record matches every selector of " + l.domain, Where: records("*._domainkey."+l.domain, all),
			Why: "RFC 6376 section 6.1.2: a lookup of any selector, even one that does not exist, returns this record", Fix: "; remove " + record("*._domainkey."+l.domain, all[0])})
	}
	for _, s := range l.Selectors {
		l.checkSelector(ctx, s)
	}
	if l.own == nil {
		if len(l.Selectors) == 0 {
			l.good("DNS does not list the DKIM keys of "+l.domain+"; check one with --selector NAME (s= in a DKIM-Signature)", "")
		}
		return
	}
	active, waiting := false, ""
	for _, k := range l.own.Keys {
		if k.State.Pending() {
			waiting = k.Selector
		}
		switch {
		case k.Err != nil && !k.Elsewhere:
			l.add(doctor.Finding{Level: doctor.Red, What: "the key " + k.Selector + " of " + l.domain + " is unusable", Where: fmt.Sprintf("%q", k.Err.Error()), Cause: keyCause(k),
				Why: "mail that cannot be signed is deferred, held or sent unsigned, as set by sign.on_missing_key", Fix: "dkimkey status " + l.domain})
		case k.State == keys.Revoked:
			l.checkRevoked(ctx, k)
		case k.State == keys.Removed || k.Signer == nil && k.Metadata == nil:
			continue
		default:
			l.checkKey(ctx, k)
		}
		active = active || k.State == keys.Active
	}
	switch {
	case active:
	case waiting != "":
		l.add(doctor.Finding{Level: doctor.Red, What: "no key signs for " + l.domain + " yet", Where: fmt.Sprintf("the key %s becomes active when every name server has served its record for long enough", waiting),
			Why: "until then its mail is sent unsigned, and DMARC depends on SPF alone, which fails after forwarding", Fix: "dkimkey rotate " + l.domain + " --wait"})
	default:
		l.add(doctor.Finding{Level: doctor.Red, What: "no key signs for " + l.domain, Where: fmt.Sprintf("%d keys, none active", len(l.own.Keys)),
			Why: "Gmail, Yahoo and Microsoft require DKIM of bulk senders; without it, DMARC depends on SPF alone, which fails after forwarding", Fix: "dkimkey add " + l.domain})
	}
}

// keyCause returns the reason why a key is unusable. The text omits the domain and the selector, so that Arrange can combine a problem that
// concerns all keys.
func keyCause(k *keys.Key) string {
	var failed *fs.PathError
	if errors.As(k.Err, &failed) {
		return failed.Err.Error()
	}
	return strings.NewReplacer(k.Domain, "", k.Selector, "").Replace(k.Err.Error())
}

func (l *examination) checkKey(ctx context.Context, k *keys.Key) {
	metadata := k.Metadata
	if metadata == nil {
		text, err := dkim.FormatKeyRecord(k.Signer.Public())
		if err != nil {
			return
		}
		metadata = &keys.Metadata{Domain: l.domain, Selector: k.Selector, Record: text}
	}
	name := keys.RecordName(l.domain, k.Selector)
	all, err := l.text(ctx, name)
	if err != nil {
		l.unknown(ctx, name, err)
		return
	}
	f := doctor.Finding{Level: doctor.Red, Where: records(name, all), Fix: record(name, metadata.Record)}
	found := func(what string) {
		f.What, f.Cause = "the record of the DKIM key "+k.Selector+" of "+l.domain+" "+what, "the record "+what
	}
	if k.State != keys.Active && k.State != keys.Retiring {
		f.Level = doctor.Yellow // it does not sign yet
	}
	if len(all) == 0 {
		found("is missing")
		f.Where = name + ": no TXT record"
		f.Why = "RFC 6376 section 6.1.2: without the record, no signature of this key passes"
		if twice, err := l.text(ctx, name+"."+l.domain); err == nil && len(twice) > 0 {
			f.Where = records(name+"."+l.domain, twice)
			f.Why += "; the record is at a name that contains the domain twice, because the final dot is missing in the zone file"
		}
		l.add(l.nowhere(ctx, name, "the name of the DKIM key "+k.Selector+" of "+l.domain, f))
		return
	}
	served, err := dkim.ParseKeyRecord(all[0])
	ours, ownErr := dkim.ParseKeyRecord(metadata.Record)
	switch {
	case len(all) > 1:
		f.What, f.Cause = fmt.Sprintf("%d TXT records at the DKIM key %s of %s", len(all), k.Selector, l.domain), "several TXT records"
		f.Why = "RFC 6376 section 3.6.2.2: with several records, the result is undefined; keep only this one"
	case err != nil:
		found("is not valid: " + keyReason(err))
		f.Why = "RFC 6376 section 6.1.2: no signature of this key passes"
	case ownErr != nil || !served.Equal(ours):
		found("contains another key")
		f.Where += "\nin DNS: " + keyEnds(all[0]) + "\nhere:   " + keyEnds(metadata.Record)
		f.Why = "RFC 6376 section 6.1.3: mail is signed with one key and verified with another, so every signature fails"
	case served.Testing:
		found("contains t=y (testing)")
		f.Level = doctor.Yellow
		f.Why = "RFC 6376 section 3.6.1: some receivers treat mail with a signature of a test key as unsigned"
	case served.Type == "rsa" && served.Bits < goodBits:
		f.Level, f.What, f.Cause = doctor.Yellow, fmt.Sprintf("the DKIM key %s of %s has %d bits", k.Selector, l.domain, served.Bits), "too few bits"
		f.Why = "RFC 8301 section 3.2: signers should use at least 2048 bits; some receivers ignore signatures of shorter keys"
		f.Fix = "dkimkey rotate " + l.domain + " --now"
	case l.Checker != nil:
		l.askServers(ctx, f, k, metadata)
		return
	default:
		l.good("the record of the DKIM key "+k.Selector+" of "+l.domain+" matches the key", name)
		return
	}
	l.add(f)
}

// askServers queries the authoritative servers, and verifies a probe signed with the key.
func (l *examination) askServers(ctx context.Context, f doctor.Finding, k *keys.Key, metadata *keys.Metadata) {
	seen := l.Checker.Look(ctx, metadata, k.Signer)
	o := seen.Outcome()
	name := keys.RecordName(l.domain, k.Selector)
	switch {
	case o.Ready:
		l.good("the record of the DKIM key "+k.Selector+" of "+l.domain+" matches the key", name+": "+o.Words)
		return
	case o.Silent && l.silent(seen, name):
		return
	}
	f.Where += fmt.Sprintf("\n%q", o.Words)
	f.What, f.Cause = "not every name server serves the record of the DKIM key "+k.Selector+" of "+l.domain, "differs: "+differing(seen)
	f.Why = "signatures fail at receivers whose lookup reaches such a server"
	if o.Silent {
		f.Level, f.Fix, f.Cause = doctor.Yellow, "dkimkey check "+l.domain, ""
		f.What = "not every name server answers for the DKIM key " + k.Selector + " of " + l.domain
	}
	l.add(f)
}

// silent adds a finding for each name server that does not answer, and reports whether there is such a server. If several domains use that
// server, Arrange combines their findings.
func (l *examination) silent(seen keys.Observation, name string) (any bool) {
	for _, a := range slices.Concat(seen.Servers, seen.Aliases) {
		server, addr, _ := strings.Cut(a.Server, " ")
		if a.Status != keys.NoReply {
			continue
		}
		any = true
		f := doctor.Finding{Level: doctor.Yellow, What: "the name server " + server + " (" + addr + ") does not answer", Where: fmt.Sprintf("%s at %s: %q", name, a.Server, a.Why),
			Why: "lookups that reach this server are slow or fail", Fix: "dig @" + addr + " " + word(name) + " TXT"}
		if !slices.Contains(l.failures, f.What) { // a server may serve the records of several keys, but needs only one finding
			l.failures = append(l.failures, f.What)
			l.add(f)
		}
	}
	return any
}

// differing returns the name servers that do not serve the record of the key: they serve another record, or none.
func differing(seen keys.Observation) string {
	var all []string
	for _, a := range slices.Concat(seen.Servers, seen.Aliases) {
		if a.Status == keys.Other || a.Status == keys.Nothing {
			all = append(all, a.Server)
		}
	}
	return strings.Join(all, " ")
}

func (l *examination) checkRevoked(ctx context.Context, k *keys.Key) {
	name := keys.RecordName(l.domain, k.Selector)
	all, err := l.text(ctx, name)
	if err != nil || len(all) == 0 {
		return
	}
	if _, err := dkim.ParseKeyRecord(all[0]); err == nil {
		l.add(doctor.Finding{Level: doctor.Yellow, What: "the record of the revoked DKIM key " + k.Selector + " of " + l.domain + " is still published", Where: records(name, all),
			Why: "RFC 6376 section 3.6.1: anyone who has the old key can still sign for the domain", Fix: record(name, "v=DKIM1; p=")})
	}
}

// keyEnds returns the first and last bytes of a key, so that a user can compare two keys. For an RSA key, it returns bytes of the modulus,
// because the other bytes are the same in all keys.
func keyEnds(text string) string {
	_, p, _ := strings.Cut(text, "p=")
	p, _, _ = strings.Cut(p, ";")
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(p), ""))
	if err != nil {
		return "not valid base64"
	}
	if key, err := x509.ParsePKIXPublicKey(data); err == nil {
		if rsa, ok := key.(interface{ Size() int }); ok && rsa.Size() > 0 {
			data = data[len(data)-5-rsa.Size() : len(data)-5] // the five bytes after the modulus contain the exponent 65537
		}
	}
	if len(data) < 8 {
		return fmt.Sprintf("%x", data)
	}
	return fmt.Sprintf("%d bytes, %x ... %x", len(data), data[:4], data[len(data)-4:])
}
