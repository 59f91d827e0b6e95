package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/cluster"
	"signpost/internal/config"
	"signpost/internal/owner"
)

// errAttention causes exit code 1. All messages have already been printed.
var errAttention = errors.New("action needed, see above")

func joinCommand(load func() (*config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "join",
		Short: "Register this host, and make its keys and rules those of the cluster",
		Long: "Register this host, fetch the keys and rules of the cluster, and add those of this host. cluster.database and cluster.key_file\n" +
			"must be those of the other hosts. The command can be repeated, for example to fetch all keys again, or after \"leave\".\n\n" +
			"If a key that only this host has is active, but its record is not in DNS, it stops signing until the record is in DNS.",
		Example: "  signpost-cluster join",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			var j cluster.Joined
			if err := command(c.Context(), conf, c.ErrOrStderr(), joinName, "", &j); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "This host has joined the cluster. The hosts are: %s\n", strings.Join(j.Hosts, ", "))
			for _, key := range j.Inactive {
				fmt.Fprintf(c.ErrOrStderr(), "signpost-cluster: key %s no longer signs, because its record is not in DNS\n", key)
			}
			if len(j.Inactive) > 0 {
				return errAttention
			}
			return nil
		},
	}
}

func leaveCommand(load func() (*config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "leave NAME",
		Short: "Remove a host from the cluster",
		Long: "Remove a host that does not return from the cluster. The rotation of keys no longer waits for it. If the host returns, it does\n" +
			"not synchronize until \"join\" is run on it. Run this command on any other host.\n\n" +
			"The host keeps its keys and the site key. If other people may have its disk, run \"rekey\", and revoke the DKIM keys.",
		Example: "  signpost-cluster leave mx2",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			if err := command(c.Context(), conf, c.ErrOrStderr(), leaveName, strings.ToLower(args[0]), &struct{}{}); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "Host %s is no longer a host of the cluster.\n", strings.ToLower(args[0]))
			return nil
		},
	}
}

func restoreCommand(load func() (*config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "accept-restore",
		Short: "Continue after the database was restored from a backup",
		Long: "Continue after the database was restored from a backup, or failed over to a replica that lacked changes. Write the keys and\n" +
			"rules of this host to the database that are missing there or are newer here. Run the command on each host that has stopped\n" +
			"synchronizing. Keys that were revoked since the backup do not come back.",
		Example: "  signpost-cluster accept-restore",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			if err := command(c.Context(), conf, c.ErrOrStderr(), restoreName, "", &struct{}{}); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "The database has the keys and rules of this host.")
			return nil
		},
	}
}

func rekeyCommand(load func() (*config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "rekey",
		Short: "Replace the site key",
		Long: "Replace the site key. The first run adds a new key to cluster.key_file, and prints how to copy the file to the other hosts. When\n" +
			"all hosts have the new key, the second run seals all rows with it. Then delete the old key from the file on each host.\n\n" +
			"Exit code 0: all rows are sealed with the new key, 1: hosts do not have the new key, or the command failed.",
		Example: "  signpost-cluster rekey",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			if err := addSiteKey(conf); err != nil {
				return cli.Usage(err)
			}
			var r cluster.Rekeyed
			if err := command(c.Context(), conf, c.ErrOrStderr(), rekeyName, "", &r); err != nil {
				return err
			}
			key := conf.Cluster.KeyFile
			if len(r.Waiting) > 0 {
				name, _ := os.Hostname()
				fmt.Fprintf(c.ErrOrStderr(), "signpost-cluster: these hosts do not have the site key %s: %s\nhint: on each of them, run: scp %s:%s %s\nhint: after that, run: signpost cluster rekey\n",
					r.KeyID, strings.Join(r.Waiting, ", "), name, key, key)
				return errAttention
			}
			fmt.Fprintf(c.OutOrStdout(), "Rows sealed with the site key %s: %d. On each host, delete the old key:\n\n    sed -i '$!d' %s\n", r.KeyID, r.Rows, key)
			return nil
		},
	}
}

// addSiteKey adds a new key to the file of the site keys if it has only one. Root acts as the owner of state_dir, to whom the file belongs.
func addSiteKey(conf *config.Config) (err error) {
	path := conf.Cluster.KeyFile
	back, err := owner.Act(conf.ClusterDir())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, back()) }()
	present, err := cluster.ReadSiteKeys(path)
	if err != nil {
		return fmt.Errorf("cluster.key_file: %w", err)
	}
	if len(present.IDs()) > 1 {
		return nil // a former run has added it
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cluster.key_file: %w", err)
	}
	line := cluster.NewSiteKey()
	if len(data) > 0 && data[len(data)-1] != '\n' {
		line = "\n" + line
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("cluster.key_file: %w", err)
	}
	_, err = f.WriteString(line)
	if err != nil { // on a full disk, a part of the line may be written
		err = errors.Join(err, f.Truncate(int64(len(data))))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cluster.key_file: %w", err)
	}
	return nil
}
