package hostheader

import "testing"

// A host name is accepted only if a foreign DNS zone cannot point it to this host.
func TestOwn(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:9890": true, "[::1]:9890": true, "[::1]": true, "::1": true, "192.0.2.1:80": true,
		"localhost": true, "LOCALHOST:9890": true, "localhost.:9890": true, "mx.example.org": true, "MX.example.org.:9890": true,
		"": false, "attacker.example": false, "attacker.example:9890": false, "localhost.attacker.example": false,
		"127.0.0.1.attacker.example": false, "x.mx.example.org": false, "mx.example.org.attacker.example": false, "127.1": false, "2130706433": false, ":9890": false,
	} {
		if Own(host, []string{"mx.example.org"}) != want {
			t.Errorf("%q: want %v", host, want)
		}
	}
}
