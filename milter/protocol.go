package milter

import (
	"encoding/binary"
	"strings"
)

// The milter protocol, version 6, as Postfix speaks it (its src/milter/milter8.c, after sendmail's mfdef.h). A packet is a
// length in four octets, most significant first, that counts a code and data; strings in the data end in NUL.

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

// Answers, and edits before them.
const (
	answerContinue = 'c'
	answerReply    = 'y'
	editChange     = 'm'
	editInsert     = 'i'
	editQuarantine = 'q'
)

// SMFIF_*: what we may do to a message.
const (
	actionAdd        = 0x1
	actionChange     = 0x10
	actionQuarantine = 0x20
	actionMacros     = 0x100 // say which macros are sent
	needActions      = uint32(actionAdd | actionChange | actionQuarantine | actionMacros)
)

// SMFIP_*: what we ask Postfix to do: send no unused events, wait for no reply except at the end of a message, and keep the
// space before a header value.
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

// needVersion is the protocol of Postfix 2.6 and later, the default of milter_protocol.
const needVersion = 6

// SMFIM_*: the stages for which macros are asked, whatever milter_*_macros in main.cf say.
const (
	stageConnect    = 0
	stageMail       = 2
	stageEnd        = 5
	stageEndHeaders = 6

	macrosConnect = "{client_addr} {client_name} {client_ptr} {client_connections} {daemon_name} v j"
	macrosMail    = "{auth_authen} {auth_type}"
	macrosEnd     = "i"
)

// packetHead is how many bytes precede a packet's data.
const packetHead = 5

// maxPacket bounds a packet; a body comes in pieces of 64 KiB, a header field is at most header_size_limit, 100 KiB by
// default.
const maxPacket = 1 << 20

// appendOptions appends our side of the negotiation.
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

// appendPacket adds a packet whose data is what data adds.
func appendPacket(b []byte, code byte, data func([]byte) []byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, code)
	b = data(b)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

func appendString(b []byte, s string) []byte { return append(append(b, s...), 0) }

// appendField adds an edit of a header field. Postfix wants bare LF in folds: it would make CRLF of each CR and each LF.
func appendField(b []byte, code byte, index int, name, value string) []byte {
	return appendPacket(b, code, func(b []byte) []byte {
		b = appendString(binary.BigEndian.AppendUint32(b, uint32(index)), name)
		return appendString(b, strings.ReplaceAll(value, "\r\n", "\n"))
	})
}
