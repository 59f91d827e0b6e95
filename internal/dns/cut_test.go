package dns

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A message that ends exactly after its question, although its header counts records, is no negative answer: mail would pass because a policy seems
// not to exist.
func TestCutAfterQuestion(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			var q dns.Msg
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			m := new(dns.Msg).SetReply(&q)
			data, err := m.Pack() // header and question
			if err != nil {
				continue
			}
			binary.BigEndian.PutUint16(data[6:], 1) // one record in the answer section
			_, _ = c.WriteTo(data, from)
		}
	}()
	r := New(Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(c.LocalAddr().String())}, Timeout: time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	all, err := r.View(netip.Addr{}).LookupTXT(t.Context(), "_dmarc.example.org")
	var failed *net.DNSError
	if len(all) > 0 || err == nil {
		t.Fatalf("%q, %v", all, err)
	}
	if errors.As(err, &failed) && failed.IsNotFound {
		t.Errorf("the record does not exist: %v", err)
	}
}
