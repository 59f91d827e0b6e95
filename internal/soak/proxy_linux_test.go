package soak

import (
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// proxyMode is what a dnsProxy does with answers.
type proxyMode int32

const (
	honestMode proxyMode = iota
	slowMode             // answers are late, and some arrive too late
	lyingMode            // answers are those of an attacker who does not know the ID, the port or the name, and of a broken server
)

// dnsProxy forwards queries to a resolver over UDP and TCP, and changes the answers.
type dnsProxy struct {
	to   string
	mode atomic.Int32
	udp  net.PacketConn
	tcp  net.Listener
	work sync.WaitGroup
}

func startProxy(addr, to string) (*dnsProxy, error) {
	p := &dnsProxy{to: to}
	var err error
	if p.udp, err = net.ListenPacket("udp", addr); err != nil {
		return nil, err
	}
	if p.tcp, err = net.Listen("tcp", addr); err != nil {
		return nil, err
	}
	go p.serveUDP()
	go p.serveTCP()
	return p, nil
}

func (p *dnsProxy) close() {
	_ = p.udp.Close()
	_ = p.tcp.Close()
	p.work.Wait()
}

func (p *dnsProxy) set(m proxyMode) { p.mode.Store(int32(m)) }

func (p *dnsProxy) serveUDP() {
	buf := make([]byte, 1<<16)
	for {
		n, client, err := p.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		query := append([]byte(nil), buf[:n]...)
		p.work.Go(func() {
			answer, err := p.ask(query)
			if err != nil {
				return
			}
			for _, a := range p.change(answer) {
				_, _ = p.udp.WriteTo(a, client)
			}
		})
	}
}

// ask returns the answer of the resolver.
func (p *dnsProxy) ask(query []byte) ([]byte, error) {
	c, err := net.Dial("udp", p.to)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, 1<<16)
	n, err := c.Read(buf)
	return buf[:n], err
}

// change returns the packets that the client receives.
func (p *dnsProxy) change(answer []byte) [][]byte {
	switch proxyMode(p.mode.Load()) {
	case slowMode:
		time.Sleep(time.Duration(rand.IntN(4000)) * time.Millisecond)
	case lyingMode:
		return lies(answer)
	}
	return [][]byte{answer}
}

// lies returns one or more wrong answers, and sometimes the right one after them.
func lies(answer []byte) [][]byte {
	var m dns.Msg
	if m.Unpack(answer) != nil || len(m.Question) == 0 {
		return nil
	}
	forged := m.Copy()
	forged.Rcode = dns.RcodeSuccess
	forged.Answer = []dns.RR{text(m.Question[0].Name, "v=DMARC1; p=none"), text(m.Question[0].Name, "v=spf1 +all")}
	var poison []dns.RR // for names that were not asked for
	for name, value := range map[string]string{"_dmarc.strict.example.": "v=DMARC1; p=none", "strict.example.": "v=spf1 +all"} {
		if !strings.EqualFold(name, m.Question[0].Name) {
			poison = append(poison, text(name, value))
		}
	}
	pack := func(m *dns.Msg) []byte {
		b, err := m.Pack()
		if err != nil {
			panic(err) // never: the message consists of records that were unpacked or made here
		}
		return b
	}
	switch rand.IntN(8) {
	case 0: // another ID, several times, before the right answer
		var all [][]byte
		for range 5 {
			forged.Id = uint16(rand.Uint32())
			if forged.Id != m.Id {
				all = append(all, pack(forged))
			}
		}
		return append(all, answer)
	case 1: // the answer to another question
		forged.Question[0].Name = "other.example."
		return [][]byte{pack(forged), answer}
	case 2: // further records for other names
		m.Answer = append(m.Answer, poison...)
		m.Ns, m.Extra = append(m.Ns, poison...), append(m.Extra, poison...)
		return [][]byte{pack(&m)}
	case 3:
		m.Rcode, m.Answer = dns.RcodeServerFailure, nil
	case 4:
		m.Rcode, m.Answer = dns.RcodeRefused, nil
	case 5: // truncated, and TCP is no better
		m.Truncated, m.Answer = true, nil
	case 6: // half a packet
		return [][]byte{answer[:len(answer)/2]}
	case 7: // a query instead of an answer
		forged.Response = false
		return [][]byte{pack(forged)}
	}
	return [][]byte{pack(&m)}
}

func text(name, value string) dns.RR {
	return &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 300}, Txt: []string{value}}
}

func (p *dnsProxy) serveTCP() {
	for {
		client, err := p.tcp.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() {
			defer client.Close()
			if proxyMode(p.mode.Load()) == lyingMode {
				return
			}
			server, err := net.Dial("tcp", p.to)
			if err != nil {
				return
			}
			defer server.Close()
			limit := time.Now().Add(20 * time.Second)
			_ = client.SetDeadline(limit)
			_ = server.SetDeadline(limit)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = io.Copy(server, client)
				_ = server.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(client, server)
			_ = client.Close()
			<-done
		})
	}
}
