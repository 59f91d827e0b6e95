package main

import (
	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/journal"
	"signpost/policy"
)

// queryHelp describes the flags of queryFlags.
const queryHelp = "Filters are combined with AND. A WORD may be a list: --spf fail,softfail. A TIME is " + journal.TimeFormats + ".\n" +
	"With --from, --mail-from, --rcpt and --login, an ADDRESS may be a domain: all addresses of this domain. Addresses are also found if the journal\n" +
	"has only hashes of them (journal.addresses)."

// queryFlags adds the flags of a query to a command.
func queryFlags(c *cobra.Command, q *journal.Query, load func() (*config.Config, error)) {
	f := c.Flags()
	f.StringVar(&q.Domain, "domain", "", "messages of this Author `DOMAIN`, that of the header From")
	f.StringVar(&q.Client, "client", "", "messages from this client, an `ADDRESS` or a network")
	f.StringVar(&q.From, "from", "", "messages with this `ADDRESS` in the header From, or with an address of this domain")
	f.StringVar(&q.MailFrom, "mail-from", "", "messages with this envelope sender, an `ADDRESS` or a domain; <> is the sender of bounces")
	f.StringVar(&q.Rcpt, "rcpt", "", "messages to this envelope recipient, an `ADDRESS` or a domain")
	f.StringVar(&q.Login, "login", "", "messages from clients with this `LOGIN`")
	f.StringVar(&q.MessageID, "message-id", "", "messages with this Message-`ID`")
	f.StringVar(&q.Selector, "selector", "", "messages with a DKIM signature or ARC seal with this `SELECTOR`")
	f.StringVar(&q.Code, "code", "", "messages with this reason: `CODE` is a code of the log, such as dmarc_fail")
	f.StringSliceVar(&q.Role, "role", nil, "messages with this role: `WORD` is sign, verify or bypass")
	f.StringSliceVar(&q.Action, "action", nil, "messages with this action: `WORD` is accept, sign, tag, hold, discard, tempfail or reject")
	f.StringSliceVar(&q.SPF, "spf", nil, "messages with this SPF result, a `WORD` such as fail")
	f.StringSliceVar(&q.DKIM, "dkim", nil, "messages whose best DKIM result is this `WORD`")
	f.StringSliceVar(&q.DMARC, "dmarc", nil, "messages whose worst DMARC result among the Author Domains is this `WORD`")
	f.StringSliceVar(&q.ARC, "arc", nil, "messages with this result of the ARC chain: `WORD` is pass or fail")
	f.BoolVar(&q.Failed, "failed", false, "messages with action tag, hold, discard, tempfail or reject, or that failed DMARC")
	f.StringVar(&q.Since, "since", "", "messages from this `TIME` on")
	f.StringVar(&q.Until, "until", "", "messages before this `TIME`")
	cli.Complete(c, map[string]cobra.CompletionFunc{"domain": hostedDomain(load), "client": cli.Any(), "from": cli.Any(), "mail-from": cli.Any(), "rcpt": cli.Any(), "login": cli.Any(),
		"message-id": cli.Any(), "selector": cli.Any(), "code": cli.Words(decision.Words(policy.Codes())...), "since": times(), "until": times()})
	for _, choice := range q.Choices() {
		cli.Complete(c, map[string]cobra.CompletionFunc{choice.Name: cli.Words(choice.Words...)})
	}
}

// times offers examples of times for shell completion.
func times() cobra.CompletionFunc { return cli.Words("1h", "24h", "7d", "14d") }
