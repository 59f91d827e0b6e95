package spf

import (
	"strings"
	"testing"
)

// SRSDomain returns the domain that a forwarder wrote into MAIL FROM, but only for the forms of postsrsd, libsrs2 and Exchange.
func TestSRSDomain(t *testing.T) {
	for sender, want := range map[string]string{
		"SRS0=Xy1z=KA=example.com=ann@fwd.example":                     "example.com",
		"srs0=Xy1z=KA=EXAMPLE.com=ann@fwd.example":                     "example.com",
		"SRS0+Xy1z=KA=example.com=ann@fwd.example":                     "example.com",
		"SRS0-Xy1z=KA=example.com=ann@fwd.example":                     "example.com",
		"SRS0=Xy1z=KA=example.com=ann=x@fwd.example":                   "example.com",
		"SRS0=Xy1z=KA=example.com=@fwd.example":                        "example.com", // an empty local part
		"SRS0=+/1z=KA=example.com=ann@fwd.example":                     "example.com", // base64 in the hash
		"SRS0=Xy1z=KA=bücher.example=ann@fwd.example":                  "xn--bcher-kva.example",
		"SRS1=Ab2c=first.example==Xy1z=KA=example.com=ann@fwd.example": "example.com",
		"SRS1=Ab2c=first.example=+Xy1z=KA=example.com=ann@fwd.example": "example.com",
		"SRS1+Ab2c=first.example=-Xy1z=KA=example.com=ann@fwd.example": "example.com",
		"bob+SRS=Xy1zA=KA=example.com=ann@fwd.example":                 "example.com",
		"bob+tag+srs=Xy1zA=KA=example.com=ann@fwd.example":             "example.com",
		"":                                       "",
		"@":                                      "",
		"ann@example.com":                        "",
		"SRS0=Xy1z=KA=example.com=ann":           "", // no domain of a forwarder
		"SRS0":                                   "",
		"SRS0@fwd.example":                       "",
		"SRS0=@fwd.example":                      "",
		"SRS0====@fwd.example":                   "",
		"SRS0=Xy1z=KA=example.com@fwd.example":   "",
		"SRS0==KA=example.com=ann@fwd.example":   "",
		"SRS0=Xy1z==example.com=ann@fwd.example": "",
		"SRS0=Xy1z=KA==ann@fwd.example":          "",
		"SRS0=Xy1z=KA=example.com.=ann@fwd.example":                             "",
		"SRS0=Xy1z=KA=exam ple.com=ann@fwd.example":                             "",
		"SRS0=Xy1z=KA=example.com\x00.x=ann@fwd.example":                        "",
		"SRS0=Xy1z=KA=[192.0.2.1]=ann@fwd.example":                              "",
		"SRS0.Xy1z=KA=example.com=ann@fwd.example":                              "",
		"SRS2=Xy1z=KA=example.com=ann@fwd.example":                              "",
		"xSRS0=Xy1z=KA=example.com=ann@fwd.example":                             "",
		"\"SRS0=Xy1z=KA=example.com=ann\"@fwd.example":                          "",
		"bob+SRS0=Xy1z=KA=example.com=ann@fwd.example":                          "",
		"bob+SRS=example.com=ann@fwd.example":                                   "",
		"bob-SRS=Xy1zA=KA=example.com=ann@fwd.example":                          "",
		"bob+caf_=other=example.com@fwd.example":                                "",
		"prvs=1234abcdef=ann@example.com":                                       "",
		"bounce-ann=example.com@fwd.example":                                    "",
		"x@SRS0=Xy1z=KA=example.com=ann":                                        "",
		"SRS1=Ab2c=first.example=Xy1z=KA=example.com=ann@fwd.example":           "", // no separator of its own
		"SRS1=Ab2c=first.example=@fwd.example":                                  "",
		"SRS1=Ab2c@fwd.example":                                                 "",
		"SRS1=Ab2c=first.example==Xy1z=example.com=ann@fwd.example":             "",
		"SRS0=" + strings.Repeat("=", 1<<20) + "@fwd.example":                   "",
		"SRS0=a=b=" + strings.Repeat("a.", 1<<20) + "com=ann@fwd.example":       "",
		"SRS0=a=b=" + strings.Repeat("ü", 1<<20) + ".com=ann@fwd.example":       "",
		strings.Repeat("+SRS=", 1<<18) + "@fwd.example":                         "",
		"SRS0=a=b=example.com=" + strings.Repeat("ann", 1<<20) + "@fwd.example": "example.com",
	} {
		if got := SRSDomain(sender); got != want {
			t.Errorf("%.80q: %q, want %q", sender, got, want)
		}
	}
}
