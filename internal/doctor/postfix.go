package doctor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"signpost/internal/config"
)

// Postfix looks at a Postfix, and whether its settings lead to the daemon.
type Postfix struct {
	Dir    string         // of its configuration; empty: what postconf takes by itself
	Config *config.Config // the daemon's
	File   string         // where that was read

	root string // of the machine that other programs are set up on; empty: /
}

// site is one look at everything: what Postfix says, and what the daemon was told.
type site struct {
	Postfix
	ctx    context.Context
	facts  *facts
	config *config.Config
}

// siteCheck is one thing to look at. run gives what is not as it should be; nothing is good.
type siteCheck struct {
	name, good string
	run        func() []Finding
}

// Check looks at Postfix.
func (p Postfix) Check(ctx context.Context) []Finding {
	l := &site{Postfix: p, ctx: ctx, config: p.Config}
	var err error
	if l.facts, err = readFacts(ctx, p.Dir); err != nil {
		f := Finding{Check: "postfix", Level: Red, What: "postconf does not say how Postfix is set up", Where: printable(fmt.Sprint(err)),
			Why: "nothing about Postfix can be looked at", Fix: "apt-get install postfix"}
		if !errors.Is(err, exec.ErrNotFound) {
			f.Fix = "mend what it names, until `" + (&facts{dir: p.Dir}).command() + " -n` is content"
		}
		return []Finding{f}
	}
	return run(l.postfixChecks())
}

func run(checks []siteCheck) (all []Finding) {
	for _, c := range checks {
		found := c.run()
		if len(found) == 0 {
			found = []Finding{{Level: Green, What: c.good}}
		}
		seen := map[string]bool{} // several services may have one cause
		for _, f := range found {
			if f.Fix != "" && seen[f.Fix] {
				continue
			}
			seen[f.Fix] = true
			f.Check = c.name
			all = append(all, f)
		}
	}
	return all
}

// postfixChecks are all looks at Postfix, in the order in which to mend.
func (l *site) postfixChecks() []siteCheck {
	return []siteCheck{
		{"postfix", "Postfix " + printable(l.facts.main["mail_version"]), l.unknown},
		{"smtpd-milters", "mail by SMTP comes to Signpost", l.smtpdMilters},
		{"non-smtpd-milters", "mail of this host comes to Signpost", l.nonSMTPDMilters},
		{"socket-path", "Postfix's names for the socket lead to it", l.socketPath},
		{"milter-order", "no milter stands after Signpost", l.milterOrder},
		{"other-signer", "no other milter signs", l.otherSigners},
		{"reinjection", "no mail comes to Signpost twice", l.reinjection},
		{"list-managers", "no table that can be read names a list manager", l.listManagers},
		{"milter-maps", "no table takes clients away from the milters", l.milterMaps},
		{"default-action", "without the daemon, mail waits", l.defaultAction},
		{"milter-protocol", "Postfix speaks protocol 6", l.milterProtocol},
		{"milter-timeouts", "Postfix waits long enough", l.milterTimeouts},
		{"internal-mail", "bounces are signed", l.internalMail},
		{"eight-bit", "no text is converted between signing and verifying", l.eightBit},
		{"generic-maps", "nothing is rewritten after it was signed", l.genericMaps},
		{"header-rewrite", "nothing is rewritten before it is verified", l.headerRewrite},
		{"client-names", "Postfix looks up clients' names", l.clientNames},
		{"policy-prepend", "milters delete the field that they mean", l.policyPrepend},
		{"bare-newline", "no message is smuggled in behind another", l.bareNewline},
		{"originating", "no stranger is taken for a user", l.originating},
		{"mynetworks", "Postfix's networks are trusted here too", l.myNetworks},
	}
}
