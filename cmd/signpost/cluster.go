package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
)

// clusterProgram is the program that accesses the database of the cluster. The executable of the daemon has no database driver.
const clusterProgram = "signpost-cluster"

func clusterCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cluster COMMAND",
		Short: "Share keys, rules and failed messages between several hosts",
		Long: "Run the program signpost-cluster, which shares keys, hosted domains, forwarders, [[allow]] and [[deny]] between the hosts of a\n" +
			"cluster. The commands are init, join, run, status, leave, rekey and accept-restore: see signpost-cluster(8). docs/cluster.md\n" +
			"describes the setup.",
		Example: "  signpost cluster --help\n  signpost cluster status",

		// All arguments, including flags and --help, are for the other program.
		DisableFlagParsing: true,
		ValidArgsFunction:  cli.Words("init", "join", "run", "status", "leave", "rekey", "accept-restore"),
		RunE: func(_ *cobra.Command, args []string) error {
			program, err := findCluster()
			if err != nil {
				return err
			}
			return fmt.Errorf("%s: %w", program, syscall.Exec(program, append([]string{clusterProgram}, args...), os.Environ()))
		},
	}
}

// findCluster returns the path of signpost-cluster: beside this executable, or in PATH.
func findCluster() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), clusterProgram)
		if fi, err := os.Stat(beside); err == nil && fi.Mode().IsRegular() {
			return beside, nil
		}
	}
	program, err := exec.LookPath(clusterProgram)
	if err != nil {
		return "", errors.New(clusterProgram + " is not installed\nhint: install it in the directory of signpost: it is in the same package and release")
	}
	return program, nil
}
