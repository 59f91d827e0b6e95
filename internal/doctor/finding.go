// Package doctor looks at a mail server as a troubleshooting service would: at its Postfix, at this machine, and at what
// its domains publish. It changes nothing.
package doctor

// Level is how bad a finding is.
type Level string

// The levels, as a traffic light has them.
const (
	Green  Level = "green"  // as it should be
	Yellow Level = "yellow" // works, and will not always or not for everybody
	Red    Level = "red"    // mail is lost, unsigned, or passes forged
)

// Finding is one thing that was looked at. Its texts are printable: what comes from DNS or from files is quoted.
type Finding struct {
	Check string `json:"check"` // the check's name, as docs/operations.md lists it
	Level Level  `json:"level"`
	What  string `json:"what"`            // what was found, in one line
	Where string `json:"where,omitempty"` // the file, parameter or DNS name where it was seen, and what stands there
	Why   string `json:"why,omitempty"`   // why it matters; not for green
	Fix   string `json:"fix,omitempty"`   // the exact line to type, write or publish; not for green
}
