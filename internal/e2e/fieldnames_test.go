package e2e

import (
	"strings"
	"testing"
)

// A forged field with a space before its colon, or in unusual case, is deleted too, because some programs read it.
func TestForgedFieldNames(t *testing.T) {
	w := newWorld(t, setup{zone: zone()})
	w.swaks(w.SMTP, args(good(), written("ann@good.example", "Authentication-Results : mx.example.org; dmarc=pass (1)", "AUTHENTICATION-RESULTS\t: mx.example.org; dmarc=pass (2)",
		"authentication-results:mx.example.org; dmarc=pass (3)", "X-Signpost-Disposition : none"))...)
	mail := w.results(1, "dmarc=pass")
	if strings.Contains(mail, "dmarc=pass (") || strings.Contains(mail, "Disposition") {
		t.Errorf("a forged field survives:\n%s", head(mail))
	}
}
