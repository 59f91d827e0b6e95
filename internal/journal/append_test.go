package journal

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// oneForm returns JSON with one form of U+FFFD. For a byte that is not UTF-8, encoding/json writes \ufffd up to Go 1.26, and then the
// character itself.
func oneForm(json []byte) []byte { return bytes.ReplaceAll(json, []byte(`\ufffd`), []byte("\ufffd")) }

// encodeJSON returns the JSON of encoding/json without HTML escaping, in one form.
func encodeJSON(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	text := json.NewEncoder(&b)
	text.SetEscapeHTML(false)
	if err := text.Encode(v); err != nil {
		t.Fatal(err)
	}
	return oneForm(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// filler fills values with pseudo-random contents.
type filler struct {
	*rand.Rand
	t *testing.T
}

// text returns a text that has, at random, bytes that JSON escapes.
func (f filler) text() string {
	parts := []string{"a", "example.org", "v=spf1 -all, 24 more bytes", `"`, `\`, "<&>", "\n", "\r", "\t", "\b", "\f", "\x00", "\x1f", " ", "\x7f", "\x80",
		"\xff", "é", "\u2028", "\u2029", "\u2027", "\ufffd", "\xef\xbf", "\xed\xa0\x80", "😀", "\xf0\x9f\x98"}
	if f.IntN(3) > 0 {
		parts = parts[:3]
	}
	var b []byte
	for range 1 + f.IntN(5) {
		b = append(b, parts[f.IntN(len(parts))]...)
	}
	return string(b)
}

func (f filler) number() int64 {
	return []int64{f.Int64N(100), -f.Int64N(1e6), f.Int64(), math.MaxInt64, math.MinInt64}[f.IntN(5)]
}

func (f filler) float() float64 {
	return []float64{f.Float64() * 1000, -f.Float64(), math.Copysign(0, -1), 1.25, 1e-6, 9.9e-7, 1e-7, 1.5e-10, 1e20, 1e21, 1.5e300, math.MaxFloat64,
		math.SmallestNonzeroFloat64, math.Float64frombits(f.Uint64() &^ (1 << 62))}[f.IntN(14)]
}

func (f filler) addr() netip.Addr {
	all := []string{"192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "::", `fe80::1%eth"0<`, "fe80::1%é"}
	return netip.MustParseAddr(all[f.IntN(len(all))])
}

func (f filler) time() time.Time {
	zone := time.FixedZone("", (f.IntN(47)-23)*1800)
	return time.Unix(f.Int64N(4e9), []int64{0, 5e8, f.Int64N(1e9)}[f.IntN(3)]).In([]*time.Location{time.UTC, zone}[f.IntN(2)])
}

// fill fills v. Each field is zero at random. A field of a kind that it does not know fails the test.
func (f filler) fill(path string, v reflect.Value) {
	if f.IntN(3) == 0 {
		return
	}
	switch v.Addr().Interface().(type) {
	case *time.Time:
		v.Set(reflect.ValueOf(f.time()))
		return
	case *netip.Addr:
		v.Set(reflect.ValueOf(f.addr()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(f.text())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(f.number())
	case reflect.Uint32:
		v.SetUint(uint64(f.Uint32()))
	case reflect.Float64:
		v.SetFloat(f.float())
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(path, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), f.IntN(4), 4))
		for i := range v.Len() {
			f.fill(path, v.Index(i))
		}
	case reflect.Struct:
		f.fields(path, v)
	default:
		f.t.Fatalf("%s has the type %s: fill it here", path, v.Type())
	}
}

func (f filler) fields(path string, v reflect.Value) {
	for i := range v.NumField() {
		switch field := v.Type().Field(i); {
		case field.Tag.Get("json") == "-":
		case !field.IsExported():
			f.t.Fatalf("%s.%s is not exported: fill %s here", path, field.Name, v.Type())
		default:
			f.fill(path+"."+field.Name, v.Field(i))
		}
	}
}

// appendEntry writes the bytes of encoding/json. A new field of a record needs a line in append.go.
func TestAppendEntry(t *testing.T) {
	entries := 5000
	if testing.Short() {
		entries = 2000
	}
	f := filler{rand.New(rand.NewPCG(1, 2)), t}
	var buffer []byte
	for i := range entries {
		var e Entry
		switch {
		case i < 20:
			e = Entry{ID: int64(i), Time: f.time(), Record: *sample(i)}
		case i > 20:
			f.fields("Entry", reflect.ValueOf(&e).Elem())
		}
		var err error
		if buffer, err = appendEntry(buffer[:0], &e); err != nil {
			t.Fatal(err)
		}
		if got, want := oneForm(buffer), encodeJSON(t, &e); !bytes.Equal(got, want) {
			at := 0
			for at < min(len(got), len(want)) && got[at] == want[at] {
				at++
			}
			from := max(0, at-40)
			t.Fatalf("entry %d differs at byte %d:\n%q\nencoding/json writes\n%q", i, at, got[from:min(len(got), at+80)], want[from:min(len(want), at+80)])
		}
	}
}

// What cannot be JSON is an error, not a damaged entry.
func TestAppendEntryFails(t *testing.T) {
	for name, change := range map[string]func(*Entry){
		"year":     func(e *Entry) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"NaN":      func(e *Entry) { e.HandlerMS = math.NaN() },
		"infinity": func(e *Entry) { e.DNSMS = math.Inf(-1) },
	} {
		e := Entry{Record: *sample(1)}
		change(&e)
		if _, err := appendEntry(nil, &e); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Encoding an ordinary entry allocates nothing.
func TestEncodeAllocates(t *testing.T) {
	c := newCodec()
	for n := range 10 {
		e := &Entry{ID: 1, Time: time.Unix(1_790_000_000, 0), Record: *sample(n)}
		if got := testing.AllocsPerRun(10, func() {
			if _, err := c.encode(e); err != nil {
				t.Fatal(err)
			}
		}); got > 0 {
			t.Errorf("message %d: %v allocations", n, got)
		}
	}
}

func FuzzAppendQuoted(f *testing.F) {
	for _, s := range []string{"", "plain", "0123456\"", "01234567\x1f", "0123456\x7f", "\xff01234567", "é\u2028\u2029\ufffd\xef\xbf", "\b\f\n\r\t\x00\\<>&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := oneForm(appendQuoted([]byte("x"), s)[1:]), encodeJSON(t, s); !bytes.Equal(got, want) {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	})
}

// Each byte is escaped as encoding/json does, at each place in the words of eight bytes and after them.
func TestAppendQuoted(t *testing.T) {
	if got := appendQuoted(nil, "\xff\ufffd"); string(got) != "\"\\ufffd\ufffd\"" {
		t.Errorf("a byte that is not UTF-8: %s", got)
	}
	for i := range 17 {
		for c := range 256 {
			s := bytes.Repeat([]byte{'x'}, 17)
			s[i] = byte(c)
			if got, want := oneForm(appendQuoted(nil, string(s))), encodeJSON(t, string(s)); !bytes.Equal(got, want) {
				t.Errorf("%q: %s, want %s", s, got, want)
			}
		}
	}
}

// The JSON of a message, by appendEntry and by encoding/json.
func BenchmarkEncode(b *testing.B) {
	var all []Entry
	for n := range 100 {
		all = append(all, shorten(&Entry{ID: 1, Time: time.Unix(1_790_000_000, 0), Record: *sample(n)}, 0))
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		var text []byte
		for i := 0; b.Loop(); i++ {
			text, _ = appendEntry(text[:0], &all[i%len(all)])
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		for i := 0; b.Loop(); i++ {
			text.Reset()
			if err := encoder.Encode(&all[i%len(all)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
