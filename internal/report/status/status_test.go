package status

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"signpost/internal/durable"
)

// Many alarms of one code do not hide the others, and the most important ones come first.
func TestSetAlarms(t *testing.T) {
	var all []Alarm
	for n := range 1000 {
		all = append(all, Alarm{Code: TLSFailure, Domain: fmt.Sprintf("d%03d.example", n)})
	}
	all = append(all, Alarm{Code: ReporterSilent, Reporters: []string{"r.example"}}, Alarm{Code: UnknownSource, Domain: "example.org"})
	var r Received
	r.SetAlarms(all)
	if len(r.Alarms) != MaxAlarms || r.Omitted != 1002-MaxAlarms || r.ByCode[TLSFailure] != 1000 || r.ByCode[PolicyDiffers] != 0 {
		t.Errorf("%d alarms, %d omitted, %v", len(r.Alarms), r.Omitted, r.ByCode)
	}
	if r.Alarms[0].Code != UnknownSource || r.Alarms[1].Domain != "d000.example" || r.Alarms[MaxAlarms-1].Code != ReporterSilent {
		t.Errorf("%+v ... %+v", r.Alarms[:2], r.Alarms[MaxAlarms-1])
	}
	r.SetAlarms(nil)
	if r.Alarms == nil || len(r.Alarms) > 0 || r.Omitted != 0 {
		t.Errorf("%+v", r)
	}
}

// What Write writes, Load reads. A missing file, and one of something else, are errors that callers can tell apart.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "received.json")
	if _, err := Load(durable.Tree{dir}, path); !None(err) {
		t.Errorf("no file: %v", err)
	}
	r := Received{LastRun: time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC), OK: true, Read: map[Result]int64{Stored: 3}, Stored: map[string]int64{"tls": 1}}
	r.SetAlarms([]Alarm{{Code: UnknownSource, Domain: "example.org", Source: netip.MustParseAddr("2001:db8::1"), Reporters: []string{"r.example"}, Messages: 12, Since: r.LastRun, Last: r.LastRun, Reports: []int64{7}}})
	if err := r.Write(durable.Tree{dir}, path, dir); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(durable.Tree{dir}, path); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, r)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(durable.Tree{dir}, path); err == nil || None(err) {
		t.Errorf("a damaged file: %v", err)
	}
}

// The addresses of one network that pass with SPF are one alarm; an alarm keeps its key while the address with the most messages changes.
func TestKey(t *testing.T) {
	a := Alarm{Code: UnknownSource, Domain: "example.org", Source: netip.MustParseAddr("198.51.100.7")}
	b, other, signed := a, a, a
	b.Source = netip.MustParseAddr("198.51.100.9")
	other.Source = netip.MustParseAddr("198.51.101.7")
	signed.Selector, signed.Signer = "news", "example.org"
	moved := signed
	moved.Source = other.Source
	if a.Key() != b.Key() || a.Key() == other.Key() || a.Key() == signed.Key() || signed.Key() != moved.Key() {
		t.Errorf("%q %q %q %q %q", a.Key(), b.Key(), other.Key(), signed.Key(), moved.Key())
	}
}
