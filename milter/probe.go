package milter

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
)

// Probe negotiates at a socket as Postfix does, and hangs up. nil: a Signpost answers there. network is "tcp" or "unix".
func Probe(network, address string, deadline time.Time) error {
	c, err := (&net.Dialer{Deadline: deadline}).Dial(network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	const all = 0x1ff // SMFIF_*, of which ours are some; all of SMFIP_* likewise
	offer := appendPacket(nil, eventOptions, func(b []byte) []byte {
		for _, v := range []uint32{needVersion, all, 0x1fffff} {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return b
	})
	if _, err := c.Write(offer); err != nil {
		return err
	}
	want := appendOptions(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return errors.New("it does not answer as a milter does: " + err.Error())
	}
	if string(got) != string(want) {
		return errors.New("it is another milter")
	}
	return nil
}
