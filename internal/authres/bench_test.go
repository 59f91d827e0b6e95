package authres

import "testing"

// BenchmarkFormat writes the results of an ordinary message.
func BenchmarkFormat(b *testing.B) {
	results := []Result{
		{Method: "iprev", Value: "pass", Props: []Prop{{"policy", "iprev", "192.0.2.1"}}},
		{Method: "spf", Value: "pass", Props: []Prop{{"smtp", "mailfrom", "example.org"}}},
		{Method: "dkim", Value: "pass", Props: []Prop{{"header", "d", "example.org"}, {"header", "s", "s2026"}, {"header", "a", "rsa-sha256"}, {"header", "b", "dB/+q1=x"}}},
		{Method: "dmarc", Value: "pass", Props: []Prop{{"header", "from", "example.org"}, {"policy", "dmarc", "reject"}}},
	}
	b.ReportAllocs()
	for b.Loop() {
		Format("mx.example.net", results)
	}
}

// BenchmarkReadClaim reads a field of another host.
func BenchmarkReadClaim(b *testing.B) {
	value := " mail.example.org; dkim=pass header.d=example.org header.s=s2026 header.b=dB/+q1=x;\n\tspf=pass smtp.mailfrom=ann@example.org"
	ids := []string{"mx.example.net", "observe.mx.example.net"}
	b.ReportAllocs()
	for b.Loop() {
		if ReadClaim(value, ids) != Foreign {
			b.Fatal("not foreign")
		}
	}
}
