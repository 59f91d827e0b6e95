package journal

import _ "embed"

// words are what entries are made of; what stands at the end is found cheapest. They must never change under a
// version of the database: nothing that was written with them could be read.
//
//go:embed dictionary.txt
var words []byte
