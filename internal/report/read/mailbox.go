package read

import (
	"bufio"
	"bytes"
	"io"
)

// Each calls f for each report or message in a file: a report (see [File]), a message, or the messages of an mbox. n is the number of the
// message in the mbox, from 1; it is 0 if the file is no mbox. err is the error of File or Message. Each stops at an error of r or f, and
// returns it. It keeps one message in memory.
func Each(r io.Reader, f func(n int, report *Report, err error) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	switch head, err := in.Peek(512); {
	case err != nil && err != io.EOF:
		return err
	case bytes.HasPrefix(head, []byte(mboxFrom)):
		return eachOf(in, f)
	case archive(in) != "", bytes.HasPrefix(head, []byte("\xfe\xff")), bytes.HasPrefix(head, []byte("\xff\xfe")), startsDocument(head):
		return pass(0, f, File, in)
	}
	return pass(0, f, Message, in)
}

// startsDocument reports whether a file is XML or JSON, not a message.
func startsDocument(head []byte) bool {
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	return len(head) > 0 && (head[0] == '<' || head[0] == '{')
}

// pass passes what read returns to f. An error of the reader is returned.
func pass(n int, f func(int, *Report, error) error, read func(io.Reader) (*Report, error), in io.Reader) error {
	report, err := read(in)
	if err != nil && CauseOf(err) == "" {
		return err
	}
	return f(n, report, err)
}

// mboxFrom begins the line before each message of an mbox. Programs that write an mbox quote other lines that begin with it.
const mboxFrom = "From "

// eachOf calls f for each message of an mbox.
func eachOf(in *bufio.Reader, f func(n int, report *Report, err error) error) error {
	for n := 1; ; n++ {
		if err := discardLine(in); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		m := &mboxMessage{in: in, start: true}
		if err := pass(n, f, Message, m); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, m); err != nil {
			return err
		}
	}
}

// mboxMessage is a reader of one message of an mbox. It ends before a line with mboxFrom that follows an empty line.
type mboxMessage struct {
	in    *bufio.Reader
	rest  []byte // of a line that was read
	start bool   // the next byte begins a line
	empty bool   // the line before it is empty
}

func (m *mboxMessage) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		if m.start && m.empty {
			if head, _ := m.in.Peek(len(mboxFrom)); string(head) == mboxFrom {
				return 0, io.EOF
			}
		}
		if err := m.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// next reads a line, or a part of a long one.
func (m *mboxMessage) next() error {
	line, err := m.in.ReadSlice('\n')
	if len(line) == 0 {
		return err
	}
	m.empty = m.start && len(bytes.TrimRight(line, "\r\n")) == 0
	m.start = line[len(line)-1] == '\n'
	m.rest = line
	return nil
}

// discardLine reads a line.
func discardLine(in *bufio.Reader) error {
	for {
		if _, err := in.ReadSlice('\n'); err != bufio.ErrBufferFull {
			return err
		}
	}
}
