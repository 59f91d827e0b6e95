package explain

import (
	"fmt"
	"io"

	"signpost/internal/cluster/messages"
	"signpost/policy"
)

// WriteParts explains a message that one or several hosts handled, in the order of time. It begins with a line for each host if there are
// several.
func WriteParts(w io.Writer, parts []messages.Message) {
	if len(parts) > 1 {
		var rows []Row
		label := "hosts"
		for _, p := range parts {
			rows = append(rows, Row{label, fmt.Sprintf("%s %s %s", Date(p.Time), p.Host, Did(&p))})
			label = ""
		}
		writeRows(w, rows)
		fmt.Fprintln(w)
	}
	for i := range parts {
		if i > 0 {
			fmt.Fprintln(w)
		}
		writeRows(w, []Row{{"host", parts[i].Host}})
		WriteEntry(w, &parts[i].Entry)
	}
}

// Did returns what a host did with a message, such as "received it from 192.0.2.1: tag". Our own results in a message that is not verified show that another host received it first.
func Did(m *messages.Message) string {
	what := "received it"
	switch {
	case m.OwnResults && m.Role != policy.RoleVerify:
		what = "sent it on; it received it"
	case m.Role == policy.RoleSign:
		what = "received it as outbound mail"
	}
	action := string(m.Decided())
	if m.Observe {
		action = "(" + action + ")"
	}
	return fmt.Sprintf("%s from %s: %s", what, m.Addr(), action)
}
