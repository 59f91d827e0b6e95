package main

import (
	"slices"

	"github.com/spf13/cobra"
)

// complete completes the domains that have keys, and their selectors, if the keys directory can be read.
func (e *env) complete(root *cobra.Command) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "show", "revoke":
			c.ValidArgsFunction = e.words(2)
		case "add", "rotate", "check", "remove", "status":
			c.ValidArgsFunction = e.words(0)
		}
	}
}

// words completes a DOMAIN, then a SELECTOR where there are two arguments; with 0 each argument is a domain.
func (e *env) words(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const no = cobra.ShellCompDirectiveNoFileComp
		_, store, err := e.open()
		if err != nil || most > 0 && len(args) >= most {
			return nil, no
		}
		if most == 2 && len(args) == 1 {
			set, err := store.LoadMetadata()
			if err != nil {
				return nil, no
			}
			var selectors []string
			for _, k := range set.Of(args[0]) {
				selectors = append(selectors, k.Selector)
			}
			return selectors, no
		}
		known, err := store.Known()
		if err != nil {
			return nil, no
		}
		return slices.DeleteFunc(known, func(d string) bool { return slices.Contains(args, d) }), no
	}
}
