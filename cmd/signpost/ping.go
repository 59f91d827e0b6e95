package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"signpost/internal/cli"
	"signpost/internal/config"
	"signpost/internal/term"
	"signpost/milter"
)

func pingCommand(load func() (*config.Config, error)) *cobra.Command {
	timeout := 5 * time.Second
	c := &cobra.Command{
		Use:   "ping [SOCKET...]",
		Short: "Check whether the daemon answers on its milter sockets",
		Long: "Negotiate the milter protocol as Postfix does, at each SOCKET. Without SOCKET, negotiate at each address of listen in the\n" +
			"configuration. The command prints nothing if Signpost answers. The container image uses it as the health check. With SOCKET,\n" +
			"the command does not read the configuration, so an error in a file does not make a running daemon unhealthy.\n\n" +
			"Exit code 0: Signpost answers on all sockets, 1: it does not answer on one of them, 2: usage or configuration error.",
		Example: "  signpost ping\n  signpost ping inet:127.0.0.1:8891 unix:/run/signpost/relay.sock",

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			sockets, err := pinged(args, load)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			for _, s := range sockets {
				err := milter.Identify(ctx, s.Network, s.Address)
				var op *net.OpError
				if errors.As(err, &op) && op.Op == "dial" { // its text contains the address again
					err = op.Err
				}
				if err != nil {
					return fmt.Errorf("no answer at %s: %w", term.Printable(s.Address), err)
				}
			}
			return nil
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", timeout, "end after `TIME`, even if a socket does not answer")
	cli.Complete(c, map[string]cobra.CompletionFunc{"timeout": cli.Any()})
	return c
}

// pinged returns the sockets to check: args, or those of the configuration.
func pinged(args []string, load func() (*config.Config, error)) (sockets []config.Listener, err error) {
	if len(args) == 0 {
		conf, err := load()
		if err != nil {
			return nil, err
		}
		return conf.Listen, nil
	}
	for _, arg := range args {
		s, err := config.ParseListener(arg)
		if err != nil {
			return nil, cli.Usage(err)
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}
