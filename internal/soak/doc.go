// Package soak runs Signpost for an hour with real Postfixes, a name server and faults: make soak. Package traffic makes the mail, and package
// judge decides about each message.
package soak
