package main

import "signpost/internal/man"

// page returns what the manual page has beside the commands and their flags.
func page() man.Page {
	return man.Page{
		Section: "1",
		Files: [][2]string{
			{"/etc/signpost/greyskip.domains", "The domains, by custom: -f names the file."},
			{"FILE.state", "Beside the output FILE: the last good answer of each domain and when it was had, since when each network is listed, and whether the command of --reload is still to be run."},
			{".FILE.lock", "Beside the output FILE: held by the run that works on it; it is empty and stays."},
			{"/etc/signpost/signpost.toml, /etc/signpost/conf.d/*.toml", "The daemon's configuration: its name servers are asked. Where there is none, those of /etc/resolv.conf are."},
		},
		SeeAlso: []string{"postscreen(8)", "cidr_table(5)", "signpost(8)", "dkimkey(1)", "crontab(5)"},
	}
}
