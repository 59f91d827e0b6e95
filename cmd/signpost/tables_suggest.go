package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/doctor/postfix"
	"signpost/internal/lookup"
)

func tablesSuggestCommand() *cobra.Command {
	var relay bool
	var postfixDir string
	c := &cobra.Command{
		Use:   "suggest",
		Short: "Print the settings for the lookup tables of Postfix's configuration",
		Long: "Read Postfix's configuration with postconf(1), and print the lines for /etc/signpost/conf.d/tables.toml: the tables and domains\n" +
			"of virtual_mailbox_domains, virtual_alias_domains and mydestination, in main.cf and in the -o options of master.cf. Names\n" +
			"without a dot and the host name are omitted. relay_domains is read only with --relay, because the mail of these domains\n" +
			"is often sent by another host.\n\n" +
			"If smtpd_sender_login_maps is set, also print the settings that apply it to the From field.",
		Example: "  signpost tables suggest\n  signpost tables suggest --relay >/etc/signpost/conf.d/tables.toml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := postfixDirectory(postfixDir); err != nil {
				return err
			}
			entries, err := postfix.DomainEntries(c.Context(), postfixDir, relay)
			if err != nil {
				return err
			}
			logins, err := postfix.ReadLogins(c.Context(), postfixDir)
			if err != nil {
				return err
			}
			if len(logins.Entries) > 0 && logins.Delimiter != "" {
				fmt.Fprintf(c.OutOrStdout(), "recipient_delimiter = %q\n\n", logins.Delimiter)
			}
			if err := suggestTables(c.OutOrStdout(), entries); err != nil {
				return err
			}
			suggestLogins(c.OutOrStdout(), logins)
			return nil
		},
	}
	c.Flags().BoolVar(&relay, "relay", false, "include relay_domains")
	c.Flags().StringVar(&postfixDir, "postfix", "", "the `DIRECTORY` of main.cf (default: that of postconf(1))")
	cli.Complete(c, map[string]cobra.CompletionFunc{"postfix": cli.Any()})
	return c
}

// suggestTables writes the TOML text of domains.tables. Domains that main.cf or master.cf itself names become tables of type inline.
func suggestTables(w io.Writer, entries []postfix.DomainEntry) error {
	type row struct{ value, from string }
	var rows []row
	var inline, inlineFrom, unused []string
	for _, e := range entries {
		switch {
		case e.Text != "":
			unused = append(unused, fmt.Sprintf("# not usable: %s (%s): %s", e.Text, e.Where, e.Why))
		case e.Domain != "":
			if item := e.Domain + "=1"; !slices.Contains(inline, item) {
				inline = append(inline, item)
			}
			if !slices.Contains(inlineFrom, e.Where) {
				inlineFrom = append(inlineFrom, e.Where)
			}
		case lookup.Valid(e.Table) != nil:
			unused = append(unused, fmt.Sprintf("# not usable: %.60s (%s): %v", e.Table, e.Where, lookup.Valid(e.Table)))
		case !slices.ContainsFunc(rows, func(r row) bool { return r.value == e.Table }):
			rows = append(rows, row{e.Table, e.Where})
		}
	}
	for len(inline) > 0 {
		const begin, end = "inline:{ ", " }"
		n, size := 0, len(begin+end)
		for n == 0 || n < len(inline) && size+len(inline[n])+len(" ") <= lookup.MaxTable {
			size += len(inline[n]) + len(" ")
			n++
		}
		rows = append(rows, row{begin + strings.Join(inline[:n], " ") + end, strings.Join(inlineFrom, ", ")})
		inline = inline[n:]
	}
	if len(rows) == 0 {
		message := "no usable table or domain found in virtual_mailbox_domains, virtual_alias_domains and mydestination"
		for _, line := range unused {
			message += "\n" + strings.TrimPrefix(line, "# ")
		}
		return errors.New(message)
	}
	fmt.Fprintln(w, "[domains]\ntables = [")
	for _, r := range rows {
		fmt.Fprintf(w, "    %s, # %s\n", strconv.Quote(r.value), r.from)
	}
	fmt.Fprintln(w, "]")
	for _, line := range unused {
		fmt.Fprintln(w, line)
	}
	return nil
}

// suggestLogins writes the TOML text of the settings about logins. It writes nothing if smtpd_sender_login_maps is empty.
func suggestLogins(w io.Writer, l postfix.Logins) {
	var tables, unused []string
	for _, e := range l.Entries {
		why := e.Why
		if err := lookup.Valid(e.Table); e.Table != "" && err != nil {
			why = err.Error()
		}
		switch {
		case why != "":
			unused = append(unused, fmt.Sprintf("# not usable: %.60s (%s): %s", e.Text+e.Table, e.Where, why))
		case !slices.Contains(tables, e.Table):
			tables = append(tables, e.Table)
		}
	}
	if len(tables) > 0 {
		fmt.Fprintln(w, "\n[sign]\nlogin_maps = [")
		for _, table := range tables {
			fmt.Fprintf(w, "    %s, # smtpd_sender_login_maps\n", strconv.Quote(table))
		}
		fmt.Fprintln(w, "]")
		writeList(w, "login_local", l.Local)
		unlisted, services := "accept", l.Accept
		if len(l.Reject) > 0 {
			unlisted, services = "reject", l.Reject
		}
		from := "no service has a restriction that uses smtpd_sender_login_maps"
		if len(services) > 0 {
			from = strings.Join(services, ", ")
		}
		fmt.Fprintf(w, "login_unlisted = %q # %s\n", unlisted, from)
		if len(l.Reject) > 0 && len(l.Accept) > 0 {
			fmt.Fprintf(w, "# but %s: accept\n", strings.Join(l.Accept, ", "))
		}
		fmt.Fprintln(w, "login_mismatch = \"log\" # for a first week; then \"reject\"")
	}
	for _, line := range unused {
		fmt.Fprintln(w, line)
	}
}

// writeList writes a key whose value is a list. It writes nothing if the list is empty.
func writeList(w io.Writer, key string, values []string) {
	if len(values) == 0 {
		return
	}
	var quoted []string
	for _, v := range values {
		quoted = append(quoted, strconv.Quote(v))
	}
	fmt.Fprintf(w, "%s = [%s]\n", key, strings.Join(quoted, ", "))
}
