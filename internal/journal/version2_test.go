package journal

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/policy"
)

// Entries of version 2 must stay readable. testdata/version2.txt has packed entries in base64, each followed by its JSON. The file was
// written once. Changes of the dictionary, of names or of units must not change the result of reading this file. UPDATE=1 writes the file
// if it does not exist.
func TestVersion2(t *testing.T) {
	file := filepath.Join("testdata", "version2.txt")
	if _, err := os.Stat(file); err != nil && os.Getenv("UPDATE") != "" {
		writeGolden(t, file)
	}
	golden, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer golden.Close()
	c := newCodec()
	lines := bufio.NewScanner(golden)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		packed, err := base64.StdEncoding.DecodeString(lines.Text())
		if err != nil || !lines.Scan() {
			t.Fatal(err)
		}
		want := lines.Text()
		e, err := c.decode(packed)
		if err != nil {
			t.Errorf("entry %d: %v", n, err)
			continue
		}
		var got bytes.Buffer
		text := json.NewEncoder(&got)
		text.SetEscapeHTML(false)
		if err := text.Encode(&e); err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(got.String()) != want {
			t.Errorf("entry %d: %s\nwant %s", n, &got, want)
		}
	}
	if n < 3 {
		t.Errorf("%d entries", n)
	}
}

// writeGolden writes entries of each kind.
func writeGolden(t *testing.T, file string) {
	t.Helper()
	c := newCodec()
	outbound := &decision.Record{Version: decision.Version, Code: policy.TrustedNetwork,
		Assignment: policy.Assignment{Role: policy.RoleSign, Reason: policy.Reason{Code: policy.TrustedNetwork}, Domain: "example.org"},
		Verdict:    policy.Verdict{Action: policy.Sign}, Selectors: []string{"sp1", "sp2"}, HandlerMS: 1.25,
		Evidence: policy.Evidence{QueueID: "4out", Size: 7, Absent: []string{"Date"}}}
	var out bytes.Buffer
	for i, r := range []*decision.Record{sample(3), sample(9), outbound} {
		e := shorten(&Entry{ID: int64(i), Time: time.Unix(1_790_000_000, 0).UTC(), Record: *r}, 3)
		packed, err := c.encode(&e)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(base64.StdEncoding.EncodeToString(packed) + "\n")
		out.Write(c.text)
		out.WriteByte('\n')
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// An entry with a flipped bit is not read as another entry, because its checksum does not match.
func TestDamagedEntry(t *testing.T) {
	c := newCodec()
	e := shorten(&Entry{ID: 1, Record: *sample(9)}, 0)
	packed, err := c.encode(&e)
	if err != nil {
		t.Fatal(err)
	}
	packed = bytes.Clone(packed)
	whole, err := c.decode(packed)
	if err != nil {
		t.Fatal(err)
	}
	for i := range packed {
		for bit := range 8 {
			packed[i] ^= 1 << bit
			if got, err := c.decode(packed); err == nil && !reflect.DeepEqual(got, whole) { // some bits of a packed text have no effect
				t.Errorf("byte %d, bit %d: %+v", i, bit, got)
			}
			packed[i] ^= 1 << bit
		}
	}
}
