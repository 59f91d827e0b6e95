package domain

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
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
			l.add(doctor.Finding{Level: doctor.Red, What: "the key " + k.Selector + " of " + l.domain + " cannot be used", Where: fmt.Sprintf("%q", k.Err.Error()),
				Why: "what cannot be signed is put off, or goes out unsigned", Fix: "dkimkey status " + l.domain})
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
	if k.State != keys.Active && k.State != keys.Retiring {
		f.Level = doctor.Yellow // it does not sign yet
	}
	if len(all) == 0 {
		f.What, f.Where = "the record of the DKIM key "+k.Selector+" of "+l.domain+" is missing", name+": no TXT record"
		f.Why = "RFC 6376 section 6.1.2: without it no signature of this key verifies"
		if twice, err := l.text(ctx, name+"."+l.domain); err == nil && len(twice) > 0 {
			f.Where = records(name+"."+l.domain, twice)
			f.Why += "; it stands under a name with the domain twice, as a zone file has it where the final dot is forgotten"
		}
		l.add(l.nowhere(ctx, name, "the name of the DKIM key "+k.Selector+" of "+l.domain, metadata.Record, f))
		return
	}
	served, err := dkim.ParseKeyRecord(all[0])
	ours, ownErr := dkim.ParseKeyRecord(metadata.Record)
	switch {
	case len(all) > 1:
		f.What = fmt.Sprintf("%d TXT records at the DKIM key %s of %s", len(all), k.Selector, l.domain)
		f.Why = "RFC 6376 section 3.6.2.2: what receivers do then is not defined; leave this one alone there"
	case err != nil:
		f.What, f.Where = "the record of the DKIM key "+k.Selector+" of "+l.domain+" cannot be used", f.Where+"\n"+fmt.Sprintf("%q", err.Error())
		f.Why = "RFC 6376 section 6.1.2: no signature of this key verifies"
	case ownErr != nil || !served.Equal(ours):
		f.What = "the record of the DKIM key " + k.Selector + " of " + l.domain + " is of another key"
		f.Where += "\nin DNS: " + keyEnds(all[0]) + "\nhere:   " + keyEnds(metadata.Record)
		f.Why = "RFC 6376 section 6.1.3: mail is signed with one key and verified with the other: every signature fails"
	case served.Testing:
		f.Level, f.What = doctor.Yellow, "the record of the DKIM key "+k.Selector+" of "+l.domain+" says t=y"
		f.Why = "RFC 6376 section 3.6.1: a key that is only tested counts as no signature at some receivers"
	case served.Type == "rsa" && served.Bits < goodBits:
		f.Level, f.What = doctor.Yellow, fmt.Sprintf("the DKIM key %s of %s has %d bits", k.Selector, l.domain, served.Bits)
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
	o := l.Checker.Look(ctx, metadata, k.Signer).Outcome()
	if o.Ready {
		l.good("the record of the DKIM key "+k.Selector+" of "+l.domain+" is that of the key", keys.RecordName(l.domain, k.Selector)+": "+o.Words)
		return
	}
	f.Where += fmt.Sprintf("\n%q", o.Words)
	f.What = "not every name server shows the record of the DKIM key " + k.Selector + " of " + l.domain
	f.Why = "whoever asks such a server finds no key, or another: the signature fails there"
	if o.Silent {
		f.Level, f.Fix = doctor.Yellow, "dkimkey check "+l.domain
		f.What = "not every name server answers for the DKIM key " + k.Selector + " of " + l.domain
	}
	l.add(f)
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
