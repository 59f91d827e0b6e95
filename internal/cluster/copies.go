package cluster

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"signpost/internal/cluster/messages"
	"signpost/internal/journal"
)

// A row of sp_message is the copy of a message of a host. Its entry is sealed with AES-256-GCM under a key of its host and day, with the
// site, the host and the id as associated data. The other columns are keyed hashes, by which the row is found. They are not authenticated:
// a search compares the entry itself with what it looks for.
type messageRow struct {
	at      messages.Position
	siteKey string
	queue   int64
	mid     int64
	domain  int64
	client  int64
	net     int64 // the network of the client, of netBits4 or netBits6 bits
	outcome int64
	entry   []byte
}

// The networks by which messages are found.
const netBits4, netBits6 = 24, 48

// The columns with hashes.
const (
	columnQueue   = "queue"
	columnMID     = "mid"
	columnDomain  = "domain"
	columnClient  = "client"
	columnNet     = "net"
	columnOutcome = "outcome"
)

// hash returns the hash of a value in a column.
func (k siteKey) hash(column, value string) int64 {
	h := hmac.New(sha256.New, k.index)
	h.Write(fields(column, value))
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}

// dayMicros is a day in the unit of an id.
const dayMicros = int64(24 * time.Hour / time.Microsecond)

// messageAEAD returns the key of the messages of a host on a UTC day. A random nonce is safe for 2^32 messages under one key.
func (k siteKey) messageAEAD(host string, day int64) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, k.messages, string(fields("message", host, number(day))), siteKeyBytes)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func messagePlace(site string, at messages.Position) []byte {
	return fields("message", site, at.Host, number(at.ID))
}

// sealer makes rows. It is for one goroutine.
type sealer struct {
	key    siteKey
	site   string
	host   string
	packer *journal.Packer

	day  int64
	aead cipher.AEAD // of day; nil: none yet
}

// row returns the row of an entry.
func (s *sealer) row(e *journal.Entry) (r messageRow, err error) {
	packed, err := s.packer.Pack(e)
	if err != nil {
		return r, err
	}
	if day := e.ID / dayMicros; s.aead == nil || day != s.day {
		if s.aead, err = s.key.messageAEAD(s.host, day); err != nil {
			return r, err
		}
		s.day = day
	}
	k := s.key
	r = messageRow{at: messages.Position{ID: e.ID, Host: s.host}, siteKey: k.id, queue: k.hash(columnQueue, e.QueueID), mid: k.hash(columnMID, e.MessageID),
		domain: k.hash(columnDomain, e.Domain()), outcome: outcomeID(e.Outcome())}
	if a := e.Client.Unmap().WithZone(""); a.IsValid() {
		r.client, r.net = k.hash(columnClient, a.String()), k.hash(columnNet, networkOf(a).String())
	}
	r.entry = s.aead.Seal(nil, nil, packed, messagePlace(s.site, r.at))
	return r, nil
}

func networkOf(a netip.Addr) netip.Prefix {
	bits := netBits6
	if a.Is4() {
		bits = netBits4
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// unsealMessage returns the entry of a row. It returns errUnknownKey or errForged if the row does not verify. Another error means that this
// version cannot read the entry.
func (k *SiteKeys) unsealMessage(p *journal.Packer, site string, r messageRow) (e journal.Entry, err error) {
	key, err := k.find(r.siteKey)
	if err != nil {
		return e, err
	}
	aead, err := key.messageAEAD(r.at.Host, r.at.ID/dayMicros)
	if err != nil {
		return e, err
	}
	packed, err := aead.Open(nil, nil, r.entry, messagePlace(site, r.at))
	if err != nil {
		return e, errForged
	}
	e, err = p.Unpack(packed)
	e.ID = r.at.ID
	return e, err
}

// outcomeWords returns the text of an outcome in sp_outcome.
func outcomeWords(o journal.Outcome) string {
	words := []string{o.Role, o.Action, o.SPF, o.DKIM, o.DMARC, o.ARC, ""}
	if o.Observed {
		words[6] = "observed"
	}
	return strings.Join(words, " ")
}

func parseOutcome(text string) (o journal.Outcome, ok bool) {
	words := strings.Split(text, " ")
	if len(words) != 7 {
		return o, false
	}
	return journal.Outcome{Role: words[0], Action: words[1], SPF: words[2], DKIM: words[3], DMARC: words[4], ARC: words[5], Observed: words[6] != ""}, true
}

// outcomeID returns the number of an outcome. It is the same on each host, so that hosts need not agree on numbers.
func outcomeID(o journal.Outcome) int64 {
	sum := sha256.Sum256([]byte(outcomeWords(o)))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// maxOutcomes is the maximum number of outcomes that a search considers. A cluster has some hundred.
const maxOutcomes = 1000

// outcomes returns the numbers of the outcomes in the database that match.
func (s session) outcomes(ctx context.Context, match func(journal.Outcome) bool) (all []int64, err error) {
	err = s.each(ctx, func(scan func(...any) error) error {
		var id int64
		var words string
		err := scan(&id, &words)
		if o, ok := parseOutcome(words); ok && outcomeID(o) == id && (match == nil || match(o)) {
			all = append(all, id)
		}
		return err
	}, "SELECT id, words FROM sp_outcome ORDER BY id LIMIT ?", maxOutcomes)
	return all, err
}

// putMessages writes rows. A row that exists stays as it is, so that rows can be written again.
func (s session) putMessages(ctx context.Context, rows []messageRow, outcomes map[int64]string) error {
	var words []any
	for id, text := range outcomes {
		words = append(words, id, text)
	}
	if _, err := s.exec(ctx, "INSERT INTO sp_outcome (id, words) VALUES "+tuples(len(outcomes), 2)+s.ignore, words...); err != nil {
		return err
	}
	args := make([]any, 0, len(rows)*10)
	for _, r := range rows {
		args = append(args, r.at.Host, r.at.ID, r.siteKey, r.queue, r.mid, r.domain, r.client, r.net, r.outcome, r.entry)
	}
	_, err := s.exec(ctx, "INSERT INTO sp_message (host, id, key_id, queue, mid, domain, client, net, outcome, entry) VALUES "+tuples(len(rows), 10)+s.ignore, args...)
	return err
}

// tuples returns n rows of placeholders.
func tuples(n, columns int) string {
	row := "(" + strings.Repeat("?, ", columns-1) + "?)"
	return strings.Repeat(row+", ", n-1) + row
}

// nextHost returns the first name of a host with messages that follows a name; "": there is none.
func (s session) nextHost(ctx context.Context, after string) (next string, err error) {
	_, err = s.one(ctx, "SELECT COALESCE(MIN(host), '') FROM sp_message WHERE host > ?", []any{after}, &next)
	return next, err
}

// deleteMessages deletes the oldest messages of a host before an id, at most most of them. It reports whether there may be more.
func (s session) deleteMessages(ctx context.Context, host string, before int64, most int) (more bool, err error) {
	last := before - 1
	if more, err = s.one(ctx, "SELECT id FROM sp_message WHERE host = ? AND id < ? ORDER BY id LIMIT 1 OFFSET ?", []any{host, before, most - 1}, &last); err != nil {
		return false, err
	}
	_, err = s.exec(ctx, "DELETE FROM sp_message WHERE host = ? AND id <= ?", host, last)
	return more, err
}
