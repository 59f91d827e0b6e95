package control

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// The paths of the items. PathPutItems, PathExpireItems are for POST, the others for GET.
const (
	PathItems        = "/items"         // parameters kind, day, name, host, part: the items of a kind and a day after this one
	PathChangedItems = "/items/changed" // parameters after, a Cursor in JSON, and kinds
	PathPutItems     = "/items/put"
	PathExpireItems  = "/items/expire" // parameters before, a day, and kinds
	PathBounceKey    = "/bounce-key"
)

// Item is what the hosts share about reports: a row of the database. Package internal/report/hosts has the contents. Kind, Day, Name, Host and
// Part identify it.
type Item struct {
	Kind Kind   `json:"kind"`
	Day  string `json:"day,omitempty"`  // a UTC day, such as 2026-12-01; empty: it belongs to no day
	Name string `json:"name,omitempty"` // at most maxItemName bytes
	Host string `json:"host,omitempty"` // the host that wrote an item of a kind with Own; set by the server
	Part int    `json:"part,omitempty"`
	Body []byte `json:"body"` // at most MaxItemBody bytes
}

// Kind is the kind of an item.
type Kind string

// The kinds.
const (
	KindCount       Kind = "count"       // a part of the counts of one report
	KindShipped     Kind = "shipped"     // a part of the counts of a day is complete
	KindRound       Kind = "round"       // which parts belong to the reports about a day
	KindDone        Kind = "done"        // the reports of a round were made
	KindReport      Kind = "report"      // a report that was made, with its destinations
	KindDelivery    Kind = "delivery"    // the state of the delivery of a report to a destination
	KindSuppression Kind = "suppression" // a destination to which no report is sent
	KindReceived    Kind = "received"    // a report that another site sent
)

// NameComplete is the name of the item of KindShipped that completes the counts of a host and a day. The names of the others are empty.
const NameComplete = "complete"

// Own reports whether each host has its own items of the kind.
func (k Kind) Own() bool { return k == KindCount || k == KindShipped }

// Once reports whether an item of the kind never changes: the first host that writes it decides.
func (k Kind) Once() bool {
	return k == KindShipped || k == KindRound || k == KindDone || k == KindReport || k == KindReceived
}

// Changes reports whether ChangedItems returns items of the kind.
func (k Kind) Changes() bool {
	return k == KindReport || k == KindDelivery || k == KindSuppression || k == KindReceived
}

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{KindCount, KindShipped, KindRound, KindDone, KindReport, KindDelivery, KindSuppression, KindReceived}
}

// Limits of items.
const (
	maxItemName = 255
	// MaxItemBody is the maximum size of a body in bytes. MEDIUMBLOB of MariaDB has 16 MiB.
	MaxItemBody = 12 << 20
	// maxItemsRequest limits a request in bytes. Bodies are in base64.
	maxItemsRequest = 2 * MaxItemBody
	// MaxItems is the maximum number of items of a request, and MaxItemsBytes the size of the bodies after which a request should end.
	MaxItems, MaxItemsBytes = 200, 2 << 20
)

// Cursor is a place in the order in which items were written. The zero value is the beginning.
type Cursor struct {
	Written int64 `json:"written"` // the time of the database, in ms
	Last    Item  `json:"last"`    // without Body
}

// Items is a page of items.
type Items struct {
	Items   []Item `json:"items"`
	More    bool   `json:"more"`    // there are items after the last one of this page
	After   Cursor `json:"after"`   // where the next page of ChangedItems begins; of Items: only Last
	Refused int    `json:"refused"` // rows that are omitted, because no host of the cluster wrote them, or this host does not have their site key
}

// PutItems writes items to the database. An item of a kind with Once that exists stays as it is. PutItems returns the items of such kinds as
// they are in the database.
func (c Client) PutItems(ctx context.Context, items []Item) ([]Item, error) {
	text, err := json.Marshal(Items{Items: items})
	if err != nil {
		return nil, err
	}
	var stored Items
	return stored.Items, c.send(ctx, http.MethodPost, PathPutItems, nil, bytes.NewReader(text), &stored, answerTimeout)
}

// Items calls found for each item of a kind and a day, sorted by name, host and part, which may differ from the order of bytes. It returns the
// number of rows that were refused.
func (c Client) Items(ctx context.Context, kind Kind, day string, found func(Item) error) (refused int, err error) {
	after := Item{Kind: kind, Day: day, Part: -1}
	for {
		var page Items
		text, err := json.Marshal(after)
		if err != nil {
			return refused, err
		}
		if err := c.ask(ctx, http.MethodGet, PathItems, url.Values{"after": {string(text)}}, &page, answerTimeout); err != nil {
			return refused, err
		}
		refused += page.Refused
		for _, i := range page.Items {
			if err := found(i); err != nil {
				return refused, err
			}
		}
		if !page.More {
			return refused, nil
		}
		after = page.After.Last
	}
}

// ChangedItems returns items of kinds with Changes that were written after a place, in the order in which they were written.
func (c Client) ChangedItems(ctx context.Context, after Cursor, kinds ...Kind) (page Items, err error) {
	text, err := json.Marshal(after)
	if err != nil {
		return page, err
	}
	return page, c.ask(ctx, http.MethodGet, PathChangedItems, url.Values{"after": {string(text)}, "kinds": words(kinds)}, &page, answerTimeout)
}

func words(kinds []Kind) (all []string) {
	for _, k := range kinds {
		all = append(all, string(k))
	}
	return all
}

// ExpireItems deletes the items of kinds that belong to days before a time.
func (c Client) ExpireItems(ctx context.Context, before time.Time, kinds ...Kind) error {
	return c.ask(ctx, http.MethodPost, PathExpireItems, url.Values{"before": {before.UTC().Format(time.DateOnly)}, "kinds": words(kinds)}, &struct{}{}, expireTimeout)
}

// expireTimeout is the timeout of ExpireItems.
const expireTimeout = 5 * time.Minute

// BounceKey returns the key of the envelope senders of reports: 64 hexadecimal digits. It is the same on all hosts.
func (c Client) BounceKey(ctx context.Context) (key string, err error) {
	return key, c.ask(ctx, http.MethodGet, PathBounceKey, nil, &key, answerTimeout)
}

// ItemServer answers the requests about items.
type ItemServer struct {
	Put       func(ctx context.Context, items []Item) ([]Item, error)
	List      func(ctx context.Context, after Item) (Items, error)
	Changed   func(ctx context.Context, after Cursor, kinds []Kind) (Items, error)
	Expire    func(ctx context.Context, before time.Time, kinds []Kind) error
	BounceKey func(ctx context.Context) (string, error)
}

func (s ItemServer) handle(mux *http.ServeMux) {
	mux.HandleFunc("POST "+PathPutItems, answer(func(r *http.Request) (any, error) {
		var request Items
		if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxItemsRequest)).Decode(&request); err != nil {
			return nil, badRequest("the items are not valid")
		}
		for _, i := range request.Items {
			if !known(i.Kind) || len(i.Name) > maxItemName || len(i.Body) > MaxItemBody {
				return nil, badRequest("an item is not valid")
			}
		}
		stored, err := s.Put(r.Context(), request.Items)
		return Items{Items: stored}, err
	}))
	mux.HandleFunc("GET "+PathItems, answer(func(r *http.Request) (any, error) {
		var after Item
		if err := json.Unmarshal([]byte(r.FormValue("after")), &after); err != nil || !known(after.Kind) {
			return nil, badRequest("after is not valid")
		}
		return s.List(r.Context(), after)
	}))
	mux.HandleFunc("GET "+PathChangedItems, answer(func(r *http.Request) (any, error) {
		var after Cursor
		if err := json.Unmarshal([]byte(r.FormValue("after")), &after); err != nil {
			return nil, badRequest("after is not valid")
		}
		kinds, err := kinds(r)
		if err != nil {
			return nil, err
		}
		return s.Changed(r.Context(), after, kinds)
	}))
	mux.HandleFunc("POST "+PathExpireItems, answer(func(r *http.Request) (any, error) {
		before, err := time.Parse(time.DateOnly, r.FormValue("before"))
		if err != nil {
			return nil, badRequest("before is not a day")
		}
		kinds, err := kinds(r)
		if err != nil {
			return nil, err
		}
		return struct{}{}, s.Expire(r.Context(), before, kinds)
	}))
	mux.HandleFunc("GET "+PathBounceKey, answer(func(r *http.Request) (any, error) { return s.BounceKey(r.Context()) }))
}

func known(k Kind) bool { return slices.Contains(Kinds(), k) }

// kinds returns the parameter kinds.
func kinds(r *http.Request) (all []Kind, err error) {
	_ = r.FormValue("kinds") // parses the form
	for _, word := range r.Form["kinds"] {
		if !known(Kind(word)) {
			return nil, badRequest("kinds is not valid")
		}
		all = append(all, Kind(word))
	}
	if len(all) == 0 {
		return nil, badRequest("kinds is missing")
	}
	return all, nil
}
