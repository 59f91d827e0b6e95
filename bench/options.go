package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options select the measurements of one run.
type options struct {
	roles      []string
	sizes      []int
	sessions   []int
	perSession []int
	delays     []time.Duration
	cold       bool
	whole      bool // nothing was selected: the whole plan
	idle       bool
	postfix    bool
	write      bool
	servers    []string
	rounds     int
	time       time.Duration
	hold       time.Duration
	signpost   string
	baseline   string
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(os.Stderr)
	list := func(name, usage string, take func(word string) error) {
		f.Func(name, usage+"; a `list` with commas", func(text string) error {
			for word := range strings.SplitSeq(text, ",") {
				if err := take(word); err != nil {
					return err
				}
			}
			return nil
		})
	}
	number := func(to *[]int) func(string) error {
		return func(word string) error {
			n, err := strconv.Atoi(word)
			if err == nil && n < 1 {
				err = fmt.Errorf("%d is too small", n)
			}
			*to = append(*to, n)
			return err
		}
	}
	list("only", "sign, verify", func(word string) error {
		if word != signing && word != verifying {
			return fmt.Errorf("%q is neither sign nor verify", word)
		}
		o.roles = append(o.roles, word)
		return nil
	})
	list("size", "sizes of a message: 4k, 10m", func(word string) error {
		n, err := parseSize(word)
		o.sizes = append(o.sizes, n)
		return err
	})
	list("sessions", "sessions at once", number(&o.sessions))
	list("messages", "messages on a connection", number(&o.perSession))
	list("dns", "delay of a DNS answer: 0s, 20ms", func(word string) error {
		d, err := time.ParseDuration(word)
		o.delays = append(o.delays, d)
		return err
	})
	list("servers", "servers by name: "+strings.Join(serverNames(), ", "), func(word string) error {
		if !slices.Contains(serverNames(), word) {
			return fmt.Errorf("no server is called %q", word)
		}
		o.servers = append(o.servers, word)
		return nil
	})
	f.BoolVar(&o.idle, "idle", false, "measure idle connections instead of messages")
	f.BoolVar(&o.postfix, "postfix", false, "measure through a real Postfix instead")
	f.BoolVar(&o.write, "write", false, "write docs/performance.md even if not everything was measured")
	f.BoolVar(&o.cold, "cold", false, "each message to verify has its own domain")
	f.IntVar(&o.rounds, "rounds", 3, "number of rounds; results are their median, ratios also show the lowest and the highest")
	f.DurationVar(&o.time, "time", 700*time.Millisecond, "duration of one measurement")
	f.DurationVar(&o.hold, "hold", 0, "do not measure, but keep the first server under load for this time")
	f.StringVar(&o.signpost, "signpost", "bin/signpost", "the `program` to measure")
	f.StringVar(&o.baseline, "baseline", "", "another build of it to compare with, as the server \"baseline\"")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.hold > 0 && (o.idle || o.postfix) {
		return o, errors.New("-hold cannot be combined with -idle or -postfix")
	}
	o.whole = o.roles == nil && o.sizes == nil && o.sessions == nil && o.perSession == nil && o.delays == nil && !o.cold && !o.idle && !o.postfix
	o.fill()
	return o, nil
}

// fill sets the options that were not set.
func (o *options) fill() {
	if o.whole {
		o.idle, o.postfix = true, true
		o.write = o.write || o.servers == nil && o.baseline == ""
	}
	if o.roles == nil {
		o.roles = []string{signing, verifying}
	}
	if o.sizes == nil {
		o.sizes = []int{4 << 10, 100 << 10, 10 << 20}
	}
	if o.sessions == nil {
		o.sessions = []int{1, 8, 64}
	}
	if o.perSession == nil {
		o.perSession = []int{10}
	}
	if o.delays == nil {
		o.delays = []time.Duration{0}
	}
	o.rounds = max(o.rounds, 1)
}

func (o *options) wants(name string) bool {
	return o.servers == nil || slices.Contains(o.servers, name)
}

// cells returns all combinations. The DNS delay affects only verification.
func (o *options) cells() (all []cell) {
	if o.whole {
		return plan()
	}
	if o.idle || o.postfix {
		return nil
	}
	for _, role := range o.roles {
		delays, cold := o.delays, o.cold
		if role == signing {
			delays, cold = delays[:1], false
		}
		for _, size := range o.sizes {
			for _, sessions := range o.sessions {
				for _, n := range o.perSession {
					for _, d := range delays {
						all = append(all, cell{role: role, size: size, sessions: sessions, perSession: n, delay: d, cold: cold})
					}
				}
			}
		}
	}
	return all
}

func parseSize(word string) (int, error) {
	unit := 1
	switch {
	case strings.HasSuffix(word, "k"):
		unit = 1 << 10
	case strings.HasSuffix(word, "m"):
		unit = 1 << 20
	}
	n, err := strconv.Atoi(strings.TrimRight(word, "km"))
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a size such as 4k, 100k or 10m", word)
	}
	return n * unit, nil
}

func sizeText(n int) string {
	switch {
	case n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
