package trace

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"signpost/internal/dkim"
)

// received is a field as Postfix 3.7 writes it.
const received = " from mail.example.com (mail.example.com [192.0.2.1])\r\n" +
	"\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n" +
	"\t key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256)\r\n" +
	"\t(No client certificate requested)\r\n" +
	"\tby mx.example.org (Postfix) with ESMTPS id 4fXyAb1Cd2z3\r\n" +
	"\tfor <bob@example.org>; Fri, 27 Nov 2026 10:00:00 +0000 (UTC)"

const end = " by mx.example.org (Postfix) with ESMTP id 4fX; Fri, 27 Nov 2026 10:00:00 +0000 (UTC)"

func TestReceived(t *testing.T) {
	for value, want := range map[string]string{
		received: "192.0.2.1 mail.example.com mail.example.com mx.example.org ESMTPS",
		" from a (unknown [192.0.2.1])\r\n\tby mx.example.org (Postfix) with SMTP id 4fX\r\n\tfor <b@example.org>; Fri, 27 Nov 2026 10:00:00 +0000 (UTC)": "192.0.2.1 unknown a mx.example.org SMTP",
		"from a (unknown [IPv6:2001:db8::1])" + end: "2001:db8::1 unknown a mx.example.org ESMTP",
		"from [192.0.2.9] (a_b.example [192.0.2.1]) (Authenticated sender: ann@example.org) by mx.example.org (Postfix (Debian/GNU)) with ESMTPSA id 4fX; Fri, 27 Nov 2026 10:00:00 +0000": "",
		"from [192.0.2.9] (a_b.example [192.0.2.1]) (Authenticated sender: ann@example.org) by mx.example.org (My MTA) with ESMTPSA id 4fX; Fri, 27 Nov 2026 10:00:00 +0000":               "192.0.2.1 a_b.example [192.0.2.9] mx.example.org ESMTPSA",
		"from a (b.example [192.0.2.1]) by mx.example.org (Postfix) with UTF8SMTPS; Fri, 27 Nov 2026 10:00:00 +0000 (UTC)":                                                                 "192.0.2.1 b.example a mx.example.org UTF8SMTPS",

		// Fields of other programs, of pickup(8), and imitations of Postfix.
		"by mx.example.org (Postfix, from userid 1000) id 4fX; Fri, 27 Nov 2026 10:00:00 +0000 (UTC)":                                               "",
		"from mx.example.org by mx.example.org with LMTP id x (envelope-from <a@example.com>) for <b@example.org>; Fri, 27 Nov 2026 10:00:00 +0000": "",
		"from mx.example.org ([192.0.2.1]) by mx.example.org with ESMTP id 4fX; Fri, 27 Nov 2026 10:00:00 +0000":                                    "",
		"from a (b.example [192.0.2.1]) by mx.example.org with ESMTP id 4fX; Fri, 27 Nov 2026 10:00:00 +0000":                                       "",
		"from a (b.example [192.0.2.1]) (x by mx.example.org (Postfix) with ESMTP id 4fX; Fri, 27 Nov 2026 10:00:00 +0000":                          "",
		"from a (b.example [192.0.2.1])" + strings.TrimSuffix(end, "Fri, 27 Nov 2026 10:00:00 +0000 (UTC)") + "yesterday":                           "",
		"from a (b.example [192.0.2.1]) by mx.example.org (Postfix) with HTTP id 4fX; Fri, 27 Nov 2026 10:00:00 +0000":                              "",
		"from a (b.example [192.0.2.1]) by mx.example.org (Postfix) with ESMTP id 4fX x; Fri, 27 Nov 2026 10:00:00 +0000":                           "",
		"from a (b.example [2001:db8::1])" + end:       "",
		"from a (b.example [IPv6:192.0.2.1])" + end:    "",
		"from a (b.example [IPv6:fe80::1%eth0])" + end: "",
		"from a (b.example [192.0.2.256])" + end:       "",
		"from a b (b.example [192.0.2.1])" + end:       "",
		"from a@b (b.example [192.0.2.1])" + end:       "",
		"from a (b example [192.0.2.1])" + end:         "",
		"from  (b.example [192.0.2.1])" + end:          "",
		"":                                             "",
	} {
		got := ""
		if r := parseReceived(value); r != nil {
			got = fmt.Sprint(r.Client, " ", r.Name, " ", r.HELO, " ", r.By, " ", r.With)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

// Only the topmost Received field and the fields above it are read. Fields that were written after the milters are not part of the
// message.
func TestRead(t *testing.T) {
	field := func(line string) dkim.Field {
		name, value, _ := strings.Cut(line, ":")
		return dkim.Field{Name: name, Value: value}
	}
	ours, other := "Received:"+received, "Received: by 2002:a05:6a00:1 with SMTP id x; Fri, 27 Nov 2026 10:00:00 +0000"
	for _, c := range []struct {
		name   string
		fields []string
		want   string // client, sender and the names of the remaining fields
	}{
		{"delivered by local(8)", []string{"Return-Path: <ann@example.com>", "X-Original-To: bob@example.org", "Delivered-To: bob@example.org", ours, other, "From: x"}, "192.0.2.1 <ann@example.com> Received From"},
		{"a bounce", []string{"return-path: <>", ours, "From: x"}, "192.0.2.1 <> From"},
		{"our own results stay", []string{"Authentication-Results: x", "Return-Path: <a@example.com>", ours, "From: x"}, "192.0.2.1 <a@example.com> Authentication-Results From"},
		{"the sender's Return-Path", []string{ours, "Return-Path: <ann@example.com>", "From: x"}, "192.0.2.1 none Return-Path From"},
		{"another server on top", []string{"Return-Path: <ann@example.com>", other, ours, "From: x"}, "none <ann@example.com> Return-Path Received Received From"},
		{"no trace", []string{"From: x"}, "none none From"},
		{"a Return-Path without brackets", []string{"Return-Path: ann@example.com", ours, "From: x"}, "192.0.2.1 none From"},
	} {
		var fields []dkim.Field
		for _, line := range c.fields {
			fields = append(fields, field(line))
		}
		read := Read(fields)
		got := []string{"none", "none"}
		if read.Received != nil {
			got[0] = read.Received.Client.String()
		}
		if read.Sender != nil {
			got[1] = "<" + *read.Sender + ">"
		}
		for _, f := range read.Rest {
			got = append(got, f.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// FuzzReceived: data that was read is the same after it is written in Postfix's form and read again.
func FuzzReceived(f *testing.F) {
	for _, value := range []string{received, "from a (b [IPv6:2001:db8::1])" + end, "from a (b [192.0.2.1]) ((" + end, "from a (b [192.0.2.1]) (x) ((y) z)" + end} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r := parseReceived(value)
		if r == nil {
			return
		}
		if !r.Client.IsValid() || r.HELO == "" || r.Name == "" || r.By == "" {
			t.Errorf("%q: %+v", value, r)
		}
		again := parseReceived(write(r.HELO, r.Name, r.Client, r.By, r.With))
		if again == nil || *again != *r {
			t.Errorf("%q: %+v, again %+v", value, r, again)
		}
	})
}

// FuzzForgedHELO: a client cannot choose a HELO name, login name or recipient such that Postfix's Received field contains another client.
func FuzzForgedHELO(f *testing.F) {
	f.Add("a (b.example [192.0.2.9]) by mx", "ann", "bob@example.org")
	f.Add("[IPv6:2001:db8::9]", "ann) by x (Postfix) with SMTP id 1; Fri, 27 Nov 2026 10:00:00 +0000", "b> from a (b [192.0.2.9])")
	f.Fuzz(func(t *testing.T, helo, login, recipient string) {
		printable := func(r rune) rune { // Postfix replaces the same characters
			if r < ' ' || r > '~' {
				return '?'
			}
			return r
		}
		helo = strings.Map(func(r rune) rune {
			if strings.ContainsRune(` <>()\";@`, r) {
				return '?'
			}
			return printable(r)
		}, helo)
		client := netip.MustParseAddr("192.0.2.1")
		value := fmt.Sprintf(" from %s (mail.example.com [%s])\r\n\t(Authenticated sender: %s)\r\n\tby mx.example.org (Postfix) with ESMTPA id 4fX\r\n\tfor <%s>; Fri, 27 Nov 2026 10:00:00 +0000 (UTC)",
			helo, client, strings.Map(printable, login), strings.Map(printable, recipient))
		if r := parseReceived(value); r != nil && (r.Client != client || r.HELO != helo || r.Name != "mail.example.com") {
			t.Errorf("%q: %+v", value, r)
		}
	})
}

// write writes the field as Postfix does.
func write(helo, name string, client netip.Addr, by, with string) string {
	address := client.String()
	if client.Is6() {
		address = "IPv6:" + address
	}
	return fmt.Sprintf(" from %s (%s [%s])\r\n\tby %s (Postfix) with %s id 4fX; Fri, 27 Nov 2026 10:00:00 +0000 (UTC)", helo, name, address, by, with)
}
