package postfix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"signpost/internal/doctor"
)

// service is one line of master.cf.
type service struct {
	id      string // NAME/TYPE, as in postconf -P
	chroot  bool
	command string
	args    string
	over    map[string]string // the -o NAME=VALUE options
}

// postconf is the output of postconf(1). Each $name in the values is expanded.
type postconf struct {
	dir      string // of the configuration; empty: Postfix's default
	main     map[string]string
	unused   []string // NAME=VALUE, unknown to this Postfix
	services []service
	// oneList is true if main.cf has non_smtpd_milters = $smtpd_milters, so that one change corrects both.
	oneList bool
}

// readPostconf runs postconf, which knows the defaults of the installed Postfix.
func readPostconf(ctx context.Context, dir string) (*postconf, error) {
	p := &postconf{dir: dir, main: map[string]string{}}
	out, err := p.run(ctx, "-x")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(line, "=")
		p.main[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	if out, err = p.run(ctx, "-M", "-x"); err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		// The columns are: name type private unprivileged chroot wakeup processes command. Then follow -o NAME=VALUE or -o {NAME=VALUE}.
		w := split(strings.TrimSpace(line), " \t")
		if len(w) < 8 {
			continue
		}
		s := service{id: w[0] + "/" + w[1], chroot: p.chrooted(w[4]), command: w[7], args: strings.Join(w[8:], " "), over: map[string]string{}}
		for i := 8; i+1 < len(w); i++ {
			if w[i] == "-o" {
				setting := w[i+1]
				if inner, ok := strings.CutPrefix(setting, "{"); ok {
					setting = strings.TrimSuffix(inner, "}")
				}
				name, value, _ := strings.Cut(setting, "=")
				s.over[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
		p.services = append(p.services, s)
	}
	p.oneList = p.readsOneList()
	return p, nil
}

// readsOneList reports whether main.cf has non_smtpd_milters = $smtpd_milters. It reads the file, since postconf would have to run a
// second time to print unexpanded values.
func (p *postconf) readsOneList() bool {
	text, err := os.ReadFile(filepath.Join(p.main["config_directory"], "main.cf"))
	if err != nil {
		return false
	}
	settings := regexp.MustCompile(`(?m)^non_smtpd_milters[ \t]*=[ \t]*(.*(?:\n[ \t].*)*)`).FindAllStringSubmatch(string(text), -1)
	if len(settings) == 0 {
		return false
	}
	last := strings.TrimSpace(settings[len(settings)-1][1]) // postconf(5): the last setting counts
	return slices.Contains([]string{"$smtpd_milters", "${smtpd_milters}", "$(smtpd_milters)"}, last)
}

// run returns the output of postconf, and keeps its warnings about unused parameters.
func (p *postconf) run(ctx context.Context, args ...string) (string, error) {
	if p.dir != "" {
		args = append([]string{"-c", p.dir}, args...)
	}
	path, err := admin("postconf")
	if err != nil {
		return "", err
	}
	var warnings strings.Builder
	c := exec.CommandContext(ctx, path, args...)
	c.Stderr = &warnings
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(warnings.String()))
	}
	for line := range strings.Lines(warnings.String()) {
		if _, setting, ok := strings.Cut(line, ": unused parameter: "); ok && !slices.Contains(p.unused, strings.TrimSpace(setting)) {
			p.unused = append(p.unused, strings.TrimSpace(setting))
		}
	}
	return string(out), err
}

// admin returns the path of a program for administrators. It also searches directories that may be missing in PATH.
func admin(program string) (string, error) {
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if err != nil {
			if there, none := exec.LookPath(filepath.Join(dir, program)); none == nil {
				return there, nil
			}
		}
	}
	return path, err
}

// chrooted parses the fifth column of master.cf. Its default was y before compatibility level 1 (Postfix 3.0).
func (p *postconf) chrooted(column string) bool {
	return column == "y" || column == "-" && !atLeast(p.main["compatibility_level"], 1)
}

// get returns the value of a parameter for a service. If s is nil, it returns the value in main.cf.
func (p *postconf) get(s *service, name string) string {
	if p.at(s, name) != nil {
		return s.over[name]
	}
	return p.main[name]
}

// of returns the services that run a program.
func (p *postconf) of(command string) (all []*service) {
	for i := range p.services {
		if p.services[i].command == command {
			all = append(all, &p.services[i])
		}
	}
	return all
}

// places returns the places that can set a parameter: nil, which means main.cf, and each service that overrides it.
func (p *postconf) places(name string) []*service {
	all := []*service{nil}
	for i := range p.services {
		if _, ok := p.services[i].over[name]; ok {
			all = append(all, &p.services[i])
		}
	}
	return all
}

// at returns the place that sets a parameter for service s: s itself, or nil, which means main.cf.
func (p *postconf) at(s *service, name string) *service {
	if s != nil {
		if _, ok := s.over[name]; ok {
			return s
		}
	}
	return nil
}

// where returns a text that states where a parameter is set, and its value.
func (p *postconf) where(s *service, name string) string {
	if p.at(s, name) != nil {
		return "master.cf: " + s.id + " -o " + name + "=" + s.over[name]
	}
	return "main.cf: " + name + " = " + p.main[name]
}

func (p *postconf) command() string {
	if p.dir == "" {
		return "postconf"
	}
	return "postconf -c " + doctor.Quote(p.dir)
}

// set returns the command that sets parameters in main.cf. Names and values alternate.
func (p *postconf) set(namesAndValues ...string) string {
	line := p.command() + " -e"
	for pair := range slices.Chunk(namesAndValues, 2) {
		line += " " + doctor.Quote(strings.TrimSpace(pair[0]+" = "+pair[1]))
	}
	return line
}

// setAt returns the command that sets a parameter of a service, or of main.cf if s is nil. postconf -P does not accept white space in a
// value, so the items of a list are separated by commas only.
func (p *postconf) setAt(s *service, name, value string) string {
	if s == nil {
		return p.set(name, value)
	}
	items := words(value)
	for i := range items {
		items[i] = strings.ReplaceAll(items[i], " ", "")
	}
	return p.command() + " -P " + doctor.Quote(s.id+"/"+name+"="+strings.Join(items, ","))
}

// unset returns the command that removes a parameter. Afterwards, a service uses the value in main.cf, and main.cf uses the default.
func (p *postconf) unset(s *service, name string) string {
	if s == nil {
		return p.command() + " -X " + doctor.Quote(name)
	}
	return p.command() + " -PX " + doctor.Quote(s.id+"/"+name)
}

// atLeast compares dotted versions. A part that is not a number counts as 0.
func atLeast(version string, least ...int) bool {
	parts := strings.FieldsFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	for i, want := range least {
		have := 0
		if i < len(parts) {
			have, _ = strconv.Atoi(parts[i])
		}
		if have != want {
			return have > want
		}
	}
	return true
}

// words returns the items of a list that is separated by commas and white space.
func words(list string) []string { return split(list, ", \t") }

// split splits at separators that are not in braces.
func split(list, separators string) (all []string) {
	depth, word := 0, ""
	end := func() {
		if word != "" {
			all = append(all, word)
		}
		word = ""
	}
	for _, r := range list {
		switch {
		case r == '{':
			depth++
		case r == '}':
			depth--
		case depth == 0 && strings.ContainsRune(separators, r):
			end()
			continue
		}
		word += string(r)
	}
	end()
	return all
}

// tableLine is a logical line of a table, including its continuation lines.
type tableLine struct {
	first, last int // from 1
	text        string
}

// tableLines returns the logical lines of a lookup table's source, without comments.
func tableLines(text string) (all []tableLine) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case line[0] != trimmed[0] && len(all) > 0:
			all[len(all)-1].text += " " + trimmed
			all[len(all)-1].last = number
		default:
			all = append(all, tableLine{number, number, trimmed})
		}
	}
	return all
}

// Postconf returns a function that returns the output of postconf(1). dir is Postfix's configuration directory; empty: postconf's
// default.
func Postconf(dir string) func(ctx context.Context, args ...string) (string, error) {
	return (&postconf{dir: dir}).run
}
