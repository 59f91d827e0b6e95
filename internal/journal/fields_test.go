package journal

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"signpost/internal/decision"
	"signpost/internal/dns"
)

// fillTexts sets each string below v to text, and puts n items into each list. Words that the program chooses have their own types and are
// not changed.
func fillTexts(v reflect.Value, text string, n int) {
	switch v.Kind() {
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() {
			v.SetString(text)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillTexts(v.Elem(), text, n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fillTexts(v.Index(i), text, n)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fillTexts(v.Field(i), text, n)
			}
		}
	}
}

// texts calls f for each text and each list below v, with the names of its fields.
func texts(v reflect.Value, path string, f func(path string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.String:
		f(path, v)
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			texts(v.Elem(), path, f)
		}
	case reflect.Slice:
		f(path, v)
		for i := range v.Len() {
			texts(v.Index(i), path, f)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; v.Type().Field(i).IsExported() {
				texts(v.Field(i), strings.TrimPrefix(path+"."+name, "."), f)
			}
		}
	}
}

// uncut lists fields without a limit, because a sender does not choose their length.
const uncut = `Evidence.Absent Evidence.DMARC Evidence.LongLines.Field Evidence.LongLines.Unsigned Evidence.QueueID
	Evidence.Relays.Method Lookups.Type Verdict.Reply.Enhanced`

// Each text and each list of an entry has a limit: shorten cuts it, or it is stored as an answer.
func TestEachFieldIsCut(t *testing.T) {
	const items, long = 200, 5000
	var e Entry
	fillTexts(reflect.ValueOf(&e.Record).Elem(), strings.Repeat("x", long), items)
	short := shorten(&e, 0)
	replaceTexts(&short, func(string) string { return "" }, func(*dns.Lookup) {})
	var got []string
	texts(reflect.ValueOf(short.Record), "", func(path string, v reflect.Value) {
		if v.Kind() == reflect.Slice && v.Len() == items || v.Kind() == reflect.String && v.Len() == long {
			got = append(got, path)
		}
	})
	compare(t, got, uncut, "cut it in trim.go")
}

// unhidden lists fields that redact does not change, because they contain no address or are always kept: names, words of Signpost, DNS
// records, the Message-ID.
const unhidden = `Assignment.Domain Assignment.Reason.Cause Assignment.Reason.Domain Evidence.ARC.Failed Evidence.ARC.Field
	Evidence.ARC.KeyName Evidence.ARC.Sets.CV Evidence.ARC.Sets.Domain Evidence.ARC.Sets.Selector Evidence.Absent
	Evidence.Author.Domains Evidence.Connection.Daemon Evidence.Connection.HELO Evidence.Connection.Name Evidence.Connection.PTR
	Evidence.DKIM.Algorithm Evidence.DKIM.Domain Evidence.DKIM.Headers Evidence.DKIM.KeyName Evidence.DKIM.KeyRecord
	Evidence.DKIM.Selector Evidence.DKIM.Signature Evidence.DMARC.Aligned.Domain Evidence.DMARC.Domain
	Evidence.DMARC.Fault.Detail Evidence.DMARC.IdentifierDomain Evidence.DMARC.OrgDomain Evidence.DMARC.PolicyDomain
	Evidence.DMARC.Record Evidence.DMARC.Tag Evidence.LongLines.Field Evidence.LongLines.Unsigned Evidence.MessageID
	Evidence.ListedIn Evidence.Others.Domain Evidence.Others.Method Evidence.Others.Result Evidence.Others.Selector Evidence.Others.Signature
	Evidence.QueueID Evidence.Relayed Evidence.Relays.Author Evidence.Relays.Domain Evidence.Relays.Method Evidence.Report.Reporter Evidence.Report.TLSReporter Evidence.SPF.Domain
	Evidence.SPF.Record Evidence.SPF.Term Evidence.SealedDMARC.Domain Evidence.SealedDMARC.Result Lookups.Name Lookups.Records
	Lookups.Type Selectors Verdict.Evidence.Cause Verdict.Evidence.Domain Verdict.Reasons.Cause Verdict.Reasons.Domain
	Verdict.Reply.Enhanced`

// redact hides the address in each text of an entry that may contain one. It does not change the record itself, which others read.
func TestEachFieldIsRedacted(t *testing.T) {
	r, want := new(decision.Record), new(decision.Record)
	fillTexts(reflect.ValueOf(r).Elem(), "secret@example.com", 1)
	fillTexts(reflect.ValueOf(want).Elem(), "secret@example.com", 1)
	for _, keep := range []Addresses{Omit, Hash} {
		e := shorten(&Entry{Record: redact(*r, keep, nil)}, maxLevel)
		replaceTexts(&e, strings.ToUpper, func(l *dns.Lookup) { l.Records = nil })
		if !reflect.DeepEqual(r, want) {
			t.Errorf("%s: the record is changed: %+v", keep, r)
		}
	}
	var got []string
	texts(reflect.ValueOf(redact(*r, Omit, nil)), "", func(path string, v reflect.Value) {
		if v.Kind() == reflect.String && strings.Contains(v.String(), "secret") {
			got = append(got, path)
		}
	})
	compare(t, got, unhidden, "hide addresses in redact.go")
}

// compare reports fields that only one of the lists has.
func compare(t *testing.T, got []string, list, advice string) {
	t.Helper()
	slices.Sort(got)
	got = slices.Compact(got)
	want := strings.Fields(list)
	for _, path := range got {
		if !slices.Contains(want, path) {
			t.Errorf("%s: %s, or list it in fields_test.go", path, advice)
		}
	}
	for _, path := range want {
		if !slices.Contains(got, path) {
			t.Errorf("%s: delete it from the list", path)
		}
	}
}
