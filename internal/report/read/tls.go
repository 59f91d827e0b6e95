package read

import (
	"encoding/json"
	"fmt"
	"io"
)

// tls reads a TLS report. Names are compared without case, and unknown ones are skipped. Numbers may be strings, and any value null.
func tls(r io.Reader) (*Report, error) {
	v := newValues(r)
	report := &Report{Kind: TLS}
	var begin, end string
	recognized := false
	policies, failures, omitted := 0, 0, 0
	v.members(v.token(), func(key string, t json.Token) {
		switch key {
		case "organization-name":
			report.OrgName = text(v.text(t))
		case "contact-info":
			report.Contact = text(v.text(t))
		case "report-id":
			report.ID = text(v.text(t))
		case "date-range":
			v.members(t, func(key string, t json.Token) {
				switch key {
				case "start-datetime":
					begin = text(v.text(t))
				case "end-datetime":
					end = text(v.text(t))
				default:
					v.skip(t)
				}
			})
		case "policies":
			v.items(t, func(t json.Token) {
				if policies++; policies > maxRows {
					v.fail(TooMany, "policies")
				}
				p, ok := v.policy(t, &failures)
				if !ok {
					omitted++
					return
				}
				report.Policies = append(report.Policies, p)
			})
		default:
			v.skip(t)
			return
		}
		recognized = true
	})
	switch {
	case !recognized && (v.err == nil || CauseOf(v.err) == Malformed):
		return nil, notReport()
	case v.err != nil:
		return nil, v.err
	case len(report.Policies) == 0:
		return nil, malformed("no policy with a valid policy-domain")
	}
	if err := report.period(begin, end); err != nil {
		return nil, err
	}
	report.Domain = report.Policies[0].Domain
	if omitted > 0 {
		report.note(fmt.Sprintf("policies without a valid policy-domain: %d", omitted))
	}
	report.complete()
	return report, nil
}

// policy reads an element of policies. ok is false if it has no valid domain. failures counts those of the report.
func (v *values) policy(t json.Token, failures *int) (p TLSPolicy, ok bool) {
	v.members(t, func(key string, t json.Token) {
		switch key {
		case "policy":
			v.members(t, func(key string, t json.Token) {
				switch key {
				case "policy-type":
					p.Type = word(v.text(t))
				case "policy-domain":
					p.Domain, ok = domainName(v.text(t))
				case "mx-host", "mx-host-pattern": // RFC 8460 has both
					v.items(t, func(t json.Token) {
						if host := name(v.text(t)); host != "" && len(p.Hosts) < maxKept {
							p.Hosts = append(p.Hosts, host)
						}
					})
				default:
					v.skip(t)
				}
			})
		case "summary":
			v.members(t, func(key string, t json.Token) {
				switch key {
				case "total-successful-session-count":
					p.Successful, _ = count(v.text(t))
				case "total-failure-session-count":
					p.Failed, _ = count(v.text(t))
				default:
					v.skip(t)
				}
			})
		case "failure-details":
			v.items(t, func(t json.Token) {
				if *failures++; *failures > maxRows {
					v.fail(TooMany, "failures")
				}
				if f := v.failure(t); f != (TLSFailure{}) {
					p.Failures = append(p.Failures, f)
				}
			})
		default:
			v.skip(t)
		}
	})
	return p, ok
}

func (v *values) failure(t json.Token) (f TLSFailure) {
	v.members(t, func(key string, t json.Token) {
		s := v.text(t)
		switch key {
		case "result-type":
			f.Type = word(s)
		case "sending-mta-ip":
			f.Sending = address(s)
		case "receiving-mx-hostname":
			f.MX = name(s)
		case "receiving-ip":
			f.Address = address(s)
		case "failed-session-count":
			f.Count, _ = count(s)
		case "failure-reason-code":
			f.Reason = text(s)
		case "additional-information":
			f.Info = text(s)
		}
	})
	return f
}
