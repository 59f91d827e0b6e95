package signpost

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/dns"
	"signpost/internal/journal"
	"signpost/internal/spf"
	"signpost/policy"
)

// docs/json.md lists exactly the words in JSON and the log: codes, actions, roles, causes and DNS statuses.
func TestWordsOfJSON(t *testing.T) {
	page := read(t, "docs/json.md")
	differ(t, "codes", column(t, page, "## Codes", 1), texts(policy.Codes()))
	differ(t, "actions", column(t, page, "## Actions", 1), texts(policy.Actions()))
	differ(t, "roles", column(t, page, "## Roles", 1), texts(policy.Roles()))
	differ(t, "causes", column(t, page, "## Causes", 2), slices.Concat(texts(dkim.Causes()), texts(spf.Causes()), texts(dmarc.Causes()), texts(dmarc.AuthorCauses())))
	differ(t, "DNS statuses", column(t, page, "## DNS statuses", 2), texts(dns.Statuses()))
}

// docs/json.md lists exactly the fields of a record in the journal. It marks the fields that are never omitted.
func TestFieldsOfJSON(t *testing.T) {
	page := read(t, "docs/json.md")
	record := fieldsOf(reflect.TypeFor[journal.Entry](), "")
	sections := map[string]string{"role_reason": "Reason", "reasons": "Reason", "evidence": "Reason", "reply": "Reply", "spf": "SPF", "dkim": "DKIM", "arc": "ARC",
		"from_use": "Used addresses", "sender_use": "Used addresses", "sealed_dmarc": "Sealed DMARC", "dmarc": "DMARC", "relays": "Relays", "other_results": "Others", "long_lines": "Long lines", "report": "Report", "lookups": "Lookups"}
	parts := map[string][]field{}
	var own []field
	for _, f := range record {
		top, below, nested := strings.Cut(f.name, ".")
		if !nested {
			own = append(own, f)
			continue
		}
		section, ok := sections[top]
		if !ok {
			t.Errorf("docs/json.md, \"Its parts\", has no section for %s", top)
		}
		if f.name = below; !slices.Contains(parts[section], f) {
			parts[section] = append(parts[section], f)
		}
	}
	compareFields(t, page, "## The record of a message", own)
	for section, fields := range parts {
		compareFields(t, page, "### "+section, fields)
	}
}

func compareFields(t *testing.T, page, section string, fields []field) {
	t.Helper()
	var want, always []string
	for _, f := range fields {
		want = append(want, f.name)
		if f.always {
			always = append(always, f.name)
		}
	}
	differ(t, section, column(t, page, section, 1), want)
	var marked strings.Builder
	marked.WriteString("\n" + section + "\n")
	for line := range strings.Lines(sectionOf(t, page, section)) {
		if strings.Contains(line, "*always*") {
			marked.WriteString(line)
		}
	}
	differ(t, section+", always", column(t, marked.String(), section, 1), always)
}

// field is a field in JSON. In the name of a nested field, a dot follows the name of the outer field.
type field struct {
	name   string
	always bool // present even if it is empty
}

// fieldsOf returns the fields of a struct in JSON, including nested fields.
func fieldsOf(s reflect.Type, prefix string) (all []field) {
	for f := range s.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		of := f.Type
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		switch {
		case name == "-" || !f.IsExported():
			continue
		case f.Anonymous && name == "":
			all = append(all, fieldsOf(of, prefix)...)
			continue
		}
		all = append(all, field{prefix + name, options == ""})
		if of.Kind() == reflect.Struct && strings.HasPrefix(of.PkgPath(), "signpost/") {
			all = append(all, fieldsOf(of, prefix+name+".")...)
		}
	}
	return all
}

func texts[T ~string](words []T) []string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = string(w)
	}
	return all
}
