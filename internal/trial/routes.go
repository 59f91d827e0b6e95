package trial

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// routes are the settings of Postfix that determine where a message goes. All services that process the message have the same, except
// where the difference does not matter.
type routes struct {
	main     map[string]string
	agents   map[string]string            // the program of each delivery agent of master.cf
	over     map[string]map[string]string // what master.cf overrides: by NAME/TYPE of a service that processes the message
	unmapped bool                         // with receive_override_options, cleanup(8) may not map addresses
	greeting []string                     // the names with which Postfix may reply to EHLO
}

// copying returns the parameters that send a message to another address or pass it to a program.
func copying() []string {
	return strings.Fields("always_bcc recipient_bcc_maps sender_bcc_maps luser_relay mailbox_command_maps mailbox_transport_maps fallback_transport_maps smtpd_proxy_filter smtpd_command_filter")
}

// transporting returns the parameters whose value is TRANSPORT:DESTINATION.
func transporting() []string {
	return strings.Fields("mailbox_transport fallback_transport content_filter")
}

// shared returns the parameters that must be the same for all services.
func shared() []string {
	return strings.Fields("mydomain mydestination virtual_mailbox_domains local_transport virtual_transport virtual_alias_maps alias_maps canonical_maps recipient_canonical_maps transport_maps myorigin recipient_delimiter forward_path mailbox_command append_dot_mydomain hopcount_limit")
}

// routes reads the settings for a message that a service receives. It returns an error if one of them could send a copy to another host.
func (s *Site) routes(ctx context.Context, to service) (*routes, error) {
	main, err := s.parameters(ctx, slices.Concat(copying(), transporting(), shared(), strings.Fields("myhostname receive_override_options masquerade_domains masquerade_classes notify_classes smtp_fallback_relay lmtp_fallback_relay smtpd_restriction_classes"), checking())...)
	if err != nil {
		return nil, err
	}
	if text, err := os.ReadFile(main["myorigin"]); err == nil { // postconf(5): the name of a file with the domain
		main["myorigin"] = strings.TrimSpace(string(text))
	}
	r := &routes{main: main, agents: map[string]string{}, over: map[string]map[string]string{}, greeting: []string{main["myhostname"]}}
	if err := s.overrides(ctx, r, to); err != nil {
		return nil, err
	}
	for _, name := range copying() {
		if value, where := r.any(name); value != "" {
			return nil, fmt.Errorf("%s%s = %s: a copy of the message could leave this host", where, name, value)
		}
	}
	for _, name := range transporting() {
		for _, o := range r.places() {
			if value, ok := o[name]; ok {
				if err := r.stays(value, name == "content_filter"); err != nil {
					return nil, fmt.Errorf("%s: %w", name, err)
				}
			}
		}
	}
	for service, o := range r.over {
		for _, name := range shared() {
			if value, ok := o[name]; ok && value != main[name] {
				return nil, fmt.Errorf("%s -o %s=%s: this command reads main.cf only", service, name, value)
			}
		}
		if name := o["myhostname"]; name != "" {
			if !strings.HasSuffix(service, "/inet") && !strings.HasSuffix(service, "/pass") {
				return nil, fmt.Errorf("%s -o myhostname=%s: this command reads main.cf only", service, name)
			}
			r.greeting = append(r.greeting, name)
		}
	}
	for _, o := range r.places() {
		r.unmapped = r.unmapped || strings.Contains(o["receive_override_options"], "no_address_mappings")
		if strings.Contains(o["masquerade_classes"], "envelope_recipient") {
			return nil, fmt.Errorf("masquerade_classes = %s: Postfix changes the domain of recipients", o["masquerade_classes"])
		}
		if strings.Contains(o["notify_classes"], "bounce") {
			return nil, fmt.Errorf("notify_classes = %s: Postfix sends a copy of mail that it cannot deliver to postmaster", o["notify_classes"])
		}
	}
	return r, s.redirects(ctx, r)
}

// places returns main.cf and what the services override.
func (r *routes) places() []map[string]string {
	all := []map[string]string{r.main}
	for _, o := range r.over {
		all = append(all, o)
	}
	return all
}

// any returns a value of a parameter that is not empty, and the service that sets it.
func (r *routes) any(name string) (value, where string) {
	if value := r.main[name]; value != "" {
		return value, ""
	}
	for service, o := range r.over {
		if o[name] != "" {
			return o[name], service + " -o "
		}
	}
	return "", ""
}

// overrides reads master.cf. Of the services that receive mail, it keeps those on the port of the message, and those behind postscreen(8).
func (s *Site) overrides(ctx context.Context, r *routes, to service) error {
	_, port, err := net.SplitHostPort(to.address)
	if err != nil {
		return err
	}
	master, err := s.Postconf(ctx, "-M", "-x")
	if err != nil {
		return fmt.Errorf("reading master.cf: %w", err)
	}
	elsewhere := map[string]bool{}
	for line := range strings.Lines(master) {
		w := strings.Fields(line)
		if len(w) < 8 {
			continue
		}
		switch w[7] {
		case "smtpd", "qmqpd", "postscreen":
			elsewhere[w[0]+"/"+w[1]] = w[1] != "pass" && !(w[1] == "inet" && portOf(w[0]) == port)
		case "pickup":
			elsewhere[w[0]+"/"+w[1]] = true
		default:
			if w[1] == "unix" {
				r.agents[w[0]] = w[7]
			}
		}
	}
	out, err := s.Postconf(ctx, "-P", "-x")
	if err != nil {
		return fmt.Errorf("reading master.cf: %w", err)
	}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		i := strings.LastIndexByte(name, '/')
		if i < 0 || elsewhere[name[:i]] {
			continue
		}
		if r.over[name[:i]] == nil {
			r.over[name[:i]] = map[string]string{}
		}
		r.over[name[:i]][name[i+1:]] = strings.TrimSpace(value)
	}
	return nil
}

// portOf returns the number of the port of a service of type inet, or "" if it is unknown.
func portOf(name string) string {
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	number, err := net.LookupPort("tcp", name)
	if err != nil {
		return ""
	}
	return strconv.Itoa(number)
}

// stays returns an error unless a transport delivers on this host: with a delivery agent of Postfix, or to an LMTP server of this host. A
// content filter may be an SMTP server of this host. Postfix rejects the message when it returns: see hops.
func (r *routes) stays(transport string, filter bool) error {
	name, destination, _ := strings.Cut(transport, ":")
	if name == "" && destination == "" {
		return nil
	}
	agent := r.agents[name]
	relay := r.main[agent+"_fallback_relay"]
	for service, o := range r.over {
		if value, ok := o[agent+"_fallback_relay"]; ok && strings.HasPrefix(service, name+"/") {
			relay = value
		}
	}
	switch {
	case slices.Contains([]string{"local", "virtual", "discard", "error"}, agent):
		return nil
	case agent != "lmtp" && !(agent == "smtp" && filter), strings.ContainsAny(destination, ", \t"):
		return fmt.Errorf("%s leads to another host or a program", transport)
	case strings.HasPrefix(destination, "unix:"):
		return nil
	case !loopback(strings.TrimPrefix(destination, "inet:"), agent == "lmtp"):
		return fmt.Errorf("%s leads to another host or a program", transport)
	case relay != "":
		return fmt.Errorf("%s_fallback_relay = %s: the message goes there if %s does not answer", agent, relay, transport)
	}
	return nil
}

// loopback reports whether a destination is a server of this host. plain: without brackets, Postfix does not look up MX records.
func loopback(destination string, plain bool) bool {
	if !plain && !strings.HasPrefix(destination, "[") {
		return false
	}
	host := destination
	if h, _, err := net.SplitHostPort(destination); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(strings.TrimPrefix(host, "ipv6:"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// checking returns the parameters with access(5) and header_checks(5) tables.
func checking() []string {
	return strings.Fields("smtpd_client_restrictions smtpd_helo_restrictions smtpd_sender_restrictions smtpd_relay_restrictions smtpd_recipient_restrictions smtpd_data_restrictions smtpd_end_of_data_restrictions " +
		"header_checks mime_header_checks nested_header_checks body_checks milter_header_checks")
}

// redirects returns an error if an access(5) or header_checks(5) table could send a message to another address or transport.
func (s *Site) redirects(ctx context.Context, r *routes) error {
	names := checking()
	for _, o := range r.places() {
		for _, class := range list(o["smtpd_restriction_classes"]) {
			if !regexp.MustCompile(`^\w+$`).MatchString(class) {
				return fmt.Errorf("smtpd_restriction_classes = %s: not a list of names", o["smtpd_restriction_classes"])
			}
			names = append(names, class)
		}
	}
	main, err := s.parameters(ctx, names...)
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, o := range append(r.places(), main) {
		for _, name := range names {
			for _, table := range tables(o[name]) {
				if done[table] {
					continue
				}
				done[table] = true
				text, err := s.entries(ctx, table)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				for line := range strings.Lines(text) {
					if action := regexp.MustCompile(`(?i)\b(FILTER|REDIRECT|BCC|check_\w+)\b`).FindString(line); action != "" && !strings.HasPrefix(strings.TrimSpace(line), "#") {
						return fmt.Errorf("%s: %s contains %s, so the message could leave this host", name, table, action)
					}
				}
			}
		}
	}
	return nil
}

// tables returns the tables in a list of restrictions or tables. A policy server is no table.
func tables(value string) (all []string) {
	words := list(value)
	for i, w := range words {
		inner, braces := strings.CutPrefix(w, "{")
		switch {
		case i > 0 && words[i-1] == "check_policy_service":
		case braces:
			all = append(all, tables(strings.TrimSuffix(inner, "}"))...)
		case strings.Contains(w, ":"):
			all = append(all, w)
		}
	}
	return all
}

// entries returns the source of a table, or its entries as postmap -s writes them.
func (s *Site) entries(ctx context.Context, table string) (string, error) {
	table = strings.TrimPrefix(table, "proxy:")
	kind, name, _ := strings.Cut(table, ":")
	switch kind {
	case "inline", "static":
		return name, nil
	case "pcre", "regexp", "cidr", "texthash":
		if strings.HasPrefix(name, "{") {
			return name, nil
		}
		text, err := os.ReadFile(filepath.Clean(name))
		return string(text), err
	case "hash", "btree", "lmdb", "cdb", "dbm", "sdbm":
		dir, err := s.Postconf(ctx, "-hx", "command_directory")
		if err != nil {
			return "", err
		}
		args := []string{"-s", table}
		if s.Postfix != "" {
			args = append([]string{"-c", s.Postfix}, args...)
		}
		out, err := run(ctx, "", filepath.Join(strings.TrimSpace(dir), "postmap"), args...)
		if err != nil {
			err = fmt.Errorf("postmap -s %s: %w: %s", table, err, strings.TrimSpace(out))
		}
		return out, err
	case "fail":
		return "", nil
	}
	return "", fmt.Errorf("this command cannot list the entries of %s", table)
}

// list returns the items of a list of main.cf. Separators in braces do not count.
func list(value string) []string {
	depth := 0
	return strings.FieldsFunc(value, func(r rune) bool {
		switch r {
		case '{':
			depth++
		case '}':
			depth--
		}
		return depth == 0 && strings.ContainsRune(", \t\r\n", r)
	})
}
