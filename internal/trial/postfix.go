package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
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
	id      string   // as in postconf -M: NAME/inet
	address string   // HOST:PORT
	tls     bool     // TLS begins with the connection
	listens []string // as inet_interfaces
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
	overridden, _ := s.Postconf(ctx, "-P", "-x") // an older Postfix does not have -P
	usual := "127.0.0.1"
	interfaces := list(main["inet_interfaces"])
	if len(interfaces) > 0 && !slices.ContainsFunc(interfaces, func(name string) bool {
		return slices.Contains([]string{"all", "loopback-only", "localhost", "127.0.0.1"}, name)
	}) {
		usual = strings.Trim(interfaces[0], "[]")
	}
	for _, port := range ports {
		for line := range strings.Lines(out) {
			w := strings.Fields(line)
			if len(w) < 8 || w[1] != "inet" || w[7] != "smtpd" && w[7] != "postscreen" || w[7] == "postscreen" && (port == "587" || port == "465") || portOf(w[0]) != port {
				continue
			}
			host, _, err := net.SplitHostPort(w[0])
			listens := interfaces
			if err == nil {
				listens = []string{host}
			}
			switch host {
			case "":
				host = usual
			case "0.0.0.0", "::":
				host, listens = "127.0.0.1", []string{"all"}
			}
			wrapped := slices.Contains(w, "smtpd_tls_wrappermode=yes") || strings.Contains(overridden, w[0]+"/inet/smtpd_tls_wrappermode = yes\n")
			all = append(all, service{w[0] + "/inet", net.JoinHostPort(host, port), wrapped, listens})
		}
	}
	return all, nil
}

// on reports whether a service listens on an address. It does not look up names.
func (s service) on(host string) bool {
	ip, err := netip.ParseAddr(strings.Replace(host, "localhost", "127.0.0.1", 1))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(s.listens, func(name string) bool {
		own, err := netip.ParseAddr(strings.Trim(name, "[]"))
		return name == "all" || (name == "loopback-only" || name == "localhost") && ip.IsLoopback() || err == nil && own.Unmap() == ip.Unmap()
	})
}

// at returns the service at HOST:PORT. If it is none of master.cf, TLS begins with the connection on port 465 only.
func (s *Site) at(ctx context.Context, server string) service {
	host, port, _ := net.SplitHostPort(server)
	all, _ := s.services(ctx, portOf(port))
	found := service{id: "the submission service", address: server, tls: portOf(port) == "465"}
	for _, own := range all {
		if own.on(host) {
			found.tls = own.tls
		}
	}
	return found
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

// run returns what a program writes, up to maxLog bytes. It does not wait for children of the program that outlive it.
func run(ctx context.Context, stdin, program string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, program, args...)
	c.Stdin = strings.NewReader(stdin)
	c.WaitDelay = time.Second
	var out output
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

// output keeps the first maxLog bytes.
type output struct{ strings.Builder }

func (o *output) Write(p []byte) (int, error) {
	_, err := o.Builder.Write(p[:min(len(p), maxLog-o.Len())])
	return len(p), err
}

// exitCode returns the exit code of a program that failed, or -1.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
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

// maxLog limits how much of the log is read, in bytes, and maxJournalctl the time of journalctl(1).
const (
	maxLog        = 8 << 20
	maxJournalctl = 10 * time.Second
)

func (l mailLog) read(ctx context.Context) string {
	if l.file == "" {
		ctx, cancel := context.WithTimeout(ctx, maxJournalctl)
		defer cancel()
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
	b, err := io.ReadAll(io.NewSectionReader(f, l.start, maxLog))
	if err != nil {
		return ""
	}
	return string(b)
}

// queueIDs returns the queue IDs of a message in the log, oldest first. A content filter or local(8) returns the message under another ID.
func queueIDs(log, messageID string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)\b([0-9A-Za-z]+): message-id=`+regexp.QuoteMeta(messageID)).FindAllStringSubmatch(log, -1) {
		if !slices.Contains(all, m[1]) {
			all = append(all, m[1])
		}
	}
	return all
}

// queued returns the first queue ID of a message in the log, or "" if the log does not have it.
func queued(log, messageID string) string {
	all := queueIDs(log, messageID)
	if len(all) == 0 {
		return ""
	}
	return all[0]
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

// delivery is the result of the last attempt to deliver a message to a recipient.
type delivery struct{ to, status, text string }

// deliveries returns the results for the recipients of a message, and whether the message has left the queue. The text may be that of
// another server, so it does not count as a status.
func deliveries(log, queueID string) (all []delivery, removed bool) {
	id := `(?m)\b` + regexp.QuoteMeta(queueID)
	for _, m := range regexp.MustCompile(id+`: to=<([^>\n]*)>(?:, \w+=[^ \n]*)*, status=(\w+) \((.*)\)$`).FindAllStringSubmatch(log, -1) {
		d := delivery{m[1], m[2], m[3]}
		if i := slices.IndexFunc(all, func(old delivery) bool { return old.to == d.to }); i >= 0 {
			all[i] = d
		} else {
			all = append(all, d)
		}
	}
	return all, regexp.MustCompile(id + `: removed$`).MatchString(log)
}

// trace follows a message through the queue: a content filter returns it under another queue ID, or local(8) forwards it. It returns the
// IDs, those of them that local(8) created, the results of the deliveries to other places, and whether Postfix has tried all of them.
func trace(log, queueID, messageID string) (path, forwarded []string, all []delivery, tried bool) {
	known := queueIDs(log, messageID)
	path, tried = []string{queueID}, true
	for i := 0; i < len(path); i++ {
		found, removed := deliveries(log, path[i])
		deferred := false
		for _, d := range found {
			deferred = deferred || d.status == "deferred"
			if m := regexp.MustCompile(`(queued|forwarded) as ([0-9A-Za-z]+)\b`).FindStringSubmatch(d.text); m != nil && slices.Contains(known, m[2]) {
				if !slices.Contains(path, m[2]) {
					path = append(path, m[2])
					if m[1] == "forwarded" {
						forwarded = append(forwarded, m[2])
					}
				}
				continue
			}
			all = append(all, d)
		}
		tried = tried && len(found) > 0 && (removed || deferred)
	}
	return path, forwarded, all, tried
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
