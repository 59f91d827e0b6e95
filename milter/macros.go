package milter

import "bytes"

// macros holds those macros of one packet that this package uses.
type macros struct {
	addr, name, ptr, daemon, mta string // at CONNECT
	smtp                         bool   // {client_connections} is set; smtpd(8) sends it, cleanup(8) does not
	login                        string // at MAIL
	queueID                      string // Postfix sends it at the end of the header and at the end of the message
}

// readMacros parses the data of a macro packet: the code of the event, then alternating names and values.
func readMacros(data []byte) (m macros) {
	if len(data) > 0 {
		data = data[1:]
	}
	for len(data) > 0 {
		var name, value []byte
		name, data, _ = bytes.Cut(data, []byte{0})
		value, data, _ = bytes.Cut(data, []byte{0})
		switch string(name) {
		case "{client_addr}":
			m.addr = string(value)
		case "{client_name}":
			m.name = string(value)
		case "{client_ptr}":
			m.ptr = string(value)
		case "{client_connections}":
			m.smtp = true
		case "{daemon_name}":
			m.daemon = string(value)
		case "j":
			m.mta = string(value)
		case "{auth_authen}":
			m.login = string(value)
		case "i":
			m.queueID = string(value)
		}
	}
	return m
}
