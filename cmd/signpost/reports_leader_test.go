package main

import (
	"strings"
	"testing"
	"time"

	"signpost/internal/testsql"
)

// If the leader sends no reports itself, a host that does takes the lease over.
func TestReportsLeaderWithoutReports(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		s := newReportSite(t, server, "a", "b")
		a, b := s.hosts[0], s.hosts[1]
		a.mail(9*hour, "c.example", 2)
		s.at(10*hour, a)
		s.at(night+20*time.Minute, a)
		s.lead(b) // which never runs reports send
		stop := s.polls(b, night+8*hour)
		s.at(night+8*hour, a)
		s.at(night+8*hour+20*time.Minute, a)
		stop()
		s.sent(map[string]string{}, "dmarc@c.example:2")
	})
}

// If the leader has sent reports, but its timer does not run any more, another host takes the lease over.
func TestReportsLeaderStops(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		s := newReportSite(t, server, "a", "b")
		a, b := s.hosts[0], s.hosts[1]
		seen := map[string]string{}
		a.mail(9*hour, "c.example", 2)
		s.at(night+20*time.Minute, a, b)
		s.at(night+8*hour, a, b)
		s.sent(seen, "dmarc@c.example:2")
		b.mail(night+9*hour, "c.example", 3)
		s.lead(a)
		stop := s.polls(a, 2*night+8*hour)
		s.at(2*night+8*hour, b)
		s.at(2*night+8*hour+20*time.Minute, b)
		stop()
		s.sent(seen, "dmarc@c.example:3")
	})
}

// A host of the cluster that receives no mail, and does not run reports send, delays no report, and no report states that its counts are missing.
func TestReportsHostWithoutMail(t *testing.T) {
	onBoth(t, func(t *testing.T, server *testsql.Server) {
		s := newReportSite(t, server, "a", "b", "c")
		a, b, c := s.hosts[0], s.hosts[1], s.hosts[2]
		a.mail(9*hour, "c.example", 2)
		for _, after := range []time.Duration{10 * hour, night + 20*time.Minute, night + 30*time.Minute} {
			s.at(after, a, b)
			if err := c.host.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if s.rounds() != 1 {
			t.Error("the reports are not made")
		}
		s.at(night+8*hour, a, b)
		for _, f := range s.sent(map[string]string{}, "dmarc@c.example:2") {
			if strings.Contains(f.Error, "missing") {
				t.Errorf("error element: %q", f.Error)
			}
		}
	})
}
