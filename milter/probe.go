package milter

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// ErrAnother says that a milter answers which is no Signpost.
var ErrAnother = errors.New("it is another milter")

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
	// What one says who has hung up already still tells what he is.
	_, wrote := c.Write(offer)
	want := appendOptions(nil)
	got := make([]byte, len(want))
	// Other milters answer with less than ours does, and then wait.
	head := got[:5]
	if _, err := io.ReadFull(c, head); err != nil {
		err = cmp.Or(wrote, err)
		return fmt.Errorf("it does not answer as a milter does: %w", err)
	}
	if head[4] != eventOptions {
		return errors.New("it does not answer as a milter does")
	}
	if string(head) != string(want[:5]) {
		return ErrAnother
	}
	if _, err := io.ReadFull(c, got[5:]); err != nil || string(got) != string(want) {
		return ErrAnother
	}
	return nil
}
