// Package send sends DMARC aggregate reports: it looks up the destinations of a report, writes the message, passes it to an SMTP server, and
// reads the bounces. Package report computes the reports.
//
//	summary, err := send.Run(ctx, send.Options{Store: store, Resolver: resolver, Server: server, ...})
package send
