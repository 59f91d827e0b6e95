package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"signpost/internal/cli"
	"signpost/internal/cluster"
	"signpost/internal/config"
	"signpost/internal/owner"
	"signpost/internal/setup"
	"signpost/keys"
)

// errNoCluster is the error of each command without cluster.database.
var errNoCluster = errors.New("cluster.database is not set, so this host does not belong to a cluster\nhint: docs/cluster.md, \"Two hosts in ten minutes\"")

// open returns this host in the cluster, with the database at the given URL. The caller closes the database.
func open(conf *config.Config, database config.DatabaseURL, log *slog.Logger) (*cluster.Host, *cluster.DB, error) {
	name, err := conf.ClusterName()
	if err != nil {
		return nil, nil, cli.Usage(err)
	}
	db, err := cluster.Open(string(database))
	if err != nil {
		return nil, nil, cli.Usage(fmt.Errorf("cluster.database: %w", err))
	}
	resolver, err := setup.Resolver(conf, time.Now, log)
	if err != nil {
		db.Close()
		return nil, nil, cli.Usage(err)
	}
	authority, err := setup.Authority(conf, resolver, time.Now, log)
	if err != nil {
		db.Close()
		return nil, nil, cli.Usage(err)
	}
	_ = keys.Checker{Authority: authority}
	return cluster.New(cluster.Options{DB: db, KeyFile: conf.Cluster.KeyFile, Store: setup.KeyStore(conf), Name: name, Program: cli.Number(), Now: time.Now, Log: log,
		Merge: mergeShared(conf.SharedFile(), log)}), db, nil
}

// once runs a command of a person: it opens the database, acts as the owner of state_dir, and prints warnings and errors of the log.
func once(ctx context.Context, conf *config.Config, stderr io.Writer, do func(ctx context.Context, h *cluster.Host) error) error {
	back, err := owner.Act(conf.ClusterDir())
	if err != nil {
		return err
	}
	defer back()
	h, db, err := open(conf, conf.Cluster.Database, slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	defer db.Close()
	return do(ctx, h)
}
