package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"signpost/internal/testmta"
)

const (
	// postfixSessions is the number of concurrent sessions of smtp-source(1).
	postfixSessions = 20
	// postfixMessages is the number of messages that smtp-source sends in a round. It sends each message on a new connection.
	postfixMessages = 600
	// firstPort is the port of the first smtpd. Each milter has its own smtpd, so that the milters can be measured alternately.
	firstPort = 2501
)

// noMilter is the name of Postfix without a milter.
const noMilter = "no milter"

// throughPostfix sends a message repeatedly with smtp-source, from the address that its SPF record permits. The first row is Postfix
// without a milter. The processor time is the milter's.
func (w *world) throughPostfix(ctx context.Context, o options, servers []*server, m *mail) (rows []row, err error) {
	file := filepath.Join(w.dir, "message.eml")
	sent := *m
	sent.fields = m.fields[1:] // Postfix adds the first Received itself
	text := strings.ReplaceAll(string(sent.wire()), "\r\n", "\n")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	w.delay(0)
	mta, err := testmta.Start(ctx, testmta.Options{MainCF: map[string]string{"relay_domains": "example.net", "relay_transport": "discard:bench"}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mta.Stop()) }()
	all := append([]*server{{name: noMilter, roles: []string{verifying}}}, servers...)
	var chosen []*server
	addr := func(i int) string { return fmt.Sprintf("%s:%d", sender().addr, firstPort+i) }
	for _, s := range all {
		if !s.does(verifying) || s.slow {
			continue
		}
		var milters []string
		for _, socket := range s.sockets {
			milters = append(milters, "unix:"+socket)
		}
		service := addr(len(chosen))
		entry := fmt.Sprintf("%s/inet=%s inet n - n - - smtpd -o smtpd_milters=%s", service, service, strings.Join(milters, ","))
		if _, err := mta.Run(ctx, "postconf", "-M", entry); err != nil {
			return nil, err
		}
		chosen = append(chosen, s)
	}
	if _, err := mta.Run(ctx, "postfix", "reload"); err != nil {
		return nil, err
	}
	for i := range chosen {
		if err := await(ctx, "tcp", addr(i)); err != nil {
			return nil, err
		}
	}
	figures := make([][]figure, len(chosen))
	rounds := o.rounds
	if o.whole {
		rounds *= 2
	}
	for range rounds {
		for i, s := range chosen {
			f, err := sendThrough(ctx, mta, s, addr(i), file)
			if err != nil {
				return nil, fmt.Errorf("measuring Postfix with %s: %w", s.name, err)
			}
			figures[i] = append(figures[i], f)
		}
	}
	for i, s := range chosen {
		rows = append(rows, newRow(s.name, figures[i]))
	}
	return rows, nil
}

// sendThrough runs one round of one server. A few messages first start Postfix's processes. The messages after them are measured.
func sendThrough(ctx context.Context, mta *testmta.MTA, s *server, addr, file string) (figure, error) {
	source := func(n int) error {
		out, err := exec.CommandContext(ctx, "smtp-source", "-s", fmt.Sprint(postfixSessions), "-m", fmt.Sprint(n), "-M", sender().name,
			"-f", "ann@example.com", "-t", recipient, "-F", file, addr).CombinedOutput()
		if err != nil {
			return fmt.Errorf("smtp-source: %w\n%s\n%s", err, out, lastLines(mta.Log(), 10))
		}
		return nil
	}
	if err := source(2 * postfixSessions); err != nil {
		return figure{}, err
	}
	if err := emptyQueue(ctx, mta); err != nil {
		return figure{}, err
	}
	f, err := timed(s.pids(), func() (int, error) { return postfixMessages, source(postfixMessages) })
	if err != nil {
		return figure{}, err
	}
	return f, emptyQueue(ctx, mta)
}

// emptyQueue waits until all messages have been discarded, so that a round does not affect the next one.
func emptyQueue(ctx context.Context, mta *testmta.MTA) error {
	for {
		queue, err := mta.Run(ctx, "postqueue", "-p")
		if err != nil {
			return err
		}
		if strings.Contains(queue, "Mail queue is empty") {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
