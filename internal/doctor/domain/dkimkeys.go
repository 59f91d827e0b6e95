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

// goodBits is what RFC 8301 section 3.2 recommends to signers.
const goodBits = 2048

// checkKeys compares each of our keys with its record.
func (l *examination) checkKeys(ctx context.Context) {
	if all, err := l.text(ctx, "signpost-doctor-asks._domainkey."+l.domain); err == nil && len(all) > 0 {
		l.add(doctor.Finding{Level: doctor.Yellow, What: "a wildcard answers for every selector of " + l.domain, Where: records("*._domainkey."+l.domain, all),
			Why: "RFC 6376 section 6.1.2: a signature under a selector that nobody made finds a key record", Fix: "; remove " + record("*._domainkey."+l.domain, all[0])})
	}
	for _, s := range l.Selectors {
		l.checkSelector(ctx, s)
	}
	if l.own == nil {
		if len(l.Selectors) == 0 {
			l.good("DNS has no list of the DKIM keys of "+l.domain+"; --selector NAME looks at one (NAME is s= in its mail's DKIM-Signature)", "")
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
			l.add(doctor.Finding{Level: doctor.Red, What: "the key " + k.Selector + " of " + l.domain + " cannot be used", Where: fmt.Sprintf("%q", k.Err.Error()), Cause: keyCause(k),
				Why: "mail that cannot be signed is deferred, or sent unsigned", Fix: "dkimkey status " + l.domain})
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
		l.add(doctor.Finding{Level: doctor.Red, What: "no key signs for " + l.domain + " yet", Where: fmt.Sprintf("the key %s waits until every name server has shown its record for long enough", waiting),
			Why: "until then its mail leaves unsigned, and DMARC rests on SPF alone, which forwarding breaks", Fix: "dkimkey rotate " + l.domain + " --wait"})
	default:
		l.add(doctor.Finding{Level: doctor.Red, What: "no key signs for " + l.domain, Where: fmt.Sprintf("%d keys, none active", len(l.own.Keys)),
			Why: "Gmail, Yahoo and Microsoft want DKIM of everybody who sends much; DMARC then rests on SPF alone, which forwarding breaks", Fix: "dkimkey add " + l.domain})
	}
}

// keyCause returns why a key cannot be used, without its domain and selector: a fault of the keys directory concerns all keys.
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
		f.Why = "RFC 6376 section 6.1.2: without it no signature of this key verifies"
		if twice, err := l.text(ctx, name+"."+l.domain); err == nil && len(twice) > 0 {
			f.Where = records(name+"."+l.domain, twice)
			f.Why += "; it stands under a name with the domain twice, as a zone file has it where the final dot is forgotten"
		}
		l.add(l.nowhere(ctx, name, "the name of the DKIM key "+k.Selector+" of "+l.domain, f))
		return
	}
	served, err := dkim.ParseKeyRecord(all[0])
	ours, ownErr := dkim.ParseKeyRecord(metadata.Record)
	switch {
	case len(all) > 1:
		f.What, f.Cause = fmt.Sprintf("%d TXT records at the DKIM key %s of %s", len(all), k.Selector, l.domain), "several TXT records"
		f.Why = "RFC 6376 section 3.6.2.2: what receivers do then is not defined; leave this one alone there"
	case err != nil:
		found("cannot be used")
		f.Where += "\n" + fmt.Sprintf("%q", err.Error())
		f.Why = "RFC 6376 section 6.1.2: no signature of this key verifies"
	case ownErr != nil || !served.Equal(ours):
		found("is of another key")
		f.Where += "\nin DNS: " + keyEnds(all[0]) + "\nhere:   " + keyEnds(metadata.Record)
		f.Why = "RFC 6376 section 6.1.3: mail is signed with one key and verified with the other: every signature fails"
	case served.Testing:
		found("says t=y")
		f.Level = doctor.Yellow
		f.Why = "RFC 6376 section 3.6.1: a key that is only tested counts as no signature at some receivers"
	case served.Type == "rsa" && served.Bits < goodBits:
		f.Level, f.What, f.Cause = doctor.Yellow, fmt.Sprintf("the DKIM key %s of %s has %d bits", k.Selector, l.domain, served.Bits), "too few bits"
		f.Why = "RFC 8301 section 3.2: signers should use 2048 bits at least; some receivers pass over less"
		f.Fix = "dkimkey rotate " + l.domain + " --now"
	case l.Checker != nil:
		l.askServers(ctx, f, k, metadata)
		return
	default:
		l.good("the record of the DKIM key "+k.Selector+" of "+l.domain+" is that of the key", name)
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
		l.good("the record of the DKIM key "+k.Selector+" of "+l.domain+" is that of the key", name+": "+o.Words)
		return
	case o.Silent && l.silent(seen, name):
		return
	}
	f.Where += fmt.Sprintf("\n%q", o.Words)
	f.What, f.Cause = "not every name server shows the record of the DKIM key "+k.Selector+" of "+l.domain, "differs: "+differing(seen)
	f.Why = "whoever asks such a server finds no key, or another: the signature fails there"
	if o.Silent {
		f.Level, f.Fix, f.Cause = doctor.Yellow, "dkimkey check "+l.domain, ""
		f.What = "not every name server answers for the DKIM key " + k.Selector + " of " + l.domain
	}
	l.add(f)
}

// silent adds a finding for each name server that does not answer, and reports whether there is one. It is the same for all domains
// of the server.
func (l *examination) silent(seen keys.Observation, name string) (any bool) {
	for _, a := range slices.Concat(seen.Servers, seen.Aliases) {
		server, addr, _ := strings.Cut(a.Server, " ")
		if a.Status != keys.NoReply {
			continue
		}
		any = true
		f := doctor.Finding{Level: doctor.Yellow, What: "the name server " + server + " (" + addr + ") does not answer", Where: fmt.Sprintf("%s at %s: %q", name, a.Server, a.Why),
			Why: "lookups that reach this server are slow or fail", Fix: "dig @" + addr + " " + word(name) + " TXT"}
		if !slices.Contains(l.failures, f.What) { // another key's record may be there too
			l.failures = append(l.failures, f.What)
			l.add(f)
		}
	}
	return any
}

// differing returns the name servers that do not show the record of a key.
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
		l.add(doctor.Finding{Level: doctor.Yellow, What: "the record of the revoked DKIM key " + k.Selector + " of " + l.domain + " still stands", Where: records(name, all),
			Why: "RFC 6376 section 3.6.1: whoever has the old key can still sign as you", Fix: record(name, "v=DKIM1; p=")})
	}
}

// keyEnds returns the first and last bytes of a key, so that a person can compare two: of an RSA key those of its modulus, since the
// others are the same in all keys.
func keyEnds(text string) string {
	_, p, _ := strings.Cut(text, "p=")
	p, _, _ = strings.Cut(p, ";")
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(p), ""))
	if err != nil {
		return "no base64"
	}
	if key, err := x509.ParsePKIXPublicKey(data); err == nil {
		if rsa, ok := key.(interface{ Size() int }); ok && rsa.Size() > 0 {
			data = data[len(data)-5-rsa.Size() : len(data)-5] // the exponent 65537 follows the modulus
		}
	}
	if len(data) < 8 {
		return fmt.Sprintf("%x", data)
	}
	return fmt.Sprintf("%d octets, %x ... %x", len(data), data[:4], data[len(data)-4:])
}
