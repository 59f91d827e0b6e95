package dkim

import "strings"

// index finds the fields of a header by name. The number of memory allocations does not depend on the number of fields.
type index struct {
	ids   map[string]int // maps a name to its index in last; names are in lower case and have no white space before the colon
	last  []int          // for each name, the index of its lowest field
	above []int          // for each field, the index of the next field above it with the same name, or -1
}

func newIndex(fields []Field) index {
	numbers := make([]int, 2*len(fields))
	x := index{ids: make(map[string]int, len(fields)), last: numbers[:0:len(fields)], above: numbers[len(fields):]}
	size := 0
	for _, f := range fields {
		size += len(f.Name)
	}
	// All names are parts of one string. At first, above contains the index at which each name ends in that string. The next loop replaces
	// these values by the final ones.
	joined := make([]byte, 0, size)
	for i, f := range fields {
		joined = appendName(joined, f.Name)
		x.above[i] = len(joined)
	}
	names, start := string(joined), 0
	for i, end := range x.above {
		name := names[start:end]
		start = end
		id, known := x.ids[name]
		if !known {
			id = len(x.last)
			x.ids[name] = id
			x.last = append(x.last, -1)
		}
		x.above[i], x.last[id] = x.last[id], i
	}
	return x
}

// appendName appends a name in the form that is used to compare names.
func appendName(dst []byte, name string) []byte {
	for i := 0; i < len(name); i++ {
		if name[i] >= 0x80 {
			return append(dst, strings.ToLower(strings.TrimRight(name, " \t"))...)
		}
	}
	return appendLower(dst, name)
}

// lowest returns the index of the lowest field with a name, or -1. The name is in lower case.
func (x *index) lowest(name string) int {
	if id, ok := x.ids[name]; ok {
		return x.last[id]
	}
	return -1
}

// all returns the indexes of all fields with a name, from top to bottom. The name is in lower case.
func (x *index) all(name string) []int {
	n := 0
	for i := x.lowest(name); i >= 0; i = x.above[i] {
		n++
	}
	if n == 0 {
		return nil
	}
	at := make([]int, n)
	for i := x.lowest(name); i >= 0; i = x.above[i] {
		n--
		at[n] = i
	}
	return at
}
