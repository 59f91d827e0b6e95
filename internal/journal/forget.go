package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"signpost/internal/dns"
	"signpost/internal/domain"
)

// forgetChunk is the number of messages that are read at a time. It is also the maximum number that is deleted at a time.
const forgetChunk = deleteChunk

// Forget deletes the messages whose record contains one of the forms of an address (Reader.Forms), and overwrites their space in the files
// of the journal. A daemon may write the journal at the same time. If dryRun is true, Forget deletes nothing. It returns the number of
// these messages, even together with an error.
//
// Forget finds the address, or the word that replaces it, in MAIL FROM, in the recipients and in the login. A login may have no domain. It
// also finds the address in other texts, such as the i= of a signature. DNS records do not count: the owner of a domain publishes them.
//
// Forget does not find an address that the journal has cut. The journal omits recipients from a long list, and cuts the end of a long
// address. A message with a cut address may be about another person, so Forget does not delete it.
func Forget(ctx context.Context, path string, forms []string, dryRun bool) (n int, err error) {
	if missing(path) {
		return 0, fmt.Errorf("%s: %w", path, ErrNone)
	}
	r, err := openReader(dsn(path, busy(readerBusyTimeout), "secure_delete(1)", "synchronous(1)", "temp_store(2)",
		"wal_autocheckpoint("+strconv.Itoa(walPages)+")") + "&_txlock=immediate")
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	defer r.Close()
	for after := int64(0); ; {
		found, last, err := r.mentioning(ctx, after, forms)
		if err != nil {
			return n, err
		}
		if last == 0 {
			break
		}
		after = last
		deleted := len(found)
		if !dryRun && len(found) > 0 {
			if deleted, err = r.remove(ctx, found); err != nil {
				return n, err
			}
		}
		n += deleted
	}
	if !dryRun {
		err = r.wipe(ctx)
	}
	return n, errors.Join(err, r.Unread())
}

// Forms returns the forms in which the journal may contain an address, in lower case. These are the address itself, with A-labels and with
// U-labels, and the words that replace these forms if journal.addresses is hash: those with the secret of the journal, and with secrets of
// Reader.Secrets.
func (r *Reader) Forms(ctx context.Context, address string) ([]string, error) {
	all := []string{strings.ToLower(address)}
	if local, name, ok := cutAddress(address); ok {
		if name, err := domain.Parse(name); err == nil {
			for _, form := range domain.Forms(name) {
				all = append(all, strings.ToLower(local)+"@"+form)
			}
		}
	}
	all = domain.Unique(all)
	secrets, err := r.secrets(ctx)
	for _, form := range slices.Clone(all) {
		for _, secret := range secrets {
			all = append(all, strings.ToLower(hider{hash: true, secret: secret}.address(form)))
		}
	}
	return all, err
}

// storedMessage is a row of a chunk.
type storedMessage struct {
	id, outcome int64
	entry       []byte
}

// mentioning reads the messages that follow a number, and returns those with one of the wanted addresses. last is the number of the last
// message that was read, or 0 if there was none.
func (r *Reader) mentioning(ctx context.Context, after int64, wanted []string) (found []storedMessage, last int64, err error) {
	var all []storedMessage
	err = r.snapshot(ctx, func(s *snapshot) error {
		return s.find(ctx, Filter{After: after}, "id, outcome, entry", forgetChunk, true, func(rows *sql.Rows, err error) (int, error) {
			before := len(all)
			err = each(rows, err, func() error {
				var s storedMessage
				err := rows.Scan(&s.id, &s.outcome, &s.entry)
				all = append(all, s)
				return err
			})
			return len(all) - before, err
		})
	})
	for _, s := range all {
		last = s.id
		e, err := r.codec.decode(s.entry)
		if err != nil {
			if r.unread++; r.firstUnread == nil {
				r.firstUnread = err
			}
			continue
		}
		if e.Mentions(wanted) {
			found = append(found, s)
		}
	}
	return found, last, err
}

// Mentions reports whether an entry has one of the forms of an address. It deletes the DNS records of the entry.
func (e *Entry) Mentions(wanted []string) bool {
	for _, kept := range slices.Concat([]string{e.Sender, e.Login}, e.Recipients, e.Author.Addresses) {
		if !strings.HasSuffix(kept, cutMark) && slices.Contains(wanted, strings.ToLower(kept)) {
			return true
		}
	}
	replaceTexts(e, func(string) string { return "" }, func(l *dns.Lookup) { l.Records = nil })
	text, err := json.Marshal(e)
	if err != nil {
		return false
	}
	low := strings.ToLower(string(text))
	for _, w := range wanted {
		_, domain, ok := cutAddress(w)
		if !ok || !strings.Contains(low, "@"+domain) {
			continue
		}
		var all any
		if json.Unmarshal(text, &all) == nil && anyText(all, func(s string) bool { return hasAddress(strings.ToLower(s), w) }) {
			return true
		}
	}
	return false
}

// anyText reports whether f returns true for any string in a decoded JSON value.
func anyText(v any, f func(string) bool) bool {
	switch v := v.(type) {
	case string:
		return f(v)
	case []any:
		return slices.ContainsFunc(v, func(v any) bool { return anyText(v, f) })
	case map[string]any:
		for _, v := range v {
			if anyText(v, f) {
				return true
			}
		}
	}
	return false
}

// hasAddress reports whether a text contains an address. The address does not count where it is a part of a longer one. An address at the
// end of a text that was cut does not count, because it may be the beginning of a longer one.
func hasAddress(text, address string) bool {
	for {
		before, after, ok := strings.Cut(text, address)
		if !ok {
			return false
		}
		r, _ := utf8.DecodeLastRuneInString(before)
		local := before != "" && (alphanumeric(r) || strings.ContainsRune("!#$%&'*+-/?^_`{|}~.", r))
		rest := strings.TrimPrefix(after, ".")
		r, _ = utf8.DecodeRuneInString(rest)
		domain := rest != "" && (alphanumeric(r) || len(rest) == len(after) && strings.ContainsRune("-_", r))
		if !local && !domain && after != cutMark {
			return true
		}
		text = after
	}
}

func alphanumeric(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// remove deletes messages in one transaction, and subtracts them from the counts by hour. It returns how many of them were still in the
// journal.
func (r *Reader) remove(ctx context.Context, all []storedMessage) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, err
	}
	chunks, err := readChunks(ctx, tx, version)
	if err != nil {
		return 0, err
	}
	for _, s := range all {
		found := int64(0)
		for _, c := range chunks {
			if len(c.among([]int64{s.id})) == 0 {
				continue
			}
			result, err := tx.ExecContext(ctx, "DELETE FROM "+c.table()+" WHERE id = ? AND entry = ?", s.id, s.entry)
			if err != nil {
				return 0, err
			}
			if found, err = result.RowsAffected(); err != nil || found > 0 {
				break
			}
		}
		if found == 0 { // the daemon has dropped the chunk, or given the message another number
			continue
		}
		n++
		if _, err := tx.ExecContext(ctx, "UPDATE hour SET n = n - 1 WHERE hour = ? AND outcome = ?", s.id/hourMicros, s.outcome); err != nil {
			return 0, err
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM hour WHERE n <= 0"); err != nil {
		return 0, err
	}
	return n, tx.Commit()
}
