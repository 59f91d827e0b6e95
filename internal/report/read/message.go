package read

import "io"

// Message reads a whole mail message.
func Message(io.Reader) (*Report, error) { return nil, &Error{Cause: NotReport} }
