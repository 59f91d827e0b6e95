package main

import "signpost/internal/man"

// page returns what the manual page has beside the commands and their flags.
func page() man.Page {
	return man.Page{
		Section: "1",
		Files: [][2]string{
			{"/etc/signpost/signpost.toml", "The configuration, that of the daemon."},
			{"/etc/signpost/conf.d/*.toml", "Files that are read after it: signpost.toml(5)."},
			{"/var/lib/signpost/keys/DOMAIN/SELECTOR.pem", "A private key. Its life is in SELECTOR.json beside it: when it was made, published, seen, made to sign, retired, revoked and removed."},
			{"/var/lib/signpost/hosted/DOMAIN", "Says that mail of the domain has to be signed."},
			{"/var/lib/signpost/locks/DOMAIN", "Locked while a command works on the domain; it holds the process ID."},
			{"/var/lib/signpost/rotate.json", "When rotate ran last."},
		},
		SeeAlso: []string{"signpost(8)", "signpost.toml(5)", "crontab(5)"},
	}
}
