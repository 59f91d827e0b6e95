package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// service is an smtpd(8) service to which this host can connect.
type service struct {
	id      string // as in postconf -M: NAME/inet
	address string // HOST:PORT
	tls     bool   // TLS begins with the connection
}

// services returns the smtpd(8) services of master.cf that listen on one of the ports, in the order of the ports.
func (s *Site) services(ctx context.Context, ports ...string) (all []service, err error) {
	out, err := s.Postconf(ctx, "-M", "-x")
	if err != nil {
		return nil, err
	}
	main, err := s.parameters(ctx, "inet_interfaces")
	if err != nil {
		return nil, err
	}
	usual := "127.0.0.1"
	interfaces := strings.FieldsFunc(main["inet_interfaces"], func(r rune) bool { return r == ',' || r == ' ' })
	if len(interfaces) > 0 && !slices.ContainsFunc(interfaces, func(name string) bool {
		return slices.Contains([]string{"all", "loopback-only", "localhost", "127.0.0.1"}, name)
	}) {
		usual = strings.Trim(interfaces[0], "[]")
	}
	for _, port := range ports {
		for line := range strings.Lines(out) {
			w := strings.Fields(line)
			if len(w) < 8 || w[1] != "inet" || w[7] != "smtpd" && (w[7] != "postscreen" || port != "25") {
				continue
			}
			host, name, err := net.SplitHostPort(w[0])
			if err != nil {
				host, name = "", w[0]
			}
			number, err := net.LookupPort("tcp", name)
			if err != nil || strconv.Itoa(number) != port {
				continue
			}
			switch host {
			case "":
				host = usual
			case "0.0.0.0", "::":
				host = "127.0.0.1"
			}
			wrapped := slices.Contains(w, "smtpd_tls_wrappermode=yes")
			all = append(all, service{w[0] + "/inet", net.JoinHostPort(host, port), wrapped})
		}
	}
	return all, nil
}

// at returns the service at HOST:PORT. TLS begins with the connection on port 465 only.
func at(server string) service {
	_, port, _ := net.SplitHostPort(server)
	return service{"the submission service", server, port == "465" || port == "submissions" || port == "smtps"}
}

// sendmail passes a message to sendmail(1). Postfix sends no bounce (-N never).
func (s *Site) sendmail(ctx context.Context, from, to, text string) error {
	path, err := s.Postconf(ctx, "-h", "sendmail_path")
	if err != nil {
		return err
	}
	args := []string{"-i", "-N", "never", "-f", from, "--", to}
	if s.Postfix != "" {
		args = append([]string{"-C", s.Postfix}, args...)
	}
	out, err := run(ctx, text, strings.TrimSpace(path), args...)
	if out = strings.TrimSpace(out); err != nil && out != "" {
		err = errors.New(out)
	}
	return err
}

// run returns what a program writes.
func run(ctx context.Context, stdin, program string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, program, args...)
	c.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

// mailLog is the log of Postfix since a point in time. It is empty if this process cannot read it.
type mailLog struct {
	file  string // empty: journalctl
	start int64
	since time.Time
}

// openLog returns the log from now on.
func (s *Site) openLog(ctx context.Context) mailLog {
	l := mailLog{since: time.Now()}
	named, _ := s.Postconf(ctx, "-hx", "maillog_file") // an older Postfix does not have this parameter
	for _, file := range []string{strings.TrimSpace(named), "/var/log/mail.log", "/var/log/maillog"} {
		if fi, err := os.Stat(file); file != "" && err == nil {
			l.file, l.start = file, fi.Size()
			break
		}
	}
	return l
}

// maxLog limits how much of the log is read.
const maxLog = 8 << 20

func (l mailLog) read(ctx context.Context) string {
	if l.file == "" {
		out, err := run(ctx, "", "journalctl", "-q", "--no-pager", "-o", "cat", "--since", "@"+strconv.FormatInt(l.since.Unix(), 10), "SYSLOG_FACILITY=2")
		if err != nil {
			return ""
		}
		return out
	}
	f, err := os.Open(filepath.Clean(l.file))
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, maxLog)
	n, _ := f.ReadAt(b, l.start) // at the end of the file, the error is io.EOF
	return string(b[:n])
}

// queueIDs returns the queue IDs of a message in the log, oldest first. A content filter returns the message under another ID.
func queueIDs(log, messageID string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)\b([0-9A-Za-z]+): message-id=`+regexp.QuoteMeta(messageID)).FindAllStringSubmatch(log, -1) {
		if !slices.Contains(all, m[1]) {
			all = append(all, m[1])
		}
	}
	return all
}

// queued returns the last queue ID of a message in the log, or "" if the log does not have it.
func queued(log, messageID string) string {
	all := queueIDs(log, messageID)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// running returns an error if Postfix is not running.
func (s *Site) running(ctx context.Context) error {
	dir, err := s.Postconf(ctx, "-h", "queue_directory")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(dir), "pid", "master.pid"))
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	pid, notNumber := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || notNumber != nil || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return errors.New("the process of " + filepath.Join(strings.TrimSpace(dir), "pid", "master.pid") + " does not exist")
	}
	return nil
}

// filters reports whether a content filter is set in main.cf or master.cf.
func (s *Site) filters(ctx context.Context) bool {
	main, err := s.parameters(ctx, "content_filter")
	services, _ := s.Postconf(ctx, "-P", "-x")
	return err == nil && (main["content_filter"] != "" || regexp.MustCompile(`/content_filter = \S`).MatchString(services))
}

// delivery is the result of the delivery of a message to a recipient.
type delivery struct{ status, text string }

// delivered returns the result of the last attempt to deliver a message. The status is empty if there was none.
func delivered(log, queueID string) (d delivery) {
	for _, m := range regexp.MustCompile(`(?m)\b`+regexp.QuoteMeta(queueID)+`: to=<.*status=(\w+) \((.*)\)$`).FindAllStringSubmatch(log, -1) {
		d = delivery{m[1], m[2]}
	}
	return d
}

// rejectedByMilter returns the queue ID and the text of the line in Postfix's log about a message that a milter rejected. If a milter is
// unavailable, the log does not have the Message-ID, so queueID is empty. The line is then found by the sender.
func rejectedByMilter(log, queueID, from string) (id, text string) {
	any := `[0-9A-Za-z]+`
	if queueID != "" {
		any = regexp.QuoteMeta(queueID)
	}
	for _, m := range regexp.MustCompile(`(?m)\b(`+any+`): milter-(?:reject|hold|discard): (.* from=<`+regexp.QuoteMeta(from)+`>.*)$`).FindAllStringSubmatch(log, -1) {
		id, text = m[1], m[2]
	}
	return id, text
}

// parameters returns settings of main.cf.
func (s *Site) parameters(ctx context.Context, names ...string) (map[string]string, error) {
	out, err := s.Postconf(ctx, append([]string{"-x"}, names...)...)
	if err != nil {
		return nil, fmt.Errorf("reading Postfix's settings: %w", err)
	}
	all := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(line, "=")
		all[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return all, nil
}
