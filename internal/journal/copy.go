package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// Packer packs entries for another database. A Packer is for one goroutine.
type Packer struct{ codec *codec }

// NewPacker returns a Packer.
func NewPacker() *Packer { return &Packer{newCodec()} }

// Pack returns the packed form of an entry of a Reader, which begins with the version of the format. It is complete: it refers to no text of
// the journal. It has no ID. It is valid until the next call.
func (p *Packer) Pack(e *Entry) ([]byte, error) { return p.codec.encode(e) }

// Unpack returns the entry of a packed form. It returns an error if the packed form is damaged, or if a later version wrote it.
func (p *Packer) Unpack(packed []byte) (Entry, error) { return p.codec.decode(packed) }

// HasQueueID reports whether the entry has this queue ID.
func (e *Entry) HasQueueID(id string) bool { return isID(e.QueueID, id) }

// HasMessageID reports whether the entry has this Message-ID. The angle brackets may be missing.
func (e *Entry) HasMessageID(id string) bool {
	return isID(e.MessageID, id) || isID(e.MessageID, "<"+id+">")
}

// CutMessageID returns a Message-ID as an entry contains it if nothing else of the entry was cut.
func CutMessageID(id string) string { return cut(id, maxID) }

// Matches reports whether an entry matches the filter. If the addresses of the entry are hashed, call Hashed before.
func (f Filter) Matches(e *Entry) bool {
	lowest, highest := f.bounds()
	client := e.Client.Unmap().WithZone("")
	return e.ID >= lowest && e.ID <= highest && (f.Domain == "" || cut(e.Domain(), maxDomain) == f.Domain) &&
		(f.Client == netip.Prefix{} || f.Client.Contains(client)) && (f.Outcome == nil || f.Outcome(e.Outcome())) && f.Content.matches(e)
}

// Identity identifies the journal: a new journal that replaces this one has another identity. Anyone may know it.
func (r *Reader) Identity(ctx context.Context) (string, error) {
	secret, err := r.secret(ctx)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte("identity"), bytes.Join(secret, nil)...))
	return hex.EncodeToString(sum[:8]), nil
}

// secrets returns the secrets with which addresses may be hashed.
func (r *Reader) secrets(ctx context.Context) ([][]byte, error) {
	own, err := r.secret(ctx)
	return slices.Concat(r.Secrets, own), err
}

// secret returns the secret of this journal, or nothing if it has none.
func (r *Reader) secret(ctx context.Context) ([][]byte, error) {
	var salt []byte
	err := r.row(ctx, []any{&salt}, "SELECT value FROM note WHERE name = 'salt'")
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return [][]byte{salt}, nil
}

// Number returns the number of messages that match a filter, and the time of the first of them, which is zero if there is none.
func (r *Reader) Number(ctx context.Context, f Filter) (n int64, first time.Time, err error) {
	err = r.snapshot(ctx, func(s *snapshot) error {
		n, first = 0, time.Time{}
		return s.find(ctx, f, "count(*), coalesce(min(id), 0)", 1, true, func(rows *sql.Rows, err error) (int, error) {
			return 0, each(rows, err, func() error {
				var some, id int64
				err := rows.Scan(&some, &id)
				if n += some; id > 0 && first.IsZero() {
					first = time.UnixMicro(id)
				}
				return err
			})
		})
	})
	return n, first, err
}
