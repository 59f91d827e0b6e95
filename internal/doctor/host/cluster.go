package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"signpost/internal/cluster/control"
	"signpost/internal/doctor"
)

// Cluster describes [cluster].
type Cluster struct {
	Status  string // the path of the status file; empty: this host does not belong to a cluster
	KeyFile string // the site keys
	Secret  string // the configuration file with the password of the database; empty: there is no password
}

// cluster reports what signpost-cluster reports, and files that the wrong users can read.
func (m *machine) cluster(context.Context) (found []doctor.Finding) {
	if m.Cluster.Status == "" {
		return nil
	}
	s, err := control.ReadStatus(m.Cluster.Status)
	if errors.Is(err, fs.ErrPermission) {
		return []doctor.Finding{doctor.OrNotPermitted(err, doctor.Finding{})}
	}
	for _, c := range control.Concerns(s, err, time.Now()) {
		level := doctor.Yellow
		if c.Severe {
			level = doctor.Red
		}
		found = append(found, doctor.Finding{Level: level, What: c.What, Where: m.Cluster.Status, Why: c.Why, Fix: c.Fix})
	}
	fi, err := os.Stat(m.Cluster.KeyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		found = append(found, doctor.Finding{Level: doctor.Red, What: "the site key " + m.Cluster.KeyFile + " does not exist", Where: "cluster.key_file", Why: "signpost-cluster does not synchronize this host",
			Fix: fmt.Sprintf("install -o %s -g %[1]s -m 0600 cluster.key %s # copied from another host", m.User, doctor.Quote(m.Cluster.KeyFile))})
	case err != nil:
		found = append(found, doctor.OrNotPermitted(err, doctor.Finding{Level: doctor.Red, What: "cluster.key_file cannot be read", Where: err.Error(), Why: "signpost-cluster does not synchronize this host", Fix: "ls -l " + doctor.Quote(m.Cluster.KeyFile)}))
	default:
		if p := doctor.PermissionsOf(fi); p.Mode.Perm()&0o077 != 0 {
			found = append(found, doctor.Finding{Level: doctor.Red, What: "other users can read the site key", Where: m.Cluster.KeyFile + ": " + p.String(),
				Why: "with the site key and the database, every private key can be read; signpost-cluster does not synchronize this host", Fix: "chmod 0600 " + doctor.Quote(m.Cluster.KeyFile)})
		} else if m.service != nil && !m.service.May(p, doctor.Read) {
			found = append(found, doctor.Finding{Level: doctor.Red, What: "permission denied: user " + m.User + " cannot read the site key", Where: m.Cluster.KeyFile + ": " + p.String(),
				Why: "signpost-cluster does not synchronize this host", Fix: "chown " + m.User + " " + doctor.Quote(m.Cluster.KeyFile)})
		}
	}
	if fi, err := os.Stat(m.Cluster.Secret); err == nil && doctor.PermissionsOf(fi).Mode.Perm()&0o004 != 0 {
		file := doctor.Quote(m.Cluster.Secret)
		found = append(found, doctor.Finding{Level: doctor.Yellow, What: "every user can read the password of the database", Where: m.Cluster.Secret + ": " + doctor.PermissionsOf(fi).String(),
			Why: "a local user can damage the rows of the cluster; hosts refuse such rows", Fix: "chgrp " + m.User + " " + file + " && chmod 0640 " + file})
	}
	if len(found) == 0 {
		found = []doctor.Finding{{Level: doctor.Green, What: fmt.Sprintf("this host has version %d of the cluster, the database has %d; host %s leads", s.Version, s.Database.Version, s.Leader)}}
	}
	return found
}
