package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"signpost/internal/config"
	"signpost/internal/report/received"
	"signpost/internal/report/seen"
	"signpost/internal/report/status"
)

// selectorAlarms writes what receivers saw of our keys to the file that dkimkey reads. It returns the alarms about them.
func selectorAlarms(ctx context.Context, conf *config.Config, store *received.Store, networks []netip.Prefix, trusted []string, now time.Time) (alarms []status.Alarm, err error) {
	all, err := keyStatus(conf, now)
	if err != nil {
		return nil, err
	}
	f := seen.File{Written: now.UTC(), Since: now.UTC().Add(-seen.Period)}
	var ours []received.Key
	for _, k := range all {
		if k.Selector != "" {
			ours = append(ours, received.Key{Domain: k.Domain, Selector: k.Selector, Algorithm: k.Algorithm})
		}
	}
	f.Selectors, err = store.Selectors(ctx, ours, networks, func(reporter string) bool { return slices.Contains(trusted, reporter) }, f.Since)
	if err == nil {
		err = f.Write(conf.StateDir)
	}
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		a := f.Alarm(k, now)
		if a == nil {
			continue
		}
		reporters := slices.Sorted(slices.Values(a.Reporters))
		alarms = append(alarms, status.Alarm{Code: status.SelectorFails, Domain: k.Domain, Selector: strings.ToLower(k.Selector),
			Reporters: reporters[:min(len(reporters), status.MaxReporters)], Messages: a.Failed, Total: a.Messages, Since: a.Since, Last: a.Last})
	}
	return alarms, nil
}
