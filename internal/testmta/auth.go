package testmta

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"sync"
)

// authServer is the part of a Dovecot authentication server (protocol 1.1) that smtpd(8) needs: AUTH PLAIN, with any password.
// It makes permit_sasl_authenticated work, for XCLIENT LOGIN and for a real login.
type authServer struct {
	listener net.Listener
	workers  sync.WaitGroup
	stop     context.CancelFunc // closes the connections
}

func listenAuth() (*authServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // TCP, because the path of a unix socket must be short and the directories of tests have long names
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &authServer{listener: l, stop: stop}
	a.workers.Go(func() { a.accept(ctx) })
	return a, nil
}

func (a *authServer) addr() string { return a.listener.Addr().String() }

func (a *authServer) accept(ctx context.Context) {
	for {
		c, err := a.listener.Accept()
		if err != nil {
			return
		}
		a.workers.Go(func() { serve(ctx, c) })
	}
}

func serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
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

// plainUser returns the authcid in the resp= parameter of a request. The parameter contains authzid NUL authcid NUL password (RFC 4616).
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
	a.stop()
	a.workers.Wait()
}
