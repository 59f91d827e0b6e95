package packaging

import (
	"os"
	"strings"
	"testing"
)

// asSignpost is the prefix of a command that user signpost runs.
const asSignpost = "setpriv --reuid signpost --regid signpost --clear-groups "

// The package never follows links in directories that user signpost owns. With any links in them, an upgrade, systemd-tmpfiles at boot,
// a removal and a purge succeed. None of these steps changes root's directory.
func TestLinksAreNotFollowed(t *testing.T) {
	if !inside(t) {
		return
	}
	run(t, "dpkg -i "+deb(t, 1))
	run(t, `mkdir -m 0755 /etc/victim; echo secret >/etc/victim/journal.db; chmod 600 /etc/victim/journal.db; mkdir /etc/victim/empty
cat >/run/attack <<'END'
cd /var/lib/signpost
for name in keys locks journal; do
	mv $name $name.away
	ln -s $1 $name
done
cd /var/spool/postfix/signpost
rm -f milter.sock
if [ -d $1 ]; then mkdir milter.sock; else ln -s /etc/victim/journal.db milter.sock; fi
END
`)
	state := func() string {
		return run(t, "find /etc/victim -exec stat -c '%n %F %a %U:%G %s' {} + | sort; cat /etc/victim/journal.db")
	}
	before := state()
	for _, target := range []string{"/etc/victim", "/etc/victim/empty", "/etc/victim/absent"} {
		run(t, asSignpost+"sh -e /run/attack "+target)
		for _, step := range []string{"dpkg -i " + deb(t, 2), "systemd-tmpfiles --create signpost.conf || true", "dpkg -r signpost", "dpkg -P signpost"} {
			out := run(t, step)
			if after := state(); after != before {
				t.Fatalf("links to %s, %s changed\n%sinto\n%s%s", target, step, before, after, out)
			}
		}
		if _, err := os.Lstat("/var/lib/signpost/journal"); err == nil {
			t.Errorf("the purge left the link to %s", target)
		}
		run(t, asSignpost+`sh -ec 'cd /var/lib/signpost; rm -f keys locks; for name in keys locks journal; do mv $name.away $name; done; rm -rf /var/spool/postfix/signpost/milter.sock'`)
		run(t, "dpkg -i "+deb(t, 1))
	}
	for _, name := range []string{"keys", "locks", "journal"} {
		if got := rights(t, "/var/lib/signpost/"+name); got != "700 signpost:signpost" {
			t.Errorf("%s: %s", name, got)
		}
	}
	// Changes of the administrator are kept.
	run(t, "mv /var/lib/signpost /srv/signpost; ln -s /srv/signpost /var/lib/signpost; chmod 750 /srv/signpost")
	run(t, "dpkg -i "+deb(t, 2))
	if got := rights(t, "/srv/signpost"); got != "750 signpost:signpost" || !strings.Contains(run(t, "readlink /var/lib/signpost"), "/srv/signpost") {
		t.Errorf("state_dir elsewhere: %s", got)
	}
}
