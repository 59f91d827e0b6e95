package postfix

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	id      string // NAME/TYPE, as postconf -P has it
	chroot  bool
	command string
	args    string
	over    map[string]string // its -o NAME=VALUE
}

// postconf is what postconf(1) prints. Values are as Postfix sees them, with each $name expanded.
type postconf struct {
	dir      string // of the configuration, empty: Postfix's own
	main     map[string]string
	unused   []string // NAME=VALUE, which mean nothing to this Postfix
	services []service
	// oneList says that main.cf has non_smtpd_milters = $smtpd_milters: what is wrong with both is mended in one place.
	oneList bool
}

// readFacts asks postconf, which knows the defaults of the Postfix that is installed.
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
		// name type private unprivileged chroot wakeup processes command, then -o NAME=VALUE or -o {NAME=VALUE}
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

// readsOneList looks into main.cf itself: postconf shows values either as they stand or with each $name put in, and a second
// start of it would cost more than this.
func (p *postconf) readsOneList() bool {
	text, err := os.ReadFile(filepath.Join(p.main["config_directory"], "main.cf"))
	if err != nil {
		return false
	}
	settings := regexp.MustCompile(`(?m)^non_smtpd_milters[ \t]*=[ \t]*(.*(?:\n[ \t].*)*)`).FindAllStringSubmatch(string(text), -1)
	if len(settings) == 0 {
		return false
	}
	last := strings.TrimSpace(settings[len(settings)-1][1]) // that one counts: postconf(5)
	return slices.Contains([]string{"$smtpd_milters", "${smtpd_milters}", "$(smtpd_milters)"}, last)
}

// postconf runs it, and notes what it warns of.
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

// admin finds a program where an administrator has it, for a user whose PATH does not go there.
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

// chrooted reads the fifth column. Its default was y until compatibility level 1 (Postfix 3.0).
func (p *postconf) chrooted(column string) bool {
	return column == "y" || column == "-" && !atLeast(p.main["compatibility_level"], 1)
}

// get is a parameter as a service sees it; nil is main.cf itself.
func (p *postconf) get(s *service, name string) string {
	if p.at(s, name) != nil {
		return s.over[name]
	}
	return p.main[name]
}

// of are the services that run a program.
func (p *postconf) of(command string) (all []*service) {
	for i := range p.services {
		if p.services[i].command == command {
			all = append(all, &p.services[i])
		}
	}
	return all
}

// places are main.cf, and each service that says otherwise there for itself.
func (p *postconf) places(name string) []*service {
	all := []*service{nil}
	for i := range p.services {
		if _, ok := p.services[i].over[name]; ok {
			all = append(all, &p.services[i])
		}
	}
	return all
}

// at is where a service's value of a parameter stands: with the service, or nil in main.cf.
func (p *postconf) at(s *service, name string) *service {
	if s != nil {
		if _, ok := s.over[name]; ok {
			return s
		}
	}
	return nil
}

// where names a parameter and what stands there.
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

// set is the line that gives main.cf names and values, in turn.
func (p *postconf) set(namesAndValues ...string) string {
	line := p.command() + " -e"
	for pair := range slices.Chunk(namesAndValues, 2) {
		line += " " + doctor.Quote(strings.TrimSpace(pair[0]+" = "+pair[1]))
	}
	return line
}

// setAt is set for one service, where it says so for itself; main.cf otherwise. postconf -P takes no white space in a value;
// no list needs it.
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

// unset is the line that takes a parameter out, so that its default counts, or main.cf's for a service.
func (p *postconf) unset(s *service, name string) string {
	if s == nil {
		return p.command() + " -X " + doctor.Quote(name)
	}
	return p.command() + " -PX " + doctor.Quote(s.id+"/"+name)
}

// atLeast compares dotted versions; what cannot be read is 0.
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

// words are the items of a list: between commas and white space.
func words(list string) []string { return split(list, ", \t") }

// split cuts at separators, and keeps together what stands in braces.
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

// sortedKeys are for an order that stays.
func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// tableLine is a logical line of a table: what follows it indented belongs to it.
type tableLine struct {
	first, last int // from 1
	text        string
}

// tableLines are those of a lookup table's source, without its comments.
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
