package allowlist

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"signpost/internal/term"
)

// mark is the text at the beginning of every file that greyskip may replace.
const mark = "# Allow list, made by greyskip(1) from SPF records"

// Formats returns the values of --format, the default first.
func Formats() []string { return []string{"postscreen", "cidr", "nftables", "pf", "rspamd"} }

// usedBy returns the line of the header that explains how to use the file.
func usedBy(format, file string) string {
	switch format {
	case "postscreen":
		return "postscreen_access_list = permit_mynetworks, cidr:" + file
	case "nftables":
		return "nft -f " + file + "; in rules of the table inet greyskip: ip saddr @ipv4 accept, ip6 saddr @ipv6 accept"
	case "pf":
		return "table <greyskip> persist file \"" + file + "\"; pfctl -t greyskip -T replace -f " + file
	case "rspamd":
		return "in multimap.conf: GREYSKIP { type = \"ip\"; map = \"" + file + "\"; }"
	}
	return ""
}

// render returns the text of a list. made is the date in its header.
func (m *Maker) render(l list, four, six []block, made time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. Do not edit: the next run replaces it.\n", mark)
	fmt.Fprintf(&b, "# Created on %s by: %s\n", made.UTC().Format(time.DateOnly), term.Printable(m.command(l)))
	fmt.Fprintf(&b, "# Networks: %d. Domains: %d. Each block has the domains that authorize it and the date since which it is listed.\n", len(l.set.Prefixes()), len(l.domains))
	if use := usedBy(m.Format, m.Output); use != "" && m.Output != "" {
		fmt.Fprintf(&b, "# %s\n", term.Printable(use))
	}
	for _, d := range l.domains {
		for _, note := range d.notes {
			fmt.Fprintf(&b, "# Note on %s: %s\n", d.domain, note)
		}
	}
	b.WriteString("\n")
	if m.Format == "nftables" {
		b.WriteString(nftables(four, six))
		return b.String()
	}
	end := ""
	if m.Format == "postscreen" {
		end = "\tpermit"
	}
	for _, bl := range slices.Concat(four, six) {
		bl.write(&b, "", end)
	}
	return b.String()
}

// command returns the command line that creates the list.
func (m *Maker) command(l list) string {
	words := []string{"greyskip"}
	add := func(when bool, more ...string) {
		if when {
			words = append(words, more...)
		}
	}
	add(m.DomainsFile != "", "-f", m.DomainsFile)
	add(m.Output != "", "-o", m.Output)
	add(m.Format != Formats()[0], "--format", m.Format)
	add(m.OverLimit, "--over-limit")
	add(m.Widest != DefaultWidest, "--widest", m.Widest)
	if m.DomainsFile == "" {
		for _, d := range l.domains {
			words = append(words, d.domain)
		}
	}
	return strings.Join(words, " ")
}

func (bl block) write(b *strings.Builder, indent, end string) {
	fmt.Fprintf(b, "%s# %s; since %s\n", indent, bl.from, bl.since)
	for _, p := range bl.networks {
		fmt.Fprintf(b, "%s%s%s\n", indent, p, end)
	}
}

// nftables returns two sets in a separate table. Only rules of that table can use them. The previous elements are deleted in the same
// transaction.
func nftables(four, six []block) string {
	var b strings.Builder
	one := func(name, kind string, blocks []block) {
		fmt.Fprintf(&b, "add set inet greyskip %s { type %s; flags interval; }\nflush set inet greyskip %s\n", name, kind, name)
		if len(blocks) == 0 {
			return
		}
		fmt.Fprintf(&b, "add element inet greyskip %s {\n", name)
		for _, bl := range blocks {
			bl.write(&b, "\t", ",")
		}
		b.WriteString("}\n")
	}
	b.WriteString("add table inet greyskip\n")
	one("ipv4", "ipv4_addr", four)
	one("ipv6", "ipv6_addr", six)
	return b.String()
}
