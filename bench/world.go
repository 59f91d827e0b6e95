package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"signpost/internal/dkim"
	"signpost/internal/dns"
	"signpost/internal/testdns"
)

// selector is the selector of every domain's key.
const selector = "bench"

// coldDomains is the number of domains whose names are not cached by any server.
const coldDomains = 800

func coldDomain(i int) string { return fmt.Sprintf("cold%d.example", i) }

// world has the common parts of all servers: one key for every domain, and the DNS.
type world struct {
	dir     string
	key     *rsa.PrivateKey
	record  string
	keyFile string // PKCS #1
	dns     *testdns.Server

	coldUsed int // number of cold domains that were used
}

func newWorld(dir string) (*world, error) {
	w := &world{dir: dir, keyFile: filepath.Join(dir, "key.pem")}
	var err error
	if w.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	if w.record, err = dkim.FormatKeyRecord(w.key.Public()); err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(w.key)})
	if err := os.WriteFile(w.keyFile, text, 0o600); err != nil {
		return nil, err
	}
	w.dns, err = testdns.StartAt("127.0.0.1:53", w.zone())
	return w, err
}

// zone returns the zone of the domains. The domain example.org is hosted here. Inbound mail comes from example.com and the cold domains.
// Forged mail claims to be from bank.example.
func (w *world) zone() string {
	key := dns.QuoteTXT(w.record, " ")
	domains := []string{"example.org", "example.com", "bank.example"}
	for i := range coldDomains {
		domains = append(domains, coldDomain(i))
	}
	var b strings.Builder
	for _, d := range domains {
		fmt.Fprintf(&b, "%s. TXT \"v=spf1 ip4:203.0.113.9 -all\"\n_dmarc.%s. TXT \"v=DMARC1; p=reject\"\n%s._domainkey.%s. TXT %s\n%s. A 203.0.113.9\n", d, d, selector, d, key, d)
	}
	b.WriteString("mail.example.com. A 203.0.113.9\n9.113.0.203.in-addr.arpa. PTR mail.example.com.\nstranger.example. TXT \"v=spf1 ip4:198.51.100.66 -all\"\n")
	return b.String()
}

// delay delays every DNS answer.
func (w *world) delay(d time.Duration) { w.dns.SetDelay(d) }
