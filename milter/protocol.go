package milter

import (
	"encoding/binary"
	"strings"
)

// The milter protocol, version 6, as Postfix implements it in src/milter/milter8.c, which follows mfdef.h of Sendmail. A packet is a
// length of four bytes in network byte order, a code of one byte, and data. The length counts the code and the data. Strings in the data
// end in NUL.

// Events.
const (
	eventOptions    = 'O'
	eventMacros     = 'D'
	eventConnect    = 'C'
	eventHELO       = 'H'
	eventMail       = 'M'
	eventRcpt       = 'R'
	eventHeader     = 'L'
	eventEndHeaders = 'N'
	eventBody       = 'B'
	eventEnd        = 'E'
	eventAbort      = 'A'
	eventQuit       = 'Q'
)

// Answers, and the edits that precede them.
const (
	answerContinue = 'c'
	answerReply    = 'y'
	answerDiscard  = 'd'
	editChange     = 'm'
	editInsert     = 'i'
	editQuarantine = 'q'
)

// SMFIF_*: with these flags, a milter requests permission for actions.
const (
	actionAdd        = 0x1
	actionChange     = 0x10
	actionQuarantine = 0x20
	actionMacros     = 0x100 // request macros by name
	needActions      = uint32(actionAdd | actionChange | actionQuarantine | actionMacros)
)

// SMFIP_*: with these flags, a milter asks Postfix to omit unused events, to expect no reply except at the end of a message, and to keep
// the space before a header value.
const (
	noUnknown       = 0x100
	noData          = 0x200
	silentHeader    = 0x80
	silentConnect   = 0x1000
	silentHELO      = 0x2000
	silentMail      = 0x4000
	silentRcpt      = 0x8000
	silentEndHeader = 0x40000
	silentBody      = 0x80000
	leadingSpace    = 0x100000
	needEvents      = uint32(noUnknown | noData | silentConnect | silentHELO | silentMail | silentRcpt | silentHeader |
		silentEndHeader | silentBody | leadingSpace)
)

// needVersion is the protocol version of Postfix 2.6 and later, the default of milter_protocol.
const needVersion = 6

// SMFIM_*: the stages for which macros are requested. A request overrides milter_*_macros in main.cf.
const (
	stageConnect    = 0
	stageMail       = 2
	stageEnd        = 5
	stageEndHeaders = 6

	macrosConnect = "{client_addr} {client_name} {client_ptr} {client_connections} {daemon_name} v j"
	macrosMail    = "{auth_authen} {auth_type}"
	macrosEnd     = "i"
)

// packetHead is the number of bytes before the data of a packet.
const packetHead = 5

// maxPacket limits the length of a packet, in bytes. Postfix sends a body in pieces of 64 KiB. A header field has at most
// header_size_limit bytes, 102400 by default.
const maxPacket = 1 << 20

// appendOptions appends the answer to the option negotiation.
func appendOptions(b []byte) []byte {
	return appendPacket(b, eventOptions, func(b []byte) []byte {
		for _, v := range []uint32{needVersion, needActions, needEvents} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		for _, stage := range []struct {
			number uint32
			macros string
		}{{stageConnect, macrosConnect}, {stageMail, macrosMail}, {stageEnd, macrosEnd}, {stageEndHeaders, macrosEnd}} {
			b = appendString(binary.BigEndian.AppendUint32(b, stage.number), stage.macros)
		}
		return b
	})
}

// appendPacket appends a packet. The function data appends the data of the packet.
func appendPacket(b []byte, code byte, data func([]byte) []byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, code)
	b = data(b)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

func appendString(b []byte, s string) []byte { return append(append(b, s...), 0) }

// appendField appends a packet that edits a header field. Line breaks in the value must be a bare LF, because Postfix converts each CR and
// each LF to CRLF.
func appendField(b []byte, code byte, index int, name, value string) []byte {
	return appendPacket(b, code, func(b []byte) []byte {
		b = appendString(binary.BigEndian.AppendUint32(b, uint32(index)), name)
		return appendString(b, strings.ReplaceAll(value, "\r\n", "\n"))
	})
}
