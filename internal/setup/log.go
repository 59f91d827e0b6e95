package setup

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"syscall"

	"signpost/internal/config"
)

// Logger returns the logger that [log] configures. It logs to stderr, or to syslog with a priority for each line. It sets level, which
// the caller may change later.
func Logger(conf config.Log, level *slog.LevelVar, stderr io.Writer) (*slog.Logger, error) {
	if err := level.UnmarshalText([]byte(conf.Level)); err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	switch {
	case conf.Syslog == "" && toJournal(stderr):
		return slog.New(newJournalHandler(stderr, conf, options)), nil
	case conf.Syslog == "":
		return slog.New(format(conf.Format, stderr, options)), nil
	}
	w, err := syslog.New(facility(conf.Syslog)|syslog.LOG_INFO, "signpost")
	if err != nil {
		return nil, fmt.Errorf("log.syslog: cannot connect to syslog on this host (%w); log.syslog = \"\" logs to stderr", err)
	}
	return slog.New(newSyslogHandler(w, conf, options)), nil
}

// newSyslogHandler returns a handler that omits the time and the level, because syslog adds them.
func newSyslogHandler(w *syslog.Writer, conf config.Log, options *slog.HandlerOptions) slog.Handler {
	options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}
	return &priorityHandler{
		debug: format(conf.Format, priority(w.Debug), options),
		info:  format(conf.Format, priority(w.Info), options),
		warn:  format(conf.Format, priority(w.Warning), options),
		err:   format(conf.Format, priority(w.Err), options),
	}
}

// toJournal reports whether a stream is connected to systemd's journal: JOURNAL_STREAM in systemd.exec(5).
func toJournal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// newJournalHandler returns a handler that writes the priority before each line, as in sd-daemon(3). systemd's journal removes the
// priority. The journal adds its own time, but the handler also writes the time of the event.
func newJournalHandler(w io.Writer, conf config.Log, options *slog.HandlerOptions) slog.Handler {
	at := func(p syslog.Priority) slog.Handler {
		return format(conf.Format, priority(func(line string) error {
			_, err := fmt.Fprintf(w, "<%d>%s", p, line)
			return err
		}), options)
	}
	return &priorityHandler{debug: at(syslog.LOG_DEBUG), info: at(syslog.LOG_INFO), warn: at(syslog.LOG_WARNING), err: at(syslog.LOG_ERR)}
}

func format(name string, w io.Writer, o *slog.HandlerOptions) slog.Handler {
	if name == "json" {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}

func facility(name string) syslog.Priority {
	switch name {
	case "daemon":
		return syslog.LOG_DAEMON
	case "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7":
		return syslog.LOG_LOCAL0 + syslog.Priority(name[5]-'0')<<3
	}
	return syslog.LOG_MAIL
}

// priority is an io.Writer that calls a function for each line, such as a method of syslog.Writer.
type priority func(string) error

func (p priority) Write(b []byte) (int, error) { return len(b), p(string(b)) }

// priorityHandler has one handler for each syslog priority, because slog's handlers do not pass the level to their writer.
type priorityHandler struct{ debug, info, warn, err slog.Handler }

func (h *priorityHandler) of(level slog.Level) slog.Handler {
	switch {
	case level >= slog.LevelError:
		return h.err
	case level >= slog.LevelWarn:
		return h.warn
	case level >= slog.LevelInfo:
		return h.info
	}
	return h.debug
}

func (h *priorityHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.of(level).Enabled(ctx, level)
}

func (h *priorityHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.of(r.Level).Handle(ctx, r)
}

func (h *priorityHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return &priorityHandler{h.debug.WithAttrs(a), h.info.WithAttrs(a), h.warn.WithAttrs(a), h.err.WithAttrs(a)}
}

func (h *priorityHandler) WithGroup(name string) slog.Handler {
	return &priorityHandler{h.debug.WithGroup(name), h.info.WithGroup(name), h.warn.WithGroup(name), h.err.WithGroup(name)}
}
