package dkim

import (
	"encoding/hex"
	"strings"
	"testing"
)

// RFC 4648 section 3: padding is optional here and unused bits are ignored; everything else that is not base64 is an error.
func TestDecodeBase64(t *testing.T) {
	for text, want := range map[string]string{
		"AQID": "010203", "AQI=": "0102", "AQI": "0102", "AQ==": "01", "AQ=": "01", "AQ": "01",
		"AR==": "01", "AQJ": "0102", "A Q\r\n\tI =": "0102",
		"": "error", "=": "error", "====": "error", "A": "error", "AQIDA": "error", "AQID=": "error", "AQI==": "error", "AQ===": "error",
		"AQ==AQ==": "error", "AQ=I": "error", "A-_D": "error", "AQI\x00": "error", "\u00a0AQI=": "error",
	} {
		data, err := decodeBase64(text)
		got := hex.EncodeToString(data)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// The number of conversions for a mangled field is bounded, because the time of each grows with the square of the length.
func TestMangledBounds(t *testing.T) {
	long := strings.Repeat("ü", maxMangledName)
	many := strings.Repeat("d=ü\u00ad- ;", maxMangledTags)
	for value, want := range map[string]string{
		"x;d=" + long + ";d=example.org":                        "example.org",
		"x;" + many + "d=example.org":                           "",
		"x;" + many[:len(many)/2] + "d=example.org":             "example.org",
		"x;" + strings.Repeat(" ", MaxSignatureField) + "d=a.b": "",
	} {
		s := readSignature(Field{SignatureField, value})
		if s.result.Domain != want {
			t.Errorf("%.40q: d=%q, want %q", value, s.result.Domain, want)
		}
	}
}
