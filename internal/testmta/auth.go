package testmta

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"sync"
)

// authServer is the least of a Dovecot authentication server (protocol 1.1) that smtpd(8) accepts: AUTH PLAIN, and any
// password will do. With it permit_sasl_authenticated works, for XCLIENT LOGIN as for a real login.
type authServer struct {
	listener net.Listener
	workers  sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool // nil: closed
}

func listenAuth() (*authServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // not a unix socket: their paths must be short, folders of tests are not
	if err != nil {
		return nil, err
	}
	a := &authServer{listener: l, open: map[net.Conn]bool{}}
	a.workers.Go(a.accept)
	return a, nil
}

func (a *authServer) addr() string { return a.listener.Addr().String() }

func (a *authServer) accept() {
	for {
		c, err := a.listener.Accept()
		if err != nil {
			return
		}
		if !a.keep(c) {
			_ = c.Close()
			return
		}
		a.workers.Go(func() { a.serve(c) })
	}
}

func (a *authServer) keep(c net.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open != nil {
		a.open[c] = true
	}
	return a.open != nil
}

func (a *authServer) serve(c net.Conn) {
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.open, c)
		_ = c.Close()
	}()
	fmt.Fprintf(c, "VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0\nDONE\n")
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if fields[0] != "AUTH" || len(fields) < 3 {
			continue // VERSION, CPID
		}
		user := plainUser(fields)
		if user == "" {
			fmt.Fprintf(c, "FAIL\t%s\n", fields[1])
			continue
		}
		fmt.Fprintf(c, "OK\t%s\tuser=%s\n", fields[1], user)
	}
}

// plainUser reads RFC 4616's authzid NUL authcid NUL password out of the request's resp= parameter.
func plainUser(fields []string) string {
	resp, ok := strings.CutPrefix(fields[len(fields)-1], "resp=") // always the last one
	if !ok {
		return ""
	}
	raw, err := base64.StdEncoding.DecodeString(resp)
	if err != nil {
		return ""
	}
	parts := strings.Split(string(raw), "\x00")
	if len(parts) != 3 || strings.ContainsAny(parts[1], "\t\n") {
		return ""
	}
	return parts[1]
}

func (a *authServer) close() {
	_ = a.listener.Close()
	a.mu.Lock()
	for c := range a.open {
		_ = c.Close()
	}
	a.open = nil
	a.mu.Unlock()
	a.workers.Wait()
}
