package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"signpost/internal/cli"
	"signpost/internal/cluster"
	"signpost/internal/cluster/control"
	"signpost/internal/config"
	"signpost/internal/owner"
	"signpost/internal/setup"
	"signpost/keys"
)

// errNoCluster is the error of each command without cluster.database.
var errNoCluster = errors.New("cluster.database is not set, so this host does not belong to a cluster\nhint: docs/cluster.md, \"Two hosts in ten minutes\"")

// open returns this host in the cluster, with the database at a URL. The caller closes the database.
func open(conf *config.Config, database config.DatabaseURL, log *slog.Logger) (*cluster.Host, *cluster.DB, error) {
	name, err := conf.ClusterName()
	if err != nil {
		return nil, nil, cli.Usage(err)
	}
	resolver, err := setup.Resolver(conf, time.Now, log)
	if err != nil {
		return nil, nil, cli.Usage(err)
	}
	authority, err := setup.Authority(conf, resolver, time.Now, log)
	if err != nil {
		return nil, nil, cli.Usage(err)
	}
	db, err := cluster.Open(string(database))
	if err != nil {
		return nil, nil, cli.Usage(fmt.Errorf("cluster.database: %w", err))
	}
	rotator := &keys.Rotator{Store: setup.KeyStore(conf), Checker: &keys.Checker{Authority: authority}, Rules: setup.KeyRules(conf)}
	return cluster.New(cluster.Options{DB: db, KeyFile: conf.Cluster.KeyFile, Store: setup.KeyStore(conf), Name: name, Program: cli.Number(), Now: time.Now, Log: log,
		Merge: mergeShared(conf.SharedFile(), log),
		Verify: func(ctx context.Context, domain, selector string) (bool, error) {
			return verify(ctx, rotator, domain, selector)
		}}), db, nil
}

// verify reports whether the record of a key in DNS belongs to the key. It returns an error if too few name servers answer.
func verify(ctx context.Context, r *keys.Rotator, domain, selector string) (bool, error) {
	set, err := r.Store.Load(nil)
	if err != nil {
		return false, err
	}
	all := set.Of(domain)
	i := slices.IndexFunc(all, func(k *keys.Key) bool { return k.Selector == selector })
	if i < 0 || all[i].Signer == nil {
		return false, nil
	}
	metadata, err := r.MetadataOf(all[i])
	if err != nil {
		return false, err
	}
	seen := r.Checker.Look(ctx, metadata, all[i].Signer).Outcome()
	if seen.Silent && !seen.Enough {
		return false, fmt.Errorf("checking the record of key %s of %s: %s", selector, domain, seen.Words)
	}
	return !seen.Differs, nil
}

// The commands that change the cluster.
const (
	joinName    = "join"
	leaveName   = "leave"
	rekeyName   = "rekey"
	restoreName = "accept-restore"
)

// perform runs a command. The result is for JSON.
func perform(ctx context.Context, h *cluster.Host, name, host string) (any, error) {
	switch name {
	case joinName:
		return h.Join(ctx)
	case leaveName:
		return struct{}{}, h.Leave(ctx, host)
	case rekeyName:
		return h.Rekey(ctx)
	case restoreName:
		return struct{}{}, h.AcceptRestore(ctx)
	}
	return nil, fmt.Errorf("%q is not a command", name)
}

// command makes the process of "run" run a command, or runs it in this process if "run" is not running. It stores the result in answer.
func command(ctx context.Context, conf *config.Config, stderr io.Writer, name, host string, answer any) (err error) {
	client := control.Client{Socket: conf.Cluster.Socket}
	if client.Runs(ctx) {
		return client.Command(ctx, name, host, answer)
	}
	back, err := owner.Act(conf.ClusterDir())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, back()) }()
	h, db, err := open(conf, conf.Cluster.Database, warnings(stderr))
	if err != nil {
		return err
	}
	defer db.Close()
	result, err := perform(ctx, h, name, host)
	if err != nil {
		return err
	}
	text, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

// warnings returns a logger that prints warnings and errors.
func warnings(stderr io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
