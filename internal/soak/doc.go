// Package soak runs Signpost for an hour under load and faults: make soak. The test needs root.
//
// Two hosts with real Postfixes are a cluster. PostgreSQL has the data of the cluster, and MariaDB the domains and logins, which Postfix and Signpost read
// through the table server. BIND serves the zones, with a secondary that lags, and unbound resolves names. Package traffic makes the mail, and package
// judge decides about each message. Everything runs in a network namespace of its own.
//
// Environment variables choose what make soak runs:
//
//   - SIGNPOST_SOAK is the time, such as 1h.
//   - SIGNPOST_SEED chooses the messages and the order of the faults.
//   - SIGNPOST_RATE is the number of messages in a second.
//   - SIGNPOST_FAULT is a part of the name of the faults that occur; empty: all.
//   - SIGNPOST_CALM, if it is set, disables all faults.
package soak
