package worker

import "slices"

// exchangersOf returns the domains of the mail exchangers of a large receiver that sends reports, by its Organizational Domain. The mail
// exchangers of its customers are there, too. It returns nil for other receivers, whose mail exchangers have names in their own domain.
func exchangersOf(org string) []string {
	switch org {
	case "google.com":
		return []string{"google.com", "googlemail.com"}
	case "microsoft.com":
		return []string{"outlook.com", "mx.microsoft", "hotmail.com"}
	case "yahoo.com", "yahooinc.com":
		return []string{"yahoodns.net"}
	case "amazonses.com", "amazon.com":
		return []string{"amazonaws.com"}
	case "fastmaildmarc.com", "fastmail.com":
		return []string{"messagingengine.com"}
	case "mimecastreport.com", "mimecast.com":
		return []string{"mimecast.com"}
	case "netease.com", "163.com":
		return []string{"netease.com"}
	case "comcast.net", "mail.ru", "seznam.cz", "gmx.net", "web.de", "kundenserver.de", "zoho.com", "yandex.ru":
		return []string{org}
	}
	return nil
}

// anybodysMailbox reports whether anyone can have an address in a domain, and so could send a report that passes DMARC. Most operators of these
// domains send their reports from other domains, often from one below.
func anybodysMailbox(name string) bool {
	return slices.Contains([]string{"gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "yahoo.com", "ymail.com", "aol.com",
		"icloud.com", "me.com", "mac.com", "proton.me", "protonmail.com", "fastmail.com", "gmx.net", "gmx.de", "web.de", "comcast.net", "mail.ru",
		"yandex.ru", "seznam.cz", "zoho.com", "163.com", "126.com", "qq.com"}, name)
}
