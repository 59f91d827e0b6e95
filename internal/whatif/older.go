package whatif

import (
	"slices"

	"signpost/internal/dkim"
	"signpost/internal/dmarc"
	"signpost/internal/journal"
	"signpost/internal/spf"
	"signpost/policy"
)

// possibilities returns all evidence that is consistent with an entry. Entries of older versions lack the verified relays and the assumed
// status of a temperror; for newer entries, there is only one possibility.
func possibilities(e policy.Evidence) []policy.Evidence {
	all := []policy.Evidence{e}
	for i, d := range e.DMARC {
		switch {
		case d.Status == dmarc.TempError && d.Assumed == "" && d.Policy != "":
			all = slices.Concat(assuming(all, i, dmarc.Fail), assuming(all, i, dmarc.Pass))
		case d.Status == dmarc.TempError && d.Assumed == "":
			all = assuming(all, i, dmarc.None)
		}
	}
	if e.RelaysChecked || !slices.ContainsFunc(all, unauthenticated) {
		return all
	}
	switch proved, possible := relayed(e); {
	case proved:
		return relaying(all)
	case possible:
		return slices.Concat(all, relaying(all))
	}
	return all
}

// aboutDecides reports whether a message has results of ours, and its role depends on the Author Domain in these results. Older versions
// did not record that domain.
func aboutDecides(e policy.Evidence, r policy.Rules, a policy.Assignment) bool {
	if !e.OwnResults || e.ResultsAbout != "" {
		return false
	}
	e.ResultsAbout = policy.AboutOthers
	other, _ := policy.AssignRole(e, r)
	return other.Role != a.Role
}

func unauthenticated(e policy.Evidence) bool {
	return slices.ContainsFunc(e.DMARC, dmarc.Result.Unauthenticated)
}

// assuming returns the evidence with an assumed status of Author Domain i, whose result is temperror.
func assuming(all []policy.Evidence, i int, s dmarc.Status) []policy.Evidence {
	all = slices.Clone(all)
	for n := range all {
		all[n].DMARC = slices.Clone(all[n].DMARC)
		all[n].DMARC[i].Assumed = s
	}
	return all
}

// relaying returns the evidence with a verified relay added. Its kind does not affect the action.
func relaying(all []policy.Evidence) []policy.Evidence {
	all = slices.Clone(all)
	for n := range all {
		all[n].Relays = []policy.Relay{{Kind: policy.RelayARC}}
	}
	return all
}

// relayed reports whether an older entry proves that a relay sent the message, and whether a relay is possible.
func relayed(e policy.Evidence) (proved, possible bool) {
	if e.ARC != nil && e.ARC.Status == dkim.Pass {
		return true, true
	}
	has := func(field string) bool { return slices.Contains(e.Relayed, field) }
	bySPF := e.SPF != nil && e.SPF.Identity == spf.MailFrom && (e.SPF.Status == spf.Pass || e.SPF.Status == spf.TempError)
	passes := bySPF
	for _, s := range e.DKIM {
		if s.HeaderHolds || s.HoldsUntagged || s.Status == dkim.TempError {
			return false, true
		}
		passes = passes || s.Status == dkim.Pass
	}
	rewritten := bySPF && (journal.Hidden(e.Envelope.Sender) || spf.SRSDomain(e.Envelope.Sender) != "")
	return false, rewritten || passes && (has("List-Id") && has("List-Post") || has("a Resent- field"))
}
