package domain

import (
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
