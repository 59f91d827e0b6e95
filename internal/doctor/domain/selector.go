package domain

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"signpost/internal/dkim"
	"signpost/internal/doctor"
	"signpost/internal/domain"
	"signpost/keys"
)

// checkSelector checks the key record of a selector: RFC 6376 section 3.6.1.
func (l *examination) checkSelector(ctx context.Context, selector string) {
	name := keys.RecordName(l.domain, selector)
	if _, err := domain.Parse(name); err != nil {
		l.add(doctor.Finding{Level: doctor.Red, What: fmt.Sprintf("%q is not a valid selector", selector), Why: "RFC 6376 section 3.1: a selector consists of labels of a domain name", Fix: "signpost doctor " + l.domain + " --selector NAME"})
		return
	}
	all, err := l.text(ctx, name)
	if err != nil {
		l.unknown(ctx, name, err)
		return
	}
	if len(all) == 0 {
		f := doctor.Finding{Level: doctor.Red, What: l.domain + " has no DKIM key " + selector, Where: name + ": no TXT record",
			Why: "RFC 6376 section 6.1.2: no signature with this selector passes", Fix: "dkimkey show " + l.domain + " " + word(selector) + " # on the host that signs"}
		if c := l.chainOf(ctx, name); c.isAlias() {
			f.What, f.Where = "the name of the DKIM key "+selector+" of "+l.domain+" is an alias without a TXT record at its target", c.absent("TXT")
		}
		l.add(f)
		return
	}
	f := doctor.Finding{Where: records(name, all), Fix: "dkimkey add " + l.domain + " # on the host that signs"}
	key, err := dkim.ParseKeyRecord(all[0])
	switch {
	case len(all) > 1:
		f.Level, f.What = doctor.Red, fmt.Sprintf("%d TXT records at the DKIM key %s of %s", len(all), selector, l.domain)
		f.Why, f.Fix = "RFC 6376 section 3.6.2.2: with several records, the result is undefined; keep only the correct one", "; remove "+record(name, all[len(all)-1])
	case revoked(all[0]):
		f.Level, f.What = doctor.Yellow, "the DKIM key "+selector+" of "+l.domain+" is revoked"
		f.Why = "RFC 6376 section 3.6.1: no signature of this key passes; if mail is still signed with it, sign with another key"
	case err != nil:
		f.Level, f.What = doctor.Red, "the DKIM key "+selector+" of "+l.domain+" is unusable: "+keyReason(err)
		f.Why = "RFC 6376 section 6.1.2: no signature of this key passes"
		if mended := mendKey(all[0]); mended != "" {
			f.Fix = record(name, mended)
		} else if target, err := domain.Parse(strings.TrimSuffix(all[0], ".")); err == nil && l.hasKey(ctx, target) {
			f.Fix = name + ". IN CNAME " + target + ". ; in place of the TXT record"
		}
	case key.Testing:
		f.Level, f.What = doctor.Yellow, "the record of the DKIM key "+selector+" of "+l.domain+" contains t=y (testing)"
		f.Why, f.Fix = "RFC 6376 section 3.6.1: some receivers treat mail with a signature of a test key as unsigned", record(name, tested(all[0]))
	case key.Type == "rsa" && key.Bits < goodBits:
		f.Level, f.What = doctor.Yellow, fmt.Sprintf("the DKIM key %s of %s has %d bits", selector, l.domain, key.Bits)
		f.Why = "RFC 8301 section 3.2: signers should use at least 2048 bits; some receivers ignore signatures of shorter keys"
	default:
		l.good(fmt.Sprintf("the DKIM key %s of %s is valid: %s, %d bits", selector, l.domain, key.Type, key.Bits), f.Where)
		return
	}
	l.add(f)
}

// hasKey reports whether a name has a key record.
func (l *examination) hasKey(ctx context.Context, name string) bool {
	all, err := l.text(ctx, name)
	if err != nil || len(all) != 1 {
		return false
	}
	_, err = dkim.ParseKeyRecord(all[0])
	return err == nil
}

// mendKey returns the key record that was probably intended, or "" if that cannot be determined.
func mendKey(text string) string {
	text = strings.NewReplacer(`\`, "", `"`, "").Replace(text)
	text = regexp.MustCompile(`([^;\s])\s+([vkhtsn]=|p=)`).ReplaceAllString(text, "$1; $2")
	text = regexp.MustCompile(`(^|;)(\s*h\s*=\s*)(rsa|ed25519)-`).ReplaceAllString(text, "$1$2")
	text = joinTags(tagsOf(text))
	if _, err := dkim.ParseKeyRecord(text); err != nil || revoked(text) {
		return ""
	}
	return text
}

func revoked(text string) bool {
	all := tagsOf(text)
	i := slices.IndexFunc(all, func(t tag) bool { return t.name == "p" })
	return i >= 0 && all[i].value == ""
}

// tested returns a record without t=y. It keeps other flags.
func tested(text string) string {
	var all []tag
	for _, t := range tagsOf(text) {
		if t.name == "t" {
			var flags []string
			for f := range strings.SplitSeq(t.value, ":") {
				if f = strings.TrimSpace(f); f != "y" && f != "" {
					flags = append(flags, f)
				}
			}
			if t.value = strings.Join(flags, ":"); t.value == "" {
				continue
			}
		}
		all = append(all, t)
	}
	return joinTags(all)
}
