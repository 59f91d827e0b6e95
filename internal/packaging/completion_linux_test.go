package packaging

import (
	"os"
	"strings"
	"testing"
	"time"
)

// atTerminal is a zsh script that provides a terminal, because bash and zsh complete only there. Its arguments are the shell, the first
// command of the shell, the input, and the expected output. A second TAB makes bash list the matches. The prompt shows that the shell
// reads keys. The command sets the prompt in two parts, so that the echo of the command differs from the prompt.
const atTerminal = `zmodload zsh/zpty
zpty -e shell TERM=dumb $1
zpty -w shell "$2"'; PS1="rea""dy> "'
zpty -r shell out '*ready> *'
zpty -w -n shell "$3"$'\t\t'
zpty -r shell out "*$4*"
print -r -- $out
`

// With Debian's settings and the files of the package, each shell completes commands, and domains that have keys.
func TestCompletion(t *testing.T) {
	if !inside(t) {
		return
	}
	home, err := os.MkdirTemp("", "home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // a shell may still write its cache when zpty has ended
		for until := time.Now().Add(10 * time.Second); os.RemoveAll(home) != nil && time.Now().Before(until); {
			time.Sleep(10 * time.Millisecond)
		}
	})
	t.Setenv("HOME", home)
	if err := os.WriteFile(home+"/ask", []byte(atTerminal), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "dpkg -i "+deb(t, 1)+"; dkimkey add example.org --unsafe-activate")
	for shell, ask := range map[string]string{
		"bash": "timeout 20 zsh -f " + home + "/ask 'bash --norc -i' '. /usr/share/bash-completion/bash_completion' ",
		"zsh":  "timeout 20 zsh -f " + home + "/ask 'zsh -f -i' 'autoload -Uz compinit; compinit -u' ",
		"fish": "fish -c 'complete -C $argv[1]' ",
	} {
		for _, c := range []struct{ typed, want string }{
			{"signpost doct", "doctor"},
			{"signpost d", "dmarc"}, // one of two matches
			{"dkimkey rot", "rotate"},
			{"dkimkey show example.", "example.org"},
			{"greyskip --over", "--over-limit"},
		} {
			if out := run(t, ask+"'"+c.typed+"' "+c.want+" || true"); !strings.Contains(out, c.want) {
				t.Errorf("%s: %s<TAB> does not offer %s:\n%q", shell, c.typed, c.want, out)
			}
		}
	}
}
