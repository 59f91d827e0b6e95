// Package seen has what receivers reported about the signatures of our keys. signpost reports read writes it to a file, so that dkimkey and the
// web page need not open the database of the reports.
package seen

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"signpost/internal/durable"
)

// File is the content of selectors.json. It has verified reports only, and only keys of this site, so reporters cannot add names to it.
type File struct {
	Written   time.Time  `json:"written"`
	Since     time.Time  `json:"since"` // earlier reports are not counted
	Selectors []Selector `json:"selectors"`
}

// Selector is what receivers saw of the signatures with a selector on mail from the addresses of this site.
type Selector struct {
	Domain    string    `json:"domain"`
	Selector  string    `json:"selector"`
	Algorithm string    `json:"algorithm"`
	Messages  int64     `json:"messages"`   // the sum of the following three
	Passed    int64     `json:"passed"`     // result pass
	Failed    int64     `json:"failed"`     // fail or permerror
	NotJudged int64     `json:"not_judged"` // neutral, policy or another word: the receiver did not verify the signature. Temporary errors are not counted
	Receivers int       `json:"receivers"`  // that sent reports
	Last      time.Time `json:"last"`       // the end of the newest report
	Failing   []Failing `json:"failing,omitempty"`
	// Trusted is the number of messages that passed or failed at trusted reporters since the first failure in Failing.
	Trusted int64 `json:"trusted_messages"`
}

// Failing is a reporter at which signatures fail: in its newest report with the selector, and maybe in earlier ones without interruption.
type Failing struct {
	Reporter string    `json:"reporter"` // the domain in d= that was verified
	Trusted  bool      `json:"trusted"`
	Failed   int64     `json:"failed"`
	Messages int64     `json:"messages"` // that passed or failed
	Since    time.Time `json:"since"`    // the beginning of the first report with failures
	Last     time.Time `json:"last"`     // the end of the last one
}

const (
	// Period is how long reports are counted: the long enough for domains with little mail.
	Period = 30 * 24 * time.Hour
	// MaxFailing is the maximum length of Selector.Failing.
	MaxFailing = 20
	// maxAge is the age from which a file is not used. It is written each hour.
	maxAge = 3 * 24 * time.Hour
	// maxFile is the maximum size of the file in bytes: 10,000 domains with four keys each.
	maxFile = 64 << 20
)

// Path returns the file in a state directory.
func Path(state string) string { return filepath.Join(state, "reports", "status", "selectors.json") }

// Write replaces the file in the directory state.
func (f *File) Write(state string) error {
	slices.SortFunc(f.Selectors, compare) // for Of
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	tree, path := durable.Tree{state}, Path(state)
	if err := tree.MakeDir(filepath.Dir(path)); err != nil {
		return err
	}
	return tree.Write(path, data, filepath.Dir(path), 0o600)
}

// Load reads the file in the directory state. It returns nil if there is no file, or if the file was written more than three days ago.
func Load(state string, now time.Time) (*File, error) {
	var data []byte
	path := Path(state)
	err := durable.Tree{state}.In(path, func(dir *os.Root, name string) (err error) {
		data, err = durable.Read(dir, name, maxFile)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("what receivers saw of the keys: %w", err)
	}
	var f File
	if json.Unmarshal(data, &f) != nil {
		return nil, fmt.Errorf("%s is damaged\nhint: signpost reports read writes it again", path)
	}
	if now.Sub(f.Written) > maxAge {
		return nil, nil
	}
	return &f, nil
}

// Of returns the entry of a key. It returns nil if f is nil, or if no receiver saw the key.
func (f *File) Of(domain, selector string) *Selector {
	if f == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(f.Selectors, Selector{Domain: domain, Selector: selector}, compare)
	if !found {
		return nil
	}
	return &f.Selectors[i]
}

func compare(a, b Selector) int {
	return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Selector, b.Selector))
}
