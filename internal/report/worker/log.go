package worker

import (
	"log/slog"
	"strings"
	"time"

	"signpost/internal/report/status"
)

// maxLogged limits the alarms that one run logs one by one.
const maxLogged = 20

// logAlarms logs the alarms that are new, and those that have ended.
func (w *Worker) logAlarms(begun, ended []status.Alarm) {
	for _, a := range begun[:min(maxLogged, len(begun))] {
		w.Log.Warn("received reports raise an alarm", attributes(a)...)
	}
	for _, a := range ended[:min(maxLogged, len(ended))] {
		w.Log.Info("an alarm of received reports has ended", attributes(a)...)
	}
	if more := max(0, len(begun)-maxLogged) + max(0, len(ended)-maxLogged); more > 0 {
		w.Log.Warn("more alarms of received reports have begun or ended", "alarms", more)
	}
}

// attributes returns the fields of an alarm that are not empty.
func attributes(a status.Alarm) (all []any) {
	text := func(name, value string) {
		if value != "" {
			all = append(all, slog.String(name, value))
		}
	}
	text("code", string(a.Code))
	text("domain", a.Domain)
	text("signer", a.Signer)
	text("selector", a.Selector)
	if a.Source.IsValid() {
		text("source_ip", a.Source.String())
	}
	text("failure", a.Failure)
	if a.Code == status.PolicyDiffers {
		all = append(all, slog.String("published", a.Published), slog.String("seen", a.Seen))
	}
	text("reporters", strings.Join(a.Reporters, ","))
	if a.Messages > 0 {
		all = append(all, slog.Int64("messages", a.Messages))
	}
	if a.Total > 0 {
		all = append(all, slog.Int64("total", a.Total))
	}
	text("since", a.Since.UTC().Format(time.DateOnly))
	return all
}
