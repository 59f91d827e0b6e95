package main

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"signpost/internal/config"
	"signpost/internal/setup"
)

// reverseTime limits the time for the names of all addresses. Addresses without an answer have no name.
const reverseTime = 2 * time.Second

// reverse looks up the names of addresses (PTR), all at the same time. The names are not verified.
func reverse(ctx context.Context, conf *config.Config, all []netip.Addr) map[netip.Addr]string {
	names := map[netip.Addr]string{}
	resolver, err := setup.Resolver(conf, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		return names
	}
	ctx, cancel := context.WithTimeout(ctx, reverseTime)
	defer cancel()
	var mu sync.Mutex
	var done sync.WaitGroup
	for _, a := range all {
		done.Go(func() {
			found, err := resolver.View(netip.Addr{}).LookupAddr(ctx, a.String())
			if err != nil || len(found) == 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			names[a] = strings.TrimSuffix(found[0], ".")
		})
	}
	done.Wait()
	return names
}
