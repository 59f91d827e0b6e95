package policy

// LoginUse states whether the login of a message may use an address, according to the tables of sign.login_maps.
type LoginUse string

// The values of LoginUse.
const (
	UseAllowed  LoginUse = "allowed"
	UseDenied   LoginUse = "denied"   // the entry of the address does not have the login
	UseUnlisted LoginUse = "unlisted" // no table has an entry for the address
	UseUnknown  LoginUse = "unknown"  // a lookup failed, and there is no older answer
)

// UsedAddress is an address of the From or Sender field of outbound mail.
type UsedAddress struct {
	Address string   `json:"address,omitempty"` // with the domain as A-labels; empty if the login may use it
	Use     LoginUse `json:"use"`
	Table   string   `json:"table,omitempty"` // the table that has the entry, or whose lookup failed
}

// NeedsLogins reports whether the filter must look up the addresses of the From field in the tables of sign.login_maps. a and v are the
// results of AssignRole. The domain of From must be ours: it or a domain above it is hosted, or sign.domains or a table of domains.tables
// has it. This is so even if its mail is not signed.
func NeedsLogins(e Evidence, r Rules, a Assignment, v Verdict) bool {
	ours := a.Role == RoleSign
	switch a.Reason.Code {
	case ListedNoKey, NoActiveKey, NotInSignDomains, SubdomainOfHosted:
		ours = true
	}
	return r.checksLogin(e) && ours && v.Action == ""
}

// checksLogin reports whether sign.login_maps applies to the client of a message.
func (r Rules) checksLogin(e Evidence) bool { return r.LoginMaps && e.Envelope.Login != "" }

// MaySender reports whether the filter must also look up the address of the Sender field: the login may not use an address of From, but
// sign.login_sender is true.
func MaySender(e Evidence, r Rules) bool {
	_, failed := wrongUse(e.FromUse, r)
	return r.LoginSender && failed
}

// useOf returns the role and the verdict of outbound mail whose From addresses were looked up. It returns a and no verdict if the login may
// use them. If sign.login_mismatch is "log", it only records the reason.
func useOf(e Evidence, r Rules, a Assignment) (Assignment, Verdict) {
	wrong, failed := wrongUse(e.FromUse, r)
	if failed && r.LoginSender && e.SenderUse != nil {
		switch sender := *e.SenderUse; {
		case sender.Use == UseAllowed:
			failed = false
		case sender.Use == UseUnknown:
			wrong = sender
		}
	}
	if !failed {
		return a, Verdict{}
	}
	why := Reason{Code: LoginMismatch, Domain: e.Author.Domains[0], Detail: e.Envelope.Login, Address: wrong.Address}
	if wrong.Use == UseUnknown {
		why.Code, why.Detail = TableFailed, wrong.Table
	}
	switch {
	case r.LoginMismatch == Accept && a.Role == RoleBypass:
		return a, accept(why) // the reason of a states why it is not signed
	case r.LoginMismatch == Accept:
		a.Reason = why
		return a, Verdict{}
	}
	outbound := Assignment{Role: RoleSign, Reason: Reason{Code: submitter(e, r)}}
	if wrong.Use == UseUnknown {
		return outbound, refuse(replyCannotSign(), why)
	}
	return outbound, rejectFor(why)
}

// wrongUse returns the first address that the login may not use. If there is none, it returns the first address for which this is unknown.
func wrongUse(all []UsedAddress, r Rules) (wrong UsedAddress, found bool) {
	for _, u := range all {
		switch {
		case u.Use == UseAllowed, u.Use == UseUnlisted && r.LoginUnlisted == Accept:
		case u.Use != UseUnknown:
			return u, true
		case !found:
			wrong, found = u, true
		}
	}
	return wrong, found
}
