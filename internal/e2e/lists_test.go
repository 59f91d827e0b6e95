package e2e

import (
	"fmt"
	"strings"
	"testing"

	"signpost/internal/dkim"
	"signpost/internal/testmta"
	"signpost/internal/testport"
	"signpost/policy"
)

// A list manager on this host receives inbound mail with our results and relays it by SMTP and by sendmail(1). With the list's own From,
// the mail is signed. With the author's From, the mail is not signed. In particular, a forgery of a hosted domain is not signed.
func TestListManager(t *testing.T) {
	needRoot(t)
	// This is the service in docs/lists.md, "Mailing lists on this server", for a list manager that removes our results.
	port, release, err := testport.Take("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	unsigned := fmt.Sprintf("127.0.0.1:%d", port)
	w := newWorld(t, setup{
		zone: "_dmarc.stranger.example. TXT \"v=DMARC1; p=none\"\n_dmarc.example.org. TXT \"v=DMARC1; p=none\"\n",
		mta:  testmta.Options{MasterCF: unsigned + " inet n - n - - smtpd\n  -o content_filter=\n  -o receive_override_options=no_milters\n"},
	})
	smtp := func(server, mail string) {
		s := w.dial(server, "")
		w.cmd(s, 250, "MAIL FROM:<list-bounces@example.org>")
		w.cmd(s, 250, "RCPT TO:<bob@example.net>")
		if _, err := s.Data(250, []byte(dkim.CRLF(mail))); err != nil {
			t.Fatal(err)
		}
	}
	sendmail := func(mail string) {
		if err := w.Sendmail(w.context(), "list-bounces@example.org", []string{"bob@example.net"}, []byte(mail)); err != nil {
			t.Fatal(err)
		}
	}
	count := 0
	inbound := func(author string) string {
		t.Helper()
		w.swaks(w.SMTP, append(client(""), letter(author)...)...)
		count++
		mail := w.mail(count)
		if !strings.Contains(head(mail), "header.from="+author[strings.Index(author, "@")+1:]) {
			t.Fatalf("no result about %s:\n%s", author, head(mail))
		}
		_, mail, _ = strings.Cut(mail, "\nDelivered-To: ") // virtual(8) adds this field; Postfix would treat a second one as a mail loop
		_, mail, _ = strings.Cut(mail, "\n")
		return mail
	}
	passedOn := func() string {
		t.Helper()
		count++
		return w.mail(count)
	}

	stranger, forged := inbound("bob@stranger.example"), inbound("boss@example.org")
	munged := strings.Replace(stranger, "From: bob@stranger.example", "From: Bob via List <list@example.org>", 1)
	for _, send := range []func(string){func(m string) { smtp(w.SMTP, m) }, sendmail} {
		send(munged)
		mail := passedOn()
		w.signed(mail, "example.org")
		if got := field(mail, "Authentication-Results"); len(got) != 0 {
			t.Errorf("a signed message keeps our results: %q", got)
		}
		for _, m := range []string{stranger, forged} {
			send(m)
			mail := passedOn()
			w.unsigned(mail)
			if got := field(mail, "Authentication-Results"); len(got) != 1 {
				t.Errorf("the results have changed: %q", got)
			}
		}
	}
	for _, author := range []string{"stranger.example", "example.org"} {
		why := policy.Reason{Code: policy.OwnResults, Domain: author, Detail: string(policy.AboutAuthor)}
		parts := []string{"code=own_results role=bypass header_from=" + author, fmt.Sprintf("reason=%q", why.String())}
		w.until("both messages of "+author+" are logged", func() bool { return w.lines(parts...) == 2 && w.lines(append(parts, "smtp=false")...) == 1 })
	}

	results := strings.Index(forged, "Authentication-Results: ")
	stripped := forged[:results] + forged[results+strings.Index(forged[results:], "\nReceived:")+1:]
	smtp(unsigned, stripped)
	mail := passedOn()
	w.unsigned(mail)
	if got := field(mail, "Authentication-Results"); len(got) != 0 {
		t.Errorf("not stripped: %q", got)
	}
}
