package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAptRepository makes a repository with scripts/apt-repo, and reads it with apt. A version that was added earlier stays. The same
// packages make the same files, except for the signatures. When the publisher deletes the newest version, apt offers the older one.
// Wrong arguments, and a package that changed, are errors that leave the repository as it was.
func TestAptRepository(t *testing.T) {
	first, second := deb(t, 1), deb(t, 2)
	dir := t.TempDir()
	t.Setenv("GNUPGHOME", dir)
	command := func(name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(name string, args ...string) string {
		t.Helper()
		out, err := command(name, args...)
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return out
	}
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", dir, "--kill", "all").Run() }) // the agent may have ended
	must("gpg", "--batch", "--passphrase", "", "--quick-generate-key", "test", "ed25519", "sign", "never")
	var key string
	for line := range strings.Lines(must("gpg", "--batch", "--with-colons", "--list-secret-keys")) {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" && key == "" {
			key = fields[9]
		}
	}

	// copied returns a new directory with copies of these packages.
	copied := func(name string, packages ...string) string {
		t.Helper()
		to := filepath.Join(dir, name)
		if err := os.Mkdir(to, 0o755); err != nil {
			t.Fatal(err)
		}
		must("cp", append(packages, to)...)
		return to
	}
	one, two, both, none := copied("one", first), copied("two", second), copied("both", first, second), filepath.Join(dir, "none")
	repository, again := filepath.Join(dir, "apt"), filepath.Join(dir, "again")
	script := "../../scripts/apt-repo"
	must(script, key, one, repository)
	must(script, key, two, repository)
	must(script, key, both, again)
	out, _ := command("diff", "-r", repository, again) // fails, because the signatures differ
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "Only in ") || strings.HasPrefix(line, "diff ") && !strings.Contains(line, "/InRelease ") && !strings.Contains(line, "/Release.gpg ") {
			t.Errorf("the repositories differ: %s", line)
		}
	}

	changed := copied("changed", second)
	name := filepath.Join(changed, filepath.Base(first))
	must("cp", second, name)
	for _, test := range []struct{ key, packages, want string }{
		{"", both, "usage: make apt-repo KEY="},
		{"test", both, "KEY=test is not a fingerprint"},
		{strings.Repeat("0", 40), both, "gpg does not have the secret key 00"},
		{key, none, none + " contains no packages"},
		{key, changed, "differs from " + name + "; a version that was published must not change"},
	} {
		if out, err := command(script, test.key, test.packages, repository); err == nil || !strings.Contains(out, test.want) {
			t.Errorf("key %q, packages %s: want %q: %v\n%s", test.key, test.packages, test.want, err, out)
		}
	}

	sources := "deb [signed-by=" + repository + "/signpost.gpg] file:" + repository + " stable main\n"
	if err := os.WriteFile(filepath.Join(dir, "sources"), []byte(sources), 0o644); err != nil {
		t.Fatal(err)
	}
	apt := func(args ...string) string {
		t.Helper()
		for _, option := range []string{"Dir::Etc::SourceList=" + dir + "/sources", "Dir::Etc::SourceParts=/dev/null", "Dir::State=" + dir, "Dir::Cache=" + dir,
			"Dir::State::status=/dev/null", "APT::Sandbox::User=", "APT::Update::Error-Mode=any"} {
			args = append(args, "-o", option)
		}
		return must(args[0], args[1:]...)
	}
	apt("apt-get", "update")
	if out := apt("apt-cache", "policy", "signpost"); !strings.Contains(out, "Candidate: 1.0~test2\n") || !strings.Contains(out, "     1.0~test1 500\n") {
		t.Errorf("apt does not offer both versions:\n%s", out)
	}
	must("rm", filepath.Join(repository, "pool", filepath.Base(second)))
	must(script, key, one, repository)
	apt("apt-get", "update")
	if out := apt("apt-cache", "policy", "signpost"); !strings.Contains(out, "Candidate: 1.0~test1\n") || strings.Contains(out, "1.0~test2") {
		t.Errorf("apt offers a version that was deleted:\n%s", out)
	}
}
