package rspamd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"signpost/keys"
)

// hash is a Redis hash, in the order of the file.
type hash struct {
	path   string
	fields []field
	byName map[string]int // index in fields
}

// field is a field of a Redis hash. The place is for messages: FILE:LINE: "NAME".
type field struct {
	name, value, place string
	used               bool
}

// ReadMailcow finds the keys of a mailcow installation. Its parameters are files with the output of "redis-cli --json HGETALL
// DKIM_SELECTORS" and "... DKIM_PRIV_KEYS". The field SELECTOR.DOMAIN of DKIM_PRIV_KEYS is a private key. Both selectors and domains may
// contain several labels, so only DKIM_SELECTORS determines the domain and the selector of a key. The result skipped explains each field
// that is not imported.
func ReadMailcow(selectorsFile, keysFile string) (found []keys.Foreign, skipped []string, err error) {
	selectors, err := readHash(selectorsFile)
	if err != nil {
		return nil, nil, err
	}
	private, err := readHash(keysFile)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range selectors.fields {
		if strings.Contains(f.value, "-----BEGIN ") {
			return nil, nil, fmt.Errorf("%s: the value is a private key, not a selector\nhint: the file with the selectors comes first", f.place)
		}
	}
	l := list{sources: map[string]string{}}
	for _, f := range selectors.fields {
		l.addField(f.place, f.name, f.value, private)
	}
	l.skipUnused(private)
	return l.found, l.skipped, nil
}

// addField adds the key of a domain and a selector in Redis.
func (l *list) addField(place, domain, selector string, private *hash) {
	k, ok := l.parse(place, domain, selector)
	if !ok {
		return
	}
	name := selector + "." + domain
	i, ok := private.byName[name]
	if !ok {
		l.skip(place, "%s has no field %q", private.path, name)
		return
	}
	f := &private.fields[i]
	f.used = true
	if strings.TrimSpace(f.value) == "" {
		l.skip(f.place, "the key is empty")
		return
	}
	k.Source, k.Text = f.place, f.value
	l.add(place, k)
}

func (l *list) skipUnused(private *hash) {
	for _, f := range private.fields {
		if !f.used {
			l.skip(f.place, "rspamd does not sign with this key: it is not the key of a domain's selector")
		}
	}
}

// maxHash is the maximum size of a hash in bytes: the RSA keys of 30,000 domains.
const maxHash = 64 << 20

// readHash reads the output of "redis-cli --json HGETALL". Its errors never contain a value.
func readHash(path string) (*hash, error) {
	data, err := readFile(path, maxHash)
	if err != nil {
		return nil, err
	}
	text := bytes.TrimSpace(data)
	if reply, failed := bytes.CutPrefix(text, []byte("error:")); failed { // redis-cli writes it to standard output
		auth := ""
		if bytes.Contains(reply, []byte("NOAUTH")) {
			auth = "\nhint: set REDISCLI_AUTH to the password of Redis"
		}
		return nil, fmt.Errorf("%s: redis-cli failed: %s%s", path, bytes.Trim(reply, `"`), auth)
	}
	const hint = "\nhint: write the file with redis-cli --json HGETALL NAME >FILE"
	switch {
	case bytes.HasPrefix(text, []byte("REDIS")):
		return nil, fmt.Errorf("%s: the file is a dump in binary format (RDB)%s", path, hint)
	case !bytes.HasPrefix(text, []byte("{")):
		return nil, fmt.Errorf("%s: the file is not a JSON object%s", path, hint)
	case !json.Valid(text):
		return nil, fmt.Errorf("%s: the JSON is not valid or not complete%s", path, hint)
	}
	h := &hash{path: path, byName: map[string]int{}}
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	line, counted := 1, int64(0)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		line += bytes.Count(data[counted:d.InputOffset()], []byte("\n"))
		counted = d.InputOffset()
		f := field{name: name.(string), place: fmt.Sprintf("%s:%d: %q", path, line, name)}
		value, err := d.Token()
		if err != nil {
			return nil, err
		}
		var isString bool
		if f.value, isString = value.(string); !isString {
			return nil, fmt.Errorf("%s: the value is not a string%s", f.place, hint)
		}
		if _, twice := h.byName[f.name]; twice {
			return nil, fmt.Errorf("%s: the field is in the file twice", f.place)
		}
		h.byName[f.name] = len(h.fields)
		h.fields = append(h.fields, f)
	}
	if len(h.fields) == 0 {
		return nil, fmt.Errorf("%s: the hash is empty\nhint: the name of the hash is case-sensitive", path)
	}
	return h, nil
}

// readFile returns the contents of a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errors.New("the file is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}
