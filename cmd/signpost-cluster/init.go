package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/cluster"
	"signpost/internal/config"
	"signpost/internal/durable"
	"signpost/internal/owner"
)

func initCommand(load func() (*config.Config, error)) *cobra.Command {
	var ownerFile string
	c := &cobra.Command{
		Use:   "init",
		Short: "Create the tables and the site key, and register this host",
		Long: "Create the tables in the database, or migrate those of an earlier version. Create the site key (cluster.key_file) if it does\n" +
			"not exist, and register this host. Print the SQL statements that permit the user of cluster.database to work with the\n" +
			"tables, and the commands for the next host. The command can be repeated.\n\n" +
			"Tables belong to the user who creates them. With --owner, this is another user than that of cluster.database, which then\n" +
			"needs only SELECT, INSERT, UPDATE and, in one table, DELETE.",
		Example: "  signpost-cluster init\n  signpost-cluster init --owner /root/owner-url",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := load()
			if err != nil {
				return err
			}
			database := conf.Cluster.Database
			if c.Flags().Changed("owner") {
				if database, err = ownerURL(ownerFile, c.InOrStdin()); err != nil {
					return cli.Usage(err)
				}
			}
			return initialize(c.Context(), conf, database, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&ownerFile, "owner", "", "read the database URL of the owner of the tables from `FILE`, or from standard input if FILE is -")
	cli.Complete(c, map[string]cobra.CompletionFunc{"owner": cli.Any()})
	return c
}

// maxURL is the maximum length of the URL of the owner in bytes.
const maxURL = 4096

// ownerURL reads a database URL from a file.
func ownerURL(file string, stdin io.Reader) (config.DatabaseURL, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("--owner: %w", err)
		}
		defer f.Close()
		stdin = f
	}
	line, err := bufio.NewReader(io.LimitReader(stdin, maxURL)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("--owner: %w", err)
	}
	u, err := config.ParseDatabaseURL(strings.TrimSpace(line))
	if err == nil && u == "" {
		err = errors.New("is empty")
	}
	if err != nil {
		return "", fmt.Errorf("--owner: the URL %w", err)
	}
	return u, nil
}

// initialize runs the command init with the database of the owner of the tables.
func initialize(ctx context.Context, conf *config.Config, database config.DatabaseURL, stdout, stderr io.Writer) (err error) {
	newKey, err := createSiteKey(conf)
	if err != nil {
		return err
	}
	defer func() { // a key that the database does not know would prevent the next attempt
		if newKey && err != nil {
			os.Remove(conf.Cluster.KeyFile)
		}
	}()
	back, err := owner.Act(conf.ClusterDir())
	if err != nil {
		return err
	}
	h, db, err := open(conf, database, warnings(stderr))
	if err != nil {
		return errors.Join(err, back())
	}
	defer db.Close()
	h.Verify = nil // the keys of the first host sign already
	created, err := prepare(ctx, conf, h, db, newKey)
	if err := errors.Join(err, back()); err != nil {
		return err
	}
	state := "exists, and its tables have the present version"
	if created {
		state = "is created"
	}
	fmt.Fprintf(stdout, "The cluster %s. This host is registered as %s.\n\n%s\n%s", state, h.Name, grants(conf.Cluster.Database), nextHost(conf))
	newKey = false
	return nil
}

// prepare creates the tables and registers the host.
func prepare(ctx context.Context, conf *config.Config, h *cluster.Host, db *cluster.DB, newKey bool) (created bool, err error) {
	siteKeys, err := cluster.ReadSiteKeys(conf.Cluster.KeyFile)
	if err != nil {
		return false, fmt.Errorf("cluster.key_file: %w", err)
	}
	if created, err = db.Init(ctx, siteKeys); err != nil {
		return false, err
	}
	if newKey && !created {
		return false, errors.New("the database belongs to a cluster already, but this host does not have its site key\nhint: copy " + conf.Cluster.KeyFile + " from another host, and run signpost cluster join")
	}
	_, err = h.Join(ctx)
	return created, err
}

// createSiteKey creates the file of the site key for the owner of state_dir, unless it exists. The rows of the database cannot be read without
// the key, so it is on the disk before the first of them.
func createSiteKey(conf *config.Config) (created bool, err error) {
	path := conf.Cluster.KeyFile
	dir, err := durable.OpenDir(filepath.Dir(path))
	if err != nil {
		return false, fmt.Errorf("cluster.key_file: %w", err)
	}
	defer dir.Close()
	if _, err := dir.Lstat(filepath.Base(path)); err == nil {
		return false, nil
	}
	d, err := durable.NewDraft(dir, filepath.Base(path), []byte(cluster.NewSiteKey()), 0o600, func(f *os.File) error {
		fi, noState := os.Stat(conf.StateDir)
		if os.Geteuid() != 0 || noState != nil {
			return nil
		}
		owner := fi.Sys().(*syscall.Stat_t)
		return f.Chown(int(owner.Uid), int(owner.Gid))
	})
	if err == nil {
		err = d.CommitNew()
	}
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cluster.key_file: %w", durable.PathError(path, err))
	}
	return true, nil
}

// grants returns the SQL statements for the user of a database.
func grants(database config.DatabaseURL) string {
	u, err := url.Parse(string(database))
	if err != nil {
		return ""
	}
	user, name := u.User.Username(), strings.Trim(u.Path, "/")
	var b strings.Builder
	fmt.Fprintf(&b, "To permit user %s only what the hosts need, execute these statements as the owner of the database:\n\n", user)
	quoted := func(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }
	to := "'" + strings.ReplaceAll(user, "'", "''") + "'@'%'"
	if u.Scheme == "postgres" {
		quoted = func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
		to = quoted(user)
		fmt.Fprintf(&b, "    GRANT USAGE ON SCHEMA public TO %s;\n", to)
	}
	for _, table := range cluster.Tables() {
		on := table.Name
		if u.Scheme == "mysql" {
			on = quoted(name) + "." + on
		}
		fmt.Fprintf(&b, "    GRANT %s ON %s TO %s;\n", table.Rights, on, to)
	}
	return b.String()
}

// nextHost returns the commands for another host.
func nextHost(conf *config.Config) string {
	place := conf.Place("cluster.database")
	file := place[:max(0, strings.LastIndexByte(place, ':'))]
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	key := conf.Cluster.KeyFile
	name, _ := os.Hostname()
	var b strings.Builder
	fmt.Fprintf(&b, "On this host, start the synchronization:\n\n    systemctl enable --now signpost-cluster\n    systemctl restart signpost\n\n")
	fmt.Fprintf(&b, "On each other host, as root, copy the settings and the site key, and join:\n\n")
	for _, path := range []string{file, key} {
		fmt.Fprintf(&b, "    scp %s:%s %s\n", name, path, path)
	}
	fmt.Fprintf(&b, "    chown root:signpost %s && chmod 0640 %[1]s\n    chown signpost:signpost %s && chmod 0600 %[2]s\n", file, key)
	fmt.Fprintf(&b, "    signpost cluster join\n    systemctl enable --now signpost-cluster\n    systemctl restart signpost\n")
	if conf.Cluster.Name != "" {
		fmt.Fprintf(&b, "\nDelete the line \"name\" from the copy of the settings, or set another name.\n")
	}
	return b.String()
}
