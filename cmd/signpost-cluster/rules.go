package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"signpost/internal/cluster"
	"signpost/internal/config"
)

// mergeShared returns a function for cluster.Options.Merge, which merges the file of shared rules at path.
func mergeShared(path string, log *slog.Logger) func(base, database map[cluster.RuleID]string) (map[cluster.RuleID]string, error) {
	return func(base, database map[cluster.RuleID]string) (map[cluster.RuleID]string, error) {
		before, shared, err := config.LoadShared(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		var local map[cluster.RuleID]string // nil: the file is missing or empty
		if len(before) > 0 {
			local = map[cluster.RuleID]string{}
			for _, e := range shared.Entries {
				local[ruleID(e)] = e.Text
			}
		}
		// This program cannot read these rules, so it leaves them as they are in the database.
		foreign := map[cluster.RuleID]string{}
		for id, text := range database {
			if local[id] == "" && config.CheckSharedEntry(config.SharedEntry{Kind: id.Kind, Name: id.Name, Text: text}) != nil {
				foreign[id] = text
				log.Debug("rule is not in a format that this version of Signpost knows", "kind", id.Kind, "name", id.Name)
			}
		}
		if local != nil {
			maps.Copy(local, foreign)
		}
		merged, conflicts := cluster.MergeRules(base, local, database)
		entries := arrange(shared.Entries, merged, foreign)
		if slices.Equal(entries, shared.Entries) {
			return merged, nil
		}
		if err := config.WriteShared(path, before, entries); err != nil {
			return nil, err
		}
		for _, id := range conflicts {
			log.Warn("rule changed on two hosts, the database wins", "kind", id.Kind, "name", id.Name)
		}
		return merged, nil
	}
}

func ruleID(e config.SharedEntry) cluster.RuleID { return cluster.RuleID{Kind: e.Kind, Name: e.Name} }

// arrange returns the merged rules, except the foreign ones, as entries of the file: those that the file has in their order, then the others.
func arrange(present []config.SharedEntry, merged, foreign map[cluster.RuleID]string) (all []config.SharedEntry) {
	rest := maps.Clone(merged)
	maps.DeleteFunc(rest, func(id cluster.RuleID, _ string) bool { return foreign[id] != "" })
	for _, e := range present {
		if text := rest[ruleID(e)]; text != "" {
			all = append(all, config.SharedEntry{Kind: e.Kind, Name: e.Name, Text: text})
			delete(rest, ruleID(e))
		}
	}
	order := func(a, b cluster.RuleID) int { return strings.Compare(a.Kind+" "+a.Name, b.Kind+" "+b.Name) }
	for _, id := range slices.SortedFunc(maps.Keys(rest), order) {
		all = append(all, config.SharedEntry{Kind: id.Kind, Name: id.Name, Text: rest[id]})
	}
	return all
}
