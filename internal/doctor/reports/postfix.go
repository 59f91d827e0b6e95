package reports

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"signpost/internal/dns"
	"signpost/internal/doctor"
	"signpost/internal/domain"
)

// local is the local part of an address that has the form of a bounce address.
const local = "r-aaaaaaaaaaaaaaaaaaaaaaaaaa"

// recipientsFile is the table that Steps writes.
const recipientsFile = "signpost_reports.regexp"

// settings returns Postfix's settings. After an error, a finding states it.
func (s *site) settings(ctx context.Context) (map[string]string, []doctor.Finding) {
	if s.main == nil {
		out, err := s.Postconf(ctx, "-x", "myhostname", "config_directory", "relay_domains", "virtual_mailbox_domains", "mydestination",
			"relay_recipient_maps", "virtual_mailbox_maps", "local_recipient_maps", "transport_maps", "masquerade_domains", "masquerade_exceptions",
			"masquerade_classes", "canonical_maps", "canonical_classes", "sender_canonical_maps", "sender_canonical_classes", "smtp_generic_maps",
			"internal_mail_filter_classes", "non_smtpd_milters", "smtpd_milters", "sender_dependent_default_transport_maps")
		if err != nil {
			return nil, red("cannot read Postfix's settings: postconf(1) failed", err.Error(), "no report is sent until this check succeeds", "postconf -n # then correct the error that it prints")
		}
		s.main = parseSettings(out)
	}
	return s.main, nil
}

// parseSettings parses the output of postconf(1).
func parseSettings(out string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(line, "=")
		all[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return all
}

func words(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
}

// tables splits a list of tables. Braces may contain spaces and commas.
func tables(value string) (all []string) {
	depth, word := 0, ""
	for _, r := range value + " " {
		switch {
		case r == '{':
			depth++
		case r == '}':
			depth--
		case depth == 0 && (r == ' ' || r == ',' || r == '\t'):
			if word != "" {
				all = append(all, word)
			}
			word = ""
			continue
		}
		word += string(r)
	}
	return all
}

// find returns the value of the first key that a list of tables has.
func (s *site) find(ctx context.Context, list string, keys ...string) (value string, found bool, err error) {
	for _, key := range keys {
		for _, table := range tables(list) {
			kind, _, _ := strings.Cut(table, ":")
			if patterns := kind == "regexp" || kind == "pcre"; patterns && key != keys[0] {
				continue // transport(5): only the whole address is looked up
			}
			if value, found, err = s.Ask(ctx, table, key); found || err != nil {
				return value, found, err
			}
		}
	}
	return "", false, nil
}

// denied is the finding for a table that cannot be read.
func denied(parameter string, err error) []doctor.Finding {
	return red("a lookup in "+parameter+" failed", err.Error(), "no report is sent until this check succeeds", "# allow user signpost to read the table, or run: sudo signpost doctor")
}

// has reports whether a list of domains in main.cf has the domain of the reports. subdomains is true if an entry also matches the
// subdomains of its domain.
func (s *site) has(ctx context.Context, list string, subdomains bool) (bool, error) {
	for _, entry := range tables(list) {
		switch {
		case strings.Contains(entry, ":"):
			if _, found, err := s.Ask(ctx, entry, s.Domain); found || err != nil {
				return found, err
			}
		case domain.Fold(entry) == s.Domain, subdomains && domain.Within(s.Domain, domain.Fold(entry)):
			return true, nil
		}
	}
	return false, nil
}

func (s *site) recipient(ctx context.Context) []doctor.Finding {
	main, fault := s.settings(ctx)
	if fault != nil {
		return fault
	}
	const why = "bounces of reports are rejected, so reports to dead addresses never stop"
	for _, class := range []struct {
		domains, recipients string
		subdomains          bool
	}{{"mydestination", "local_recipient_maps", false}, {"virtual_mailbox_domains", "virtual_mailbox_maps", false}, {"relay_domains", "relay_recipient_maps", true}} {
		in, err := s.has(ctx, main[class.domains], class.subdomains)
		if err != nil {
			return denied(class.domains, err)
		}
		if !in {
			continue
		}
		if main[class.recipients] == "" {
			return nil
		}
		_, found, err := s.find(ctx, main[class.recipients], local+"@"+s.Domain, "@"+s.Domain)
		switch {
		case err != nil:
			return denied(class.recipients, err)
		case !found:
			return red("Postfix rejects mail to r-...@"+s.Domain, class.recipients+" = "+main[class.recipients], why, s.recipientFix(ctx))
		}
		return nil
	}
	return red("Postfix does not accept mail to "+s.Domain, "relay_domains = "+main["relay_domains"], why, s.recipientFix(ctx))
}

func (s *site) discard(ctx context.Context) []doctor.Finding {
	main, fault := s.settings(ctx)
	if fault != nil {
		return fault
	}
	value, _, err := s.find(ctx, main["transport_maps"], local+"@"+s.Domain, s.Domain)
	switch {
	case err != nil:
		return denied("transport_maps", err)
	case !strings.HasPrefix(value, "discard:"):
		return red("Postfix delivers the bounces of reports instead of discarding them", "transport_maps = "+main["transport_maps"],
			"each bounce causes another one, or fills a mailbox", s.transportFix(ctx))
	}
	return nil
}

// sender finds what rewrites the envelope sender. A bounce would then not return to its address.
func (s *site) sender(ctx context.Context) (found []doctor.Finding) {
	main, fault := s.settings(ctx)
	if fault != nil {
		return fault
	}
	const why = "a bounce does not return to the address that identifies the report, so reports to dead addresses never stop"
	address := local + "@" + s.Domain
	if slices.Contains(words(main["masquerade_classes"]), "envelope_sender") && !slices.Contains(words(main["masquerade_exceptions"]), local) {
		for _, entry := range words(main["masquerade_domains"]) {
			name, kept := strings.CutPrefix(entry, "!")
			if !domain.Within(s.Domain, domain.Fold(name)) {
				continue
			}
			if !kept && domain.Fold(name) != s.Domain {
				found = append(found, red("masquerade_domains changes "+s.Domain+" to "+name+" in the envelope sender of reports", "masquerade_domains = "+main["masquerade_domains"], why,
					set("masquerade_domains", "!"+s.Domain+" "+main["masquerade_domains"]))...)
			}
			break // the first match counts
		}
	}
	services, err := s.services(ctx)
	if err != nil {
		return append(found, red("cannot read Postfix's services: postconf(1) failed", err.Error(), "no report is sent until this check succeeds", "postconf -P # then correct the error that it prints")...)
	}
	for _, m := range []struct{ maps, classes string }{{"sender_canonical_maps", "sender_canonical_classes"}, {"canonical_maps", "canonical_classes"}, {"smtp_generic_maps", ""}} {
		if m.classes != "" && !slices.Contains(words(main[m.classes]), "envelope_sender") {
			continue
		}
		for _, in := range append([]override{{value: main[m.maps]}}, services[m.maps]...) {
			value, is, err := s.find(ctx, in.value, address, "@"+s.Domain)
			switch {
			case err != nil:
				found = append(found, denied(m.maps+in.of(), err)...)
			case is && domain.Fold(value) != address:
				found = append(found, red(m.maps+in.of()+" changes the envelope sender of reports to "+value, m.maps+" = "+in.value, why,
					in.set(m.maps, "inline:{ {@"+s.Domain+" = @"+s.Domain+"} } "+in.value)+" # or exclude "+s.Domain+" in the program that does SRS")...)
			}
		}
	}
	for _, in := range append([]override{{value: main["smtpd_milters"]}}, services["smtpd_milters"]...) {
		for _, milter := range tables(in.value) {
			if strings.Contains(strings.ToLower(milter), "srs") {
				found = append(found, doctor.Finding{Level: doctor.Yellow, What: "a milter seems to change the envelope sender of reports (SRS)", Where: "smtpd_milters" + in.of() + ": " + milter, Why: why,
					Fix: "# exclude " + s.Domain + " in that milter, or set reports.smtp to a port of Postfix without that milter"})
			}
		}
	}
	return found
}

// override is the value of a parameter in main.cf, or for one service in master.cf.
type override struct{ service, value string }

// of returns a phrase that names the service.
func (o override) of() string {
	if o.service == "" {
		return ""
	}
	return " of " + o.service
}

// set returns the command that sets the parameter.
func (o override) set(name, value string) string {
	if o.service == "" {
		return set(name, value)
	}
	return "postconf -P " + doctor.Quote(o.service+"/"+name+" = "+strings.TrimSpace(value))
}

// services returns the parameters that are set for services in master.cf, by name.
func (s *site) services(ctx context.Context) (map[string][]override, error) {
	out, err := s.Postconf(ctx, "-Px")
	if err != nil {
		return nil, err
	}
	all := map[string][]override{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if at := strings.LastIndexByte(name, '/'); at > 0 {
			all[name[at+1:]] = append(all[name[at+1:]], override{name[:at], strings.TrimSpace(value)})
		}
	}
	return all, nil
}

func (s *site) bounce(ctx context.Context) []doctor.Finding {
	main, fault := s.settings(ctx)
	if fault != nil {
		return fault
	}
	const why = "most bounces are written by Postfix itself; Signpost does not see them, so reports to dead addresses never stop"
	if classes := words(main["internal_mail_filter_classes"]); !slices.Contains(classes, "bounce") {
		return red("Postfix does not pass its own bounces to milters", "internal_mail_filter_classes = "+main["internal_mail_filter_classes"], why,
			set("internal_mail_filter_classes", strings.Join(append(classes, "bounce"), ", ")))
	}
	if main["non_smtpd_milters"] == "" {
		return red("Postfix does not pass its own bounces to Signpost", "non_smtpd_milters is empty", why, set("non_smtpd_milters", "$smtpd_milters"))
	}
	return nil
}

// set returns the command that sets a parameter.
func set(name, value string) string {
	return "postconf -e " + doctor.Quote(name+" = "+strings.TrimSpace(value))
}

// records returns the DNS records of the domain: MX, SPF and DMARC.
func (s *site) records(ctx context.Context) [3]string {
	host := "mx.example.org"
	if main, fault := s.settings(ctx); fault == nil && main["myhostname"] != "" {
		host = main["myhostname"]
	}
	allowed := "a:" + host
	if a, err := netip.ParseAddr(host); err == nil {
		allowed = "ip4:" + a.String()
	}
	return [3]string{s.Domain + ". IN MX 10 " + host + ".",
		s.Domain + ". IN TXT " + dns.QuoteTXT("v=spf1 "+allowed+" -all", " "),
		"_dmarc." + s.Domain + ". IN TXT " + dns.QuoteTXT("v=DMARC1; p=reject", " ")}
}

// recipientFix returns the commands after which Postfix accepts bounces. An empty relay_recipient_maps accepts all recipients of
// relay_domains, and still does so afterwards.
func (s *site) recipientFix(ctx context.Context) string {
	main, fault := s.settings(ctx)
	if fault != nil {
		return ""
	}
	file := main["config_directory"] + "/" + recipientsFile
	pattern := strings.ReplaceAll(s.Domain, ".", `\.`)
	lines := `/^r-[a-z2-7]+@` + pattern + `$/ OK`
	if main["relay_recipient_maps"] == "" && main["relay_domains"] != "" {
		lines += `\n!/@` + pattern + `$/ OK`
	}
	fix := "printf '%b\\n' " + doctor.Quote(strings.ReplaceAll(lines, `\.`, `\\.`)) + " > " + file
	if in, err := s.has(ctx, main["relay_domains"], true); err == nil && !in {
		fix += "\n" + set("relay_domains", main["relay_domains"]+" "+s.Domain)
	}
	if list := main["relay_recipient_maps"]; !strings.Contains(list, file) {
		fix += "\n" + set("relay_recipient_maps", list+" regexp:"+file)
	}
	return fix
}

func (s *site) transportFix(ctx context.Context) string {
	main, fault := s.settings(ctx)
	if fault != nil {
		return ""
	}
	return set("transport_maps", "inline:{ {"+s.Domain+" = discard:} } "+main["transport_maps"])
}
