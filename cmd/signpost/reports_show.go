package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"time"

	"signpost/internal/report"
	"signpost/internal/term"
)

func showReport(ctx context.Context, s *report.State, id string, asJSON bool, stdout io.Writer) error {
	f, all, found, err := s.Find(ctx, id)
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("%s: no such report\nhint: signpost reports lists the IDs", id)
	case asJSON:
		return term.WriteJSON(stdout, append([]report.Delivery{}, all...))
	}
	fmt.Fprintf(stdout, "%s\n%s, frozen %s\n", f.File, f.Domain, f.Created.Format(time.RFC3339))
	for _, d := range all {
		line := d.Destination + ": " + string(d.Stage) + " " + d.Changed.UTC().Format(time.RFC3339)
		if d.Host != "" {
			line += " by " + d.Host
		}
		if d.Detail != "" {
			line += ": " + d.Detail
		}
		if d.Bounced != "" {
			line += "; bounced: " + d.Bounced
		}
		fmt.Fprintln(stdout, term.Printable(line))
	}
	z, err := gzip.NewReader(bytes.NewReader(f.Gzip))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "\n%s\n", term.PrintableLines(string(text)))
	return nil
}
