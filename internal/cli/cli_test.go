package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestVersion(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc1234567"}, {Key: "vcs.modified", Value: "false"}}}
	if got := describe("0.3", info); got != "0.3 (commit abc1234, go1.26.8)" {
		t.Error(got)
	}
	info.Settings[1].Value = "true"
	if got := describe("0.3", info); got != "0.3 (commit abc1234, changed since, go1.26.8)" {
		t.Error(got)
	}
	if got := describe("0.3", &debug.BuildInfo{GoVersion: "go1.26.8"}); got != "0.3 (commit unknown, go1.26.8)" {
		t.Error(got)
	}
}

// An error about arguments uses the names in the usage line, and the exit code is 2.
func TestArgumentErrors(t *testing.T) {
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"show", "prog: show: DOMAIN SELECTOR required\nhint: see prog show --help\n", 2},
		{"show a", "prog: show: DOMAIN SELECTOR required\nhint: see prog show --help\n", 2},
		{"show a b c", "prog: show: unexpected argument \"c\"\nhint: see prog show --help\n", 2},
		{"show a b", "", 0},
		{"list x", "prog: list: unexpected argument \"x\"\nhint: see prog list --help\n", 2},
		{"doctor a b", "prog: doctor: unexpected argument \"b\"\nhint: see prog doctor --help\n", 2},
		{"add", "prog: add: DOMAIN... required\nhint: see prog add --help\n", 2},
		{"import", "prog: import: FILE required\nhint: see prog import --help\n", 2},
		{"import table a", "prog: import table: A B required\nhint: see prog import table --help\n", 2},
		{"show a b --bits x", "prog: show: --bits: \"x\" is not a number\nhint: see prog show --help\n", 2},
		{"show a b --yes=x", "prog: show: --yes: \"x\" is not true or false\nhint: see prog show --help\n", 2},
		{"show a b --since x", "prog: show: --since: \"x\" is not a duration, such as 30m or 12h\nhint: see prog show --help\n", 2},
		{"show a b --other", "prog: show: no such flag: --other\nhint: see prog show --help\n", 2},
		{"show a b --bit 3", "prog: show: no such flag: --bit\nhint: did you mean --bits? see prog show --help\n", 2},
		{"show a b -since 3", "prog: show: no such flag: -s\nhint: did you mean --since? see prog show --help\n", 2},
		{"show a b -x", "prog: show: no such flag: -x\nhint: see prog show --help\n", 2},
		{"show a b --bits", "prog: show: --bits: N required\nhint: see prog show --help\n", 2},
		{"show a b -b", "prog: show: -b: N required\nhint: see prog show --help\n", 2},
		{"show a b --bits 99999999999999999999", "prog: show: --bits: \"99999999999999999999\" is out of range\nhint: see prog show --help\n", 2},
		{"show a b --only \"", "prog: show: --only: \"\\\"\" is not a list of values separated by commas\nhint: see prog show --help\n", 2},
		{"show a b --=x", "prog: show: \"--=x\" is not a flag\nhint: see prog show --help\n", 2},
		{"shwo a b --bits 3", "prog: no such command: \"shwo\"\nhint: did you mean show? see prog --help\n", 2},
		{"shwo", "prog: no such command: \"shwo\"\nhint: did you mean show? see prog --help\n", 2},
		{"help shwo", "prog: no such command: \"shwo\"\nhint: did you mean show? see prog --help\n", 2},
		{"import tabel a b", "prog: import: no such command: \"tabel\"\nhint: did you mean table? see prog import --help\n", 2},
		{"completion bsh", "prog: completion: no such command: \"bsh\"\nhint: did you mean bash? see prog completion --help\n", 2},
		{"version x", "prog: version: unexpected argument \"x\"\nhint: see prog version --help\n", 2},
		{"version", "prog " + Version() + "\n", 0},
		{"nothing", "prog: no such command: \"nothing\"\nhint: see prog --help\n", 2},
	} {
		run := func(*cobra.Command, []string) error { return nil }
		root := &cobra.Command{Use: "prog", Args: cobra.NoArgs, RunE: run}
		imports := &cobra.Command{Use: "import FILE --domain DOMAIN", Args: cobra.ExactArgs(1), RunE: run}
		imports.AddCommand(&cobra.Command{Use: "table A B", Args: cobra.ExactArgs(2), RunE: run})
		show := &cobra.Command{Use: "show DOMAIN SELECTOR --yes", Args: cobra.ExactArgs(2), RunE: run}
		show.Flags().Bool("yes", false, "")
		show.Flags().IntP("bits", "b", 0, "`N` bits")
		show.Flags().StringSlice("only", nil, "")
		show.Flags().Duration("since", 0, "")
		root.AddCommand(imports, show,
			&cobra.Command{Use: "list [-f] [-n N] ...", Args: cobra.NoArgs, RunE: run},
			&cobra.Command{Use: "doctor [DOMAIN]", Args: cobra.MaximumNArgs(1), RunE: run},
			&cobra.Command{Use: "add DOMAIN...", Args: cobra.MinimumNArgs(1), RunE: run})
		var out bytes.Buffer
		if code := Execute(t.Context(), root, strings.Fields(c.args), &out, &out); code != c.code || out.String() != c.want {
			t.Errorf("%s: %d %q", c.args, code, &out)
		}
	}
}

// Error texts of the standard library are replaced. Other error texts do not change.
func TestText(t *testing.T) {
	_, missing := os.Open("/nonexistent/x")
	_, empty := os.Open("")
	_, number := strconv.Atoi("x")
	_, large := strconv.Atoi("99999999999999999999")
	_, date := time.Parse(time.DateOnly, "x")
	_, listen := net.Listen("tcp", "x")
	_, port := net.Listen("tcp", "127.0.0.1:99999")
	_, program := exec.LookPath("no-such-program")
	server := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 53}
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("reading the list: %w", missing), "reading the list: cannot open /nonexistent/x: no such file or directory"},
		{errors.Join(missing, errors.New("second")), "cannot open /nonexistent/x: no such file or directory\nsecond"},
		{empty, `cannot open "": no such file or directory`},
		{os.Mkdir("/nonexistent/x/y", 0o700), "cannot create /nonexistent/x/y: no such file or directory"},
		{os.Rename("/nonexistent/x", "/y"), "cannot rename /nonexistent/x to /y: no such file or directory"},
		{&fs.PathError{Op: "lstat", Path: "/x", Err: syscall.EACCES}, "/x: permission denied"},
		{&fs.PathError{Op: "openat", Path: "x", Err: syscall.EACCES}, "cannot open x: permission denied"},
		{number, `"x" is not a number`},
		{large, `"99999999999999999999" is out of range`},
		{date, `"x" is not a time`},
		{listen, "x: missing port in address"},
		{port, "99999: invalid port"},
		{program, "no-such-program: no such program"},
		{&net.OpError{Op: "dial", Net: "tcp", Addr: server, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "192.0.2.1:53: connection refused"},
		{&net.OpError{Op: "read", Net: "udp", Err: os.ErrDeadlineExceeded}, "timeout"},
		{fmt.Errorf("example.org: %w", context.DeadlineExceeded), "example.org: timeout"},
		{fmt.Errorf("example.org: %w", context.Canceled), "example.org: interrupted"},
		{fmt.Errorf("reading x: %w", io.ErrUnexpectedEOF), "reading x: unexpected end"},
		{Usage(errors.New("open questions: read the manual")), "open questions: read the manual"},
	} {
		if got := Text(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}
