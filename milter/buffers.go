package milter

// buffers holds the buffers that no connection uses, for all connections together.
type buffers chan *[bufferSize]byte

const (
	// bufferSize is how many bytes are read at a time: a piece of a body as Postfix cuts it.
	bufferSize = 64 << 10
	// keptBuffers is how many are kept for later. Few connections have something unread at a time: as many as there are
	// processors, and those that wait for the rest of a packet.
	keptBuffers = 16
)

func (b buffers) get() *[bufferSize]byte {
	select {
	case p := <-b:
		return p
	default:
		return new([bufferSize]byte)
	}
}

func (b buffers) put(p *[bufferSize]byte) {
	select {
	case b <- p:
	default:
	}
}
