package milter

// buffers is the pool of read buffers that are currently not in use. All connections share it.
type buffers chan *[bufferSize]byte

const (
	// bufferSize is the maximum number of bytes read at a time: Postfix sends a body in pieces of this size.
	bufferSize = 64 << 10
	// keptBuffers is the maximum number of unused buffers in the pool. Only a few connections need a buffer at the same time: about one
	// connection for each processor, and the connections that wait for the rest of a packet.
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
