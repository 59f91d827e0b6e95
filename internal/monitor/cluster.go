package monitor

import (
	"context"
	"fmt"

	"signpost/internal/cli"
	"signpost/internal/cluster/control"
)

// cluster reads the state that signpost-cluster writes. Without the cluster, the host continues with its own files, so no concern is
// critical.
func (s Source) cluster(context.Context) (p part) {
	if s.Cluster == "" {
		return p
	}
	state, err := control.ReadStatus(s.Cluster)
	for _, c := range control.Concerns(state, err, s.Now()) {
		found := problem{state: cli.Warning, text: c.What, why: c.Why, fix: c.Fix}
		if err != nil {
			found.hint = cli.Hint(err)
			if found.hint != "" {
				found.state = cli.Unknown
			}
		}
		p.problems = append(p.problems, found)
	}
	if err == nil {
		p.data = append(p.data, datum{label: "cluster_lag", value: float64(state.Database.Version - state.Version)})
		p.good = fmt.Sprintf("%d hosts in the cluster", len(state.Hosts))
	}
	return p
}
