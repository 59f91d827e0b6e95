package rspamd

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"signpost/internal/domain"
	"signpost/keys"
)

// Whatever the files contain, each key that is found has a domain and a selector that are valid names, and no two keys have the same. Each
// explanation is one line. Neither an explanation nor an error contains a private key.
func FuzzRead(f *testing.F) {
	f.Add(`{"use_redis":true,"key_prefix":"K","domain":{"example.org":{"selector":2026}}}`, `{"example.org":"a.b"}`, `{"2026.example.org":"KEY","a.b.example.org":"KEY","dkim.example.net":"KEY"}`)
	f.Add(`{"use_redis":true,"selector_prefix":"S","try_fallback":false}`, `{"EXAMPLE.org.":"dkim","example.org":"dkim"}`, `{"dkim.example.org":"KEY","dkim.EXAMPLE.org.":"KEY"}`)
	f.Add(`{"use_redis":true,"domain":{"a/../b":{"selectors":[{"selector":"x"},{"selector":"x"}]}}}`, `["x"]`, `{"x.a/../b":"KEY","x":1}`)
	f.Fuzz(func(t *testing.T, config, selectors, private string) {
		const secret = "ONLY-IN-KEYS"
		if strings.Contains(config, "_map") || strings.Contains(config+selectors+private, secret) {
			t.Skip("a map is another file")
		}
		var values map[string]string
		if json.Unmarshal([]byte(private), &values) == nil {
			for name := range values {
				values[name] = secret
			}
			text, err := json.Marshal(values)
			if err != nil {
				t.Fatal(err)
			}
			private = string(text)
		}
		dir := write(t, map[string]string{"config": config, "selectors": selectors, "keys": private})
		check := func(found []keys.Foreign, skipped []string, err error) {
			seen := map[[2]string]bool{}
			for _, k := range found {
				name, nameErr := domain.ParseHosted(k.Domain)
				selector, selectorErr := domain.Parse(k.Selector)
				id := [2]string{k.Domain, k.Selector}
				if err := errors.Join(nameErr, selectorErr); err != nil || name != k.Domain || selector != k.Selector || seen[id] || k.Text == "" {
					t.Errorf("%+v: %v", k, err)
				}
				seen[id] = true
			}
			for _, s := range skipped {
				if strings.ContainsAny(s, "\r\n") || strings.Contains(s, secret) {
					t.Errorf("%q", s)
				}
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Error(err)
			}
		}
		config, selectors, private = filepath.Join(dir, "config"), filepath.Join(dir, "selectors"), filepath.Join(dir, "keys")
		check(Read(config, private, ""))
		check(Read(config, private, selectors))
		check(ReadMailcow(selectors, private))
	})
}
