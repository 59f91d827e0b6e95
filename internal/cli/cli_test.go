package cli

import (
	"bytes"
	"runtime/debug"
	"strings"
	"testing"

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

// Wrong arguments are named as the usage line names them, with exit code 2.
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
		{"show a b --other", "prog: show: unknown flag: --other\nhint: see prog show --help\n", 2},
		{"nothing", "prog: unknown command \"nothing\"\nhint: see prog --help\n", 2},
	} {
		run := func(*cobra.Command, []string) error { return nil }
		root := &cobra.Command{Use: "prog", Args: cobra.NoArgs, RunE: run}
		imports := &cobra.Command{Use: "import FILE --domain DOMAIN", Args: cobra.ExactArgs(1), RunE: run}
		imports.AddCommand(&cobra.Command{Use: "table A B", Args: cobra.ExactArgs(2), RunE: run})
		show := &cobra.Command{Use: "show DOMAIN SELECTOR --yes", Args: cobra.ExactArgs(2), RunE: run}
		show.Flags().Bool("yes", false, "")
		show.Flags().Int("bits", 0, "")
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
