package trial

import (
	"context"
	"errors"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"signpost/internal/decision"
	"signpost/internal/dmarc"
	"signpost/internal/doctor"
	"signpost/keys"
	"signpost/policy"
)

// site returns a site whose Postfix has these settings and tables. The name of a table is TYPE:NAME; its entries are "TYPE:NAME KEY".
func site(main, tables map[string]string) *Site {
	return &Site{
		Postconf: func(_ context.Context, args ...string) (string, error) {
			switch args[0] {
			case "-M":
				return main["master.cf"], nil
			case "-P":
				return main["overrides"], nil
			}
			var out strings.Builder
			for name, value := range main {
				out.WriteString(name + " = " + value + "\n")
			}
			return out.String(), nil
		},
		Ask: func(_ context.Context, table, key string) (string, bool, error) {
			if table == "broken:t" {
				return "", false, errors.New("no answer")
			}
			value, found := tables[table+" "+key]
			return value, found, nil
		},
		Progress: func(string, ...any) {}, Timeout: time.Second, Grace: time.Millisecond, Journal: true,
	}
}

// Addresses cannot contain SMTP commands, header fields, or options of sendmail(1).
func TestAddress(t *testing.T) {
	for address, good := range map[string]bool{"ann@exämple.org": true, "-x@example.org": true, "änn@example.org": false, "ann@example.org": true, "ann+x@mail.example.org": true, "o'neil@example.org": true, "ann": false, "@example.org": false, "ann@": false, "": false,
		"ann@example.org\r\nRCPT TO:<x@y.example>": false, "a b@example.org": false, "<ann@example.org>": false, "\"a b\"@example.org": false, "ann@exa mple.org": false, "a\n@example.org": false, "a@b@example.org": false, "ann@[127.0.0.1]": false, "a,b@example.org": false} {
		got, err := Address(address)
		if (err == nil) != good || good && got != strings.ReplaceAll(address, "exämple", "xn--exmple-cua") {
			t.Errorf("%q: %q %v", address, got, err)
		}
	}
}

// Forged mail is sent to addresses of this host only.
func TestForgedMailStaysHere(t *testing.T) {
	for server, good := range map[string]bool{"127.0.0.1:25": true, "localhost:25": true, "[::1]:25": true, "203.0.113.1:25": false, "mail.example.net:25": false, "25": false} {
		if err := onHost(server); (err == nil) != good {
			t.Errorf("%s: %v", server, err)
		}
	}
}

// The services are found by their ports, in the order of the ports.
func TestServices(t *testing.T) {
	s := site(map[string]string{"master.cf": "smtp inet n - y - - smtpd\nsubmissions inet n - y - - smtpd -o smtpd_tls_wrappermode=yes\n192.0.2.1:587 inet n - y - - smtpd\npickup unix n - y 60 1 pickup\nsmtp unix - - y - - smtp\n25 unix n - y - - smtpd\n"}, nil)
	all, err := s.services(t.Context(), "587", "465")
	if err != nil || len(all) != 2 || all[0].id != "192.0.2.1:587/inet" || all[0].address != "192.0.2.1:587" || all[0].tls || all[1].id != "submissions/inet" || all[1].address != "127.0.0.1:465" || !all[1].tls {
		t.Errorf("%+v %v", all, err)
	}
	for interfaces, address := range map[string]string{"": "127.0.0.1:25", "all": "127.0.0.1:25", "203.0.113.1, 127.0.0.1": "127.0.0.1:25", "203.0.113.1": "203.0.113.1:25", "[2001:db8::1]": "[2001:db8::1]:25"} {
		s = site(map[string]string{"master.cf": "smtp inet n - y - - smtpd\n", "inet_interfaces": interfaces}, nil)
		if all, _ = s.services(t.Context(), "25"); len(all) != 1 || all[0].address != address {
			t.Errorf("%s: %+v", interfaces, all)
		}
	}
}

// Each code of an unsigned message has its own fix, and no finding lacks a text.
func TestUnsigned(t *testing.T) {
	for code, fix := range map[policy.Code]string{policy.NotHosted: "dkimkey add example.org", policy.NoActiveKey: "dkimkey rotate example.org --wait", policy.NoUsableKey: "dkimkey status example.org",
		policy.SubdomainOfHosted: "dkimkey add", policy.NotInSignDomains: "# in [sign]", policy.SkipNetwork: "skip_networks", policy.LoginMismatch: "--from ADDRESS", policy.TableFailed: "signpost doctor", policy.OwnResults: "signpost explain QUEUE"} {
		r := &decision.Record{Code: code}
		r.Role, r.Reason, r.Action = policy.RoleBypass, policy.Reason{Code: code, Domain: "example.org"}, policy.Accept
		m := &Message{Name: bySendmail, From: "ann@example.org", QueueID: "QUEUE", record: r}
		f := (&Site{File: "signpost.toml"}).unsigned(m)
		if f.Level != doctor.Red || !strings.Contains(f.Fix, fix) || f.What == "" || f.Where == "" || f.Why == "" {
			t.Errorf("%s: %+v", code, f)
		}
	}
}

// The findings of doctor follow the step that they explain, and each is shown once.
func TestAttach(t *testing.T) {
	r := Report{Messages: []Message{{Name: bySendmail, Findings: []doctor.Finding{{Check: stepMilter, Level: doctor.Red}, {Check: stepRecord}, {Check: stepRecord}}}, {Name: bySubmission, Findings: []doctor.Finding{{Check: stepMilter, Level: doctor.Red}}}}}
	r.attach([]doctor.Finding{{Check: "smtpd-milters", Level: doctor.Red}, {Check: "non-smtpd-milters", Level: doctor.Red}, {Check: "dkim", Level: doctor.Red}, {Check: "socket-answers", Level: doctor.Green}, {Check: "clock", Level: doctor.Yellow}})
	var got []string
	for _, m := range r.Messages {
		for _, f := range m.Findings {
			got = append(got, f.Check)
		}
	}
	if want := "milter non-smtpd-milters record record dkim milter smtpd-milters"; strings.Join(got, " ") != want || len(r.Other) != 1 || r.Other[0].Check != "clock" || !r.Red() {
		t.Errorf("%q, other %v", got, r.Other)
	}
}

// What receivers find depends on the records of the keys and on the alignment.
func TestReceivers(t *testing.T) {
	for _, c := range []struct {
		o      keys.Outcome
		status dmarc.Status
		want   doctor.Level
	}{{keys.Outcome{Ready: true}, dmarc.Pass, doctor.Green}, {keys.Outcome{Ready: true}, dmarc.None, doctor.Yellow}, {keys.Outcome{Differs: true}, dmarc.None, doctor.Red}, {keys.Outcome{Differs: true}, dmarc.Fail, doctor.Red},
		{keys.Outcome{Ready: true}, dmarc.TempError, doctor.Yellow}} {
		var signers []string
		s := &Site{Look: func(context.Context, string, string) (string, keys.Outcome) { return "rsa", c.o }, DMARC: func(_ context.Context, _ string, all []string) dmarc.Result {
			signers = all
			return dmarc.Result{Status: c.status}
		}}
		r := &decision.Record{Selectors: []string{"s1"}}
		r.Assignment.Domain = "example.org"
		m := &Message{From: "ann@example.org", record: r}
		s.published(t.Context(), m)
		if last := m.Findings[len(m.Findings)-1]; last.Check != stepReceivers || last.Level != c.want || (len(signers) > 0) != c.o.Ready {
			t.Errorf("%+v: %+v, signers %q", c, last, signers)
		}
	}
}

// A reply to a forged message is right or wrong, depending on the record and on the policy.
func TestVerdict(t *testing.T) {
	record := func(role policy.Role, action policy.Action) *decision.Record {
		r := &decision.Record{Code: policy.DMARCFail}
		r.Role, r.Action = role, action
		return r
	}
	observed := record(policy.RoleVerify, policy.Accept)
	observed.Observe, observed.Would = true, policy.Reject
	for _, c := range []struct {
		r     *decision.Record
		f     forgery
		reply string
		want  doctor.Level
	}{
		{record(policy.RoleVerify, policy.Reject), forgery{policy: dmarc.PolicyReject}, "550 5.7.1 no", doctor.Green},
		{record(policy.RoleVerify, policy.Reject), forgery{policy: dmarc.PolicyReject}, "250 ok", doctor.Red},
		{record(policy.RoleVerify, policy.Tag), forgery{policy: dmarc.PolicyQuarantine}, "250 ok", doctor.Green},
		{record(policy.RoleVerify, policy.Tag), forgery{policy: dmarc.PolicyReject}, "250 ok", doctor.Red},
		{record(policy.RoleVerify, policy.Accept), forgery{policy: dmarc.PolicyReject}, "250 ok", doctor.Red},
		{record(policy.RoleVerify, policy.Tempfail), forgery{policy: dmarc.PolicyReject}, "451 later", doctor.Yellow},
		{record(policy.RoleBypass, policy.Accept), forgery{policy: dmarc.PolicyReject}, "250 ok", doctor.Yellow},
		{observed, forgery{policy: dmarc.PolicyReject}, "250 ok", doctor.Yellow}, {record(policy.RoleVerify, policy.Accept), forgery{policy: dmarc.PolicyReject}, "550 another milter", doctor.Yellow},
		{nil, forgery{policy: dmarc.PolicyReject}, "250 ok", doctor.Red}, {nil, forgery{policy: dmarc.PolicyReject}, "554 no", doctor.Yellow},
	} {
		m := &Message{record: c.r}
		(&Site{Journal: true}).verdict(m, c.f, c.reply, "fix")
		if len(m.Findings) != 1 || m.Findings[0].Level != c.want || m.Findings[0].Level != doctor.Green && m.Findings[0].Fix == "" {
			t.Errorf("%+v %s: %+v", c.r, c.reply, m.Findings)
		}
	}
}

// The password is not sent to a server that does not offer AUTH.
func TestPasswordNeedsAUTH(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var commands []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		p := textproto.NewConn(c)
		_ = p.PrintfLine("220 mx.example.org ESMTP")
		for {
			line, err := p.ReadLine()
			if err != nil {
				return
			}
			commands = append(commands, line)
			_ = p.PrintfLine("250 mx.example.org")
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, _, err = submit(ctx, service{id: "x", address: ln.Addr().String()}, Options{From: "a@example.org", To: "b@example.org", Login: "ann", Password: "secret"}, "mx.example.org", "x")
	<-done
	var f *failure
	if !errors.As(err, &f) || f.at != stageAuth || f.finding(service{}, Options{}).Fix == "" || strings.Contains(strings.Join(commands, " "), "AUTH") {
		t.Errorf("%v, %q", err, commands)
	}
}
