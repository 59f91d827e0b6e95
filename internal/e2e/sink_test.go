package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// next is the server to which a Postfix delivers. It announces extensions, accepts all mail and keeps it byte for byte.
type next struct {
	addr       string
	extensions []string
	mails      chan string // with CRLF line ends and without dot-stuffing
}

func startNext(t *testing.T, extensions ...string) *next {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	n := &next{addr: ln.Addr().String(), extensions: extensions, mails: make(chan string, 100)}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go n.serve(c)
		}
	}()
	return n
}

func (n *next) serve(c net.Conn) {
	defer c.Close()
	r := textproto.NewReader(bufio.NewReader(c))
	reply := func(s string) { fmt.Fprintf(c, "%s\r\n", s) }
	reply("220 next.example ESMTP")
	for {
		line, err := r.ReadLine()
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); verb {
		case "EHLO":
			for _, e := range n.extensions {
				reply("250-" + e)
			}
			reply("250 next.example")
		case "DATA":
			reply("354 go ahead")
			mail, err := readData(r.R)
			if err != nil {
				return
			}
			n.mails <- mail
			reply("250 2.0.0 kept")
		case "QUIT":
			reply("221 2.0.0 bye")
			return
		default:
			reply("250 2.0.0 ok")
		}
	}
}

// readData reads a message up to its final dot. textproto's DotReader would turn CRLF into LF.
func readData(r *bufio.Reader) (string, error) {
	var mail bytes.Buffer
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return "", io.ErrUnexpectedEOF
		}
		if string(line) == ".\r\n" {
			return mail.String(), nil
		}
		mail.Write(bytes.TrimPrefix(line, []byte(".")))
	}
}

// receive waits for the next message.
func (n *next) receive(t *testing.T) string {
	t.Helper()
	select {
	case mail := <-n.mails:
		return mail
	case <-time.After(30 * time.Second):
		t.Fatal("no message arrived at the next server")
		return ""
	}
}
