package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"signpost/internal/config"
	"signpost/internal/decision"
	"signpost/internal/doctor"
	"signpost/internal/spf"
	"signpost/policy"
)

// inboundMail returns n messages from a client, with one role and SPF result.
func inboundMail(n int, client string, role policy.Role, status spf.Status) []*decision.Record {
	all := make([]*decision.Record, n)
	for i := range all {
		e := policy.Evidence{QueueID: fmt.Sprint(client, i), Connection: policy.Connection{Client: netip.MustParseAddr(client), SMTP: true}}
		if status != "" {
			e.SPF = &spf.Result{Status: status}
		}
		all[i] = &decision.Record{Evidence: e, Assignment: policy.Assignment{Role: role}, Verdict: policy.Verdict{Action: policy.Accept}}
	}
	return all
}

// doctor reads the clients of inbound mail and their SPF results from the journal, for the last 7 days. It ignores clients that the
// configuration now trusts or skips.
func TestDoctorFindsGateway(t *testing.T) {
	gateway := func(n int) []*decision.Record {
		return append(inboundMail(n/2, "192.0.2.5", policy.RoleVerify, spf.Fail), inboundMail(n/2, "192.0.2.5", policy.RoleVerify, spf.SoftFail)...)
	}
	others := func(n int) (all []*decision.Record) {
		for i := range n {
			all = append(all, inboundMail(1, fmt.Sprintf("203.0.113.%d", i), policy.RoleVerify, spf.Pass)...)
		}
		return all
	}
	mail := func(all ...[]*decision.Record) (reports []*decision.Record) {
		for _, some := range all {
			reports = append(reports, some...)
		}
		return reports
	}
	for _, c := range []struct {
		name    string
		toml    string
		age     time.Duration
		reports []*decision.Record
		want    string // what the check prints
	}{
		{name: "a gateway", reports: mail(gateway(80), others(120)), want: "192.0.2.5 delivers 40 % of inbound mail, and SPF fails for 100 % of that"},
		{name: "six days ago", age: 6 * 24 * time.Hour, reports: mail(gateway(80), others(120)), want: "192.0.2.5 delivers 40 %"},
		{name: "eight days ago", age: 8 * 24 * time.Hour, reports: mail(gateway(80), others(120)), want: "too few inbound messages in the journal to find a mail gateway: 0 of 100"},
		{name: "outbound mail does not count", reports: mail(gateway(80), others(120), inboundMail(400, "198.51.100.1", policy.RoleSign, "")), want: "192.0.2.5 delivers 40 %"},
		{name: "after the fix", toml: "[verify]\nskip_networks = [\"192.0.2.5\"]\n", reports: mail(gateway(80), others(120)), want: "in a sample of 120 inbound messages"},
		{name: "trusted since", reports: mail(inboundMail(80, "127.0.0.1", policy.RoleVerify, spf.Fail), others(120)), want: "in a sample of 120 inbound messages"},
		{name: "SPF has no opinion", reports: mail(inboundMail(80, "192.0.2.5", policy.RoleVerify, spf.None), others(120)), want: "in a sample of 200 inbound messages"},
		{name: "a small host", reports: mail(gateway(40), others(50)), want: "too few inbound messages in the journal to find a mail gateway: 90 of 100"},
		{name: "no journal", want: "too few inbound messages in the journal to find a mail gateway: 0 of 100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, postfix := doctorHost(t, c.toml)
			conf, err := config.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.reports) > 0 {
				if err := os.Mkdir(conf.StateDir, 0o700); err != nil {
					t.Fatal(err)
				}
				keepReports(t, conf, time.Now().Add(-c.age), c.reports...)
			}
			_, out, errs := doctorSays(t, "-c", file, "--postfix", postfix, "--json")
			var found []doctor.Finding
			if err := json.Unmarshal([]byte(out), &found); err != nil {
				t.Fatalf("%v\n%s%s", err, out, errs)
			}
			var got []string
			for _, f := range found {
				if f.Check == "gateway" {
					got = append(got, f.What)
				}
			}
			if len(got) != 1 || !strings.Contains(got[0], c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// If the journal cannot be read in time, doctor reports a timeout, not that there is too little mail.
func TestDoctorGatewayTimeout(t *testing.T) {
	conf := stateIn(t)
	keepReports(t, conf, time.Now(), inboundMail(200, "192.0.2.5", policy.RoleVerify, spf.Fail)...)
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if in := inbound(late, conf, time.Now()); in.Err == nil || !strings.Contains(in.Err.Error(), "timeout") {
		t.Errorf("%+v", in)
	}
}
