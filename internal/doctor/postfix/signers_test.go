package postfix_test

import (
	"slices"
	"testing"

	"signpost/internal/doctor"
	"signpost/internal/doctor/postfix"
)

// doctor reports "no other milter signs" only if it has read the configuration of all other milters.
func TestNoOtherMilterSigns(t *testing.T) {
	const (
		ours    = "unix:signpost/milter.sock"
		observe = "-- signpost.toml --\nmode = \"observe\"\n"
		none    = "no other milter signs"
		unknown = "doctor does not know whether these milters sign: "
	)
	for _, c := range []struct{ name, milters, files, want string }{
		{"alone", ours, "", none},
		{"OpenDKIM that verifies", "unix:opendkim/s, " + ours, "-- etc/opendkim.conf --\nMode v\n", none},
		{"observing beside OpenDKIM", "unix:opendkim/s, " + ours, observe, "OpenDKIM (unix:opendkim/s) signs, but Signpost does not sign the same mail"},
		{"observing beside OpenDKIM that verifies", "unix:opendkim/s, " + ours, observe + "-- etc/opendkim.conf --\nMode v\n", none},
		{"OpenDKIM without Signpost", "unix:opendkim/s", "", "OpenDKIM (unix:opendkim/s) signs, but Signpost does not sign the same mail"},
		{"a milter of another name", "unix:clamav/s, " + ours, "", unknown + "unix:clamav/s"},
		{"OpenDKIM on another machine", "inet:192.0.2.8:8891, " + ours, "-- etc/opendkim.conf --\nMode v\n", unknown + "inet:192.0.2.8:8891"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := postfixCase{main: "smtpd_milters = " + c.milters + "\n" + c.files}.site(t)
			old(t, p)
			list := slices.DeleteFunc(postfix.Checks(p.facts()), func(c doctor.Check) bool { return c.Name != "postfix" && c.Name != "other-signer" })
			found := doctor.Run(t.Context(), list)[1:]
			if len(found) != 1 || found[0].Level != doctor.Green || found[0].What != c.want {
				t.Errorf("got %+v, want %q", found, c.want)
			}
		})
	}
}
