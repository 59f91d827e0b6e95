package send

import (
	"bytes"
	"context"
	"log/slog"

	"signpost/internal/report"
	"signpost/internal/spool"
)

// Returned reads the bounces in a spool, and suppresses the addresses to which a delivery has failed for good. The first line of each
// message in the spool is its recipient. It returns the number of bounces that suppressed an address.
func Returned(ctx context.Context, s *report.State, dir spool.Dir, reportsDomain string, log *slog.Logger) (n int, err error) {
	return n, dir.Each(func(text []byte) error {
		recipient, message, _ := bytes.Cut(text, []byte("\n"))
		mac, ok := report.ParseEnvelopeSender(string(recipient), reportsDomain)
		if !ok {
			return nil
		}
		status, ok := Failure(message)
		if !ok {
			return nil
		}
		d, known, err := s.Bounce(ctx, mac, status)
		if err != nil || !known {
			return err
		}
		n++
		log.Info("a report bounced, its destination is suppressed", "report", d.Report.ID, "domain", d.Report.Domain, "destination", d.Destination, "status", status)
		return nil
	})
}
