package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"signpost/internal/domain"
)

// Server answers the requests of a Client by calling its functions. The functions must be safe for concurrent use.
type Server struct {
	Lease   func(ctx context.Context) (Lease, error)
	Lead    func(ctx context.Context) (Lease, error) // ctx ends when the caller no longer waits
	Missing func(ctx context.Context, domain, selector string, purpose Purpose) ([]Behind, error)
	Sync    func(ctx context.Context) error
	Status  func(ctx context.Context) (Status, error)
	Command func(ctx context.Context, name, host string) (answer []byte, err error) // answer is JSON; nil: there are no commands
	Items   ItemServer

	Forget func(ctx context.Context, forms []string, dryRun bool) (copies int, err error)

	// Messages and Message return what Client.Messages and Client.Message store.
	Messages, Message func(ctx context.Context, query url.Values) (any, error)
}

// Handler returns the handler of the control socket.
func (s Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathLease, answer(func(r *http.Request) (any, error) { return s.Lease(r.Context()) }))
	mux.HandleFunc("POST "+PathLead, answer(func(r *http.Request) (any, error) {
		ms, err := strconv.ParseInt(r.FormValue("wait_ms"), 10, 64)
		if err != nil || ms < 0 || ms > leadTimeout.Milliseconds() {
			return nil, badRequest("wait_ms is not valid")
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(ms)*time.Millisecond)
		defer cancel()
		return s.Lead(ctx)
	}))
	mux.HandleFunc("GET "+PathMissing, answer(func(r *http.Request) (any, error) {
		name, err := domain.Parse(r.FormValue("domain"))
		if err != nil {
			return nil, badRequest("domain is not valid")
		}
		selector, err := domain.Parse(r.FormValue("selector"))
		if err != nil {
			return nil, badRequest("selector is not valid")
		}
		purpose := Purpose(r.FormValue("for"))
		if purpose != Activate && purpose != Withdraw {
			return nil, badRequest("for must be activate or withdraw")
		}
		hosts, err := s.Missing(r.Context(), name, selector, purpose)
		return Missing{Hosts: append([]Behind{}, hosts...)}, err
	}))
	mux.HandleFunc("POST "+PathSync, answer(func(r *http.Request) (any, error) { return struct{}{}, s.Sync(r.Context()) }))
	mux.HandleFunc("GET "+PathStatus, answer(func(r *http.Request) (any, error) { return s.Status(r.Context()) }))
	s.Items.handle(mux)
	mux.HandleFunc("GET "+PathMessages, answer(func(r *http.Request) (any, error) { return s.Messages(r.Context(), r.URL.Query()) }))
	mux.HandleFunc("GET "+PathMessage, answer(func(r *http.Request) (any, error) { return s.Message(r.Context(), r.URL.Query()) }))
	mux.HandleFunc("POST "+PathForget, answer(func(r *http.Request) (any, error) {
		forms := r.URL.Query()["form"]
		if len(forms) == 0 || slices.Contains(forms, "") {
			return nil, badRequest("form is not valid")
		}
		copies, err := s.Forget(r.Context(), forms, r.FormValue("dry_run") != "")
		return Forgotten{copies}, err
	}))
	mux.HandleFunc("POST "+PathCommand, answer(s.command))
	return mux
}

// badRequest is the error of a request that no Client sends.
type badRequest string

func (e badRequest) Error() string { return string(e) }

// answer writes the result of a request as JSON. A Refusal keeps its hint.
func answer(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		result, err := do(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			status, failure := http.StatusBadGateway, Failure{Error: err.Error()}
			if bad := badRequest(""); errors.As(err, &bad) {
				status = http.StatusBadRequest
			}
			if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
				failure = refusal.Failure
			}
			w.WriteHeader(status)
			result = failure
		}
		_ = json.NewEncoder(w).Encode(result) // the client notices an incomplete reply
	}
}
