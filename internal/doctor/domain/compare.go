package domain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	library "blitiri.com.ar/go/spf"

	"signpost/internal/doctor"
	"signpost/internal/spf"
)

// published is a resolver that returns a TXT record that is not yet published.
type published struct {
	spf.Resolver
	name, text string
}

func (p published) LookupTXT(ctx context.Context, name string) ([]string, error) {
	all, err := p.Resolver.LookupTXT(ctx, name)
	if strings.EqualFold(strings.TrimSuffix(name, "."), p.name) {
		return append(only(all, func(t string) bool { return !spf.IsRecord(t) }), p.text), nil
	}
	return all, err
}

// libraryResolver is the resolver for go/spf. Like net.Resolver, it returns the addresses of both families.
type libraryResolver struct{ spf.Resolver }

func (r libraryResolver) LookupIPAddr(ctx context.Context, host string) (all []net.IPAddr, err error) {
	four, err := r.LookupA(ctx, host)
	if err != nil && !spf.IsNotFound(err) {
		return nil, err
	}
	six, err := r.LookupAAAA(ctx, host)
	if err != nil && !spf.IsNotFound(err) {
		return nil, err
	}
	for _, a := range slices.Concat(four, six) {
		all = append(all, net.IPAddr{IP: a.AsSlice()})
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, err
}

// opinions are the results of an SPF check of one address by Signpost and by go/spf, an independent implementation.
type opinions struct {
	addr   netip.Addr
	ours   spf.Result
	theirs library.Result
	why    error // returned by go/spf
}

func (o opinions) differ() bool { return string(o.ours.Status) != string(o.theirs) }

// String returns both results in one line, for Where.
func (o opinions) String() string {
	reasons := ""
	if o.ours.Status != spf.Pass {
		reasons = "; Signpost: " + spfReason(o.ours)
	}
	if o.why != nil {
		reasons += "; go/spf: " + o.why.Error()
	}
	return fmt.Sprintf("%s: Signpost has %s, blitiri.com.ar/go/spf has %s%s", o.addr, o.ours.Status, o.theirs, reasons)
}

// compareSPF compares the SPF results for the addresses of this host with those of go/spf. If the results differ, it adds a finding, or
// adds the results to the first finding about the record.
func (l *examination) compareSPF(ctx context.Context) {
	var differ []opinions
	for _, addr := range l.own.Sends {
		o := opinions{addr: addr.Unmap(), ours: l.ownResult(ctx, l.view, addr)}
		o.theirs, o.why = library.CheckHostWithSender(o.addr.AsSlice(), l.own.HELO, "postmaster@"+l.domain, library.WithContext(ctx), library.WithResolver(libraryResolver{l.view}))
		var failed *net.DNSError
		switch {
		case o.ours.Status == spf.TempError:
			l.unknown(ctx, o.ours.Failed, l.errorOf(ctx, o.ours.Failed))
		case o.theirs == library.TempError:
			if errors.As(o.why, &failed) {
				l.unknown(ctx, failed.Name, failed)
			}
		case o.differ():
			differ = append(differ, o)
		}
	}
	if len(differ) == 0 {
		return
	}
	lines := doctor.Join(differ, "\n", opinions.String)
	for _, found := range [][]doctor.Finding{l.all, l.tree} {
		if len(found) > 0 {
			found[0].Where += "\n" + lines
			return
		}
	}
	text := differ[0].ours.Record
	f := doctor.Finding{Level: doctor.Yellow, Where: record(l.domain, text) + "\n" + lines,
		What: fmt.Sprintf("two implementations of SPF differ about %s: Signpost has %s, blitiri.com.ar/go/spf has %s", l.domain, differ[0].ours.Status, differ[0].theirs),
		Why:  "some receivers interpret the record differently, and reject mail from this host or treat it as junk"}
	for _, o := range slices.Backward(differ) {
		text = allow(text, o.addr)
	}
	f.Fix = record(l.domain, text)
	l.add(f)
}
