package domain

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A name that a sender chose is parsed quickly, however long it is. Without the limit, A-labels of 100 KiB took half a minute.
func TestDomainIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 100_000 {
		b.WriteRune(rune(0x4e00 + i*7919%20000))
	}
	begin := time.Now()
	if _, err := Parse(b.String() + ".example"); err == nil {
		t.Error("no error")
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A name with A-labels has a second form with U-labels, because tables may have either.
func TestForms(t *testing.T) {
	for name, u := range map[string]string{"xn--zrich-kva.example": "zürich.example", "mail.xn--zrich-kva.example": "mail.zürich.example", "a.example": "", "xn--a.example": "", "_x.example": ""} {
		want := []string{name}
		if u != "" {
			want = append(want, u)
		}
		if got := Forms(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
