package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"signpost/internal/cluster"
	"signpost/internal/testsql"
)

// trouble is a fault of a cluster. It lasts for some days.
type trouble struct {
	name              string
	days              int
	slow              bool // each query takes long, so a day has one step only
	begin, daily, end func()
}

// disaster makes the faults of a site.
type disaster struct {
	*site
	long     bool // a year
	imported int
	kill     int // the step before which the next leader is killed
	had      []string
	who      *member           // the host that has the fault
	resume   chan struct{}     // continues a command that waits
	done     chan struct{}     // is closed when that command has ended
	backup   map[string]string // the files of a host at an earlier time
	joined   int
	dumped   bool // the tables of an old dump exist
	died     time.Time
}

// order returns the faults in random order.
func (d *disaster) order() []trouble {
	away := 6
	if d.long {
		away = 31
	}
	nothing := func() {}
	all := []trouble{
		{name: "the database is gone", days: 9, begin: d.server.Stop, end: d.server.Start},
		{name: "the database is slow", days: 1, slow: true, begin: d.network(func(p *testsql.Proxy) { p.Delay(25 * time.Millisecond) }), end: d.network(func(p *testsql.Proxy) { p.Delay(0) })},
		{name: "the database does not answer", days: 2, slow: true, begin: d.network(func(p *testsql.Proxy) { p.BlackHole(true) }), end: d.network(func(p *testsql.Proxy) { p.BlackHole(false); p.Cut() })},
		{name: "the database is read-only", days: 3, begin: func() { d.setReadOnly(true) }, end: func() { d.setReadOnly(false) }},
		{name: "the database failed over", days: 1, begin: nothing, daily: func() { d.server.Stop(); d.server.Start() }, end: nothing},
		{name: "the database is restored from an old dump", days: 5, begin: d.dump, daily: d.dayOfDump, end: d.restore},
		{name: "one host has no network", days: 3, begin: func() { d.cut(d.any()) }, end: d.healed},
		{name: "the leader has no network", days: 3, begin: func() { d.cut(d.leader()) }, end: d.healed},
		{name: "the leader is killed", days: 4, begin: nothing, daily: d.killLeader, end: d.healed},
		{name: "an old leader wakes", days: 4, begin: d.pause, end: d.wake},
		{name: "clocks are apart", days: 5, begin: func() { d.skew(90 * time.Minute) }, end: func() { d.skew(5 * time.Minute) }},
		{name: "a host is away and sends", days: away, begin: func() { d.cut(d.any()) }, end: d.healed},
		{name: "a dead host leaves", days: 8, begin: d.die, daily: d.bury, end: d.reborn},
		{name: "a key is compromised while a host has no network", days: 3, begin: func() { d.cut(d.any()); d.compromise(d.other(), "example.org") }, end: d.healed},
		{name: "an attacker writes to the database", days: 2, begin: d.attack, end: d.repair},
		{name: "a host joins with old keys", days: 2, begin: d.joinOld, end: nothing},
	}
	if !d.long {
		for i := range all {
			if all[i].days != away {
				all[i].days = min(all[i].days, 2)
			}
		}
	}
	d.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func (d *disaster) network(set func(p *testsql.Proxy)) func() {
	return func() {
		for _, m := range d.members {
			set(m.proxy)
		}
	}
}

// setReadOnly makes the database read-only, as if it were a replica.
func (d *disaster) setReadOnly(on bool) {
	d.Helper()
	d.readOnly = on
	value := "OFF"
	if on {
		value = "ON"
	}
	if d.server.Name == "MariaDB" {
		d.sql("SET GLOBAL read_only = " + value)
		return
	}
	d.sql("ALTER ROLE host SET default_transaction_read_only = "+value, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'host'")
}

func (d *disaster) any() *member { return d.members[d.random.IntN(len(d.members))] }

// other returns a host without the fault.
func (d *disaster) other() *member {
	for {
		if m := d.any(); m != d.who {
			return m
		}
	}
}

// cut separates a host from the database. It still sends mail.
func (d *disaster) cut(m *member) {
	if m == nil {
		m = d.any()
	}
	d.who = m
	m.proxy.Refuse(true)
}

// healed repairs the host that has the fault.
func (d *disaster) healed() {
	if m := d.who; m != nil {
		m.proxy.Refuse(false)
		if m.off {
			m.off = false
			m.start()
		}
	}
	d.who = nil
}

// dump keeps a copy of the tables.
func (d *disaster) dump() {
	d.Helper()
	d.dumped = true
	for _, table := range cluster.Tables() {
		d.sql("DROP TABLE IF EXISTS "+table.Name+"_dump", "CREATE TABLE "+table.Name+"_dump AS SELECT * FROM "+table.Name)
	}
}

func (d *disaster) dayOfDump() {
	d.Helper()
	if d.random.IntN(2) == 0 {
		d.command(d.any(), "rotate", "example.net", "--now")
	}
}

// restore puts the copy back. Each host that knows a later version stops, until the operator accepts the restored database.
func (d *disaster) restore() {
	d.Helper()
	for _, table := range cluster.Tables() {
		d.sql("DELETE FROM "+table.Name, "INSERT INTO "+table.Name+" SELECT * FROM "+table.Name+"_dump")
	}
	for _, m := range d.members {
		stopped := (*cluster.Stop)(nil)
		if err := m.node.Sync(d.Context()); !errors.As(err, &stopped) || stopped.Reason != cluster.Restored {
			d.Errorf("%s: %s synchronizes with a restored database: %v", d.at(), m.name, err)
		}
	}
	d.day(nil)
	for _, m := range d.members {
		if m.node.Sync(d.Context()) == nil {
			continue // a host before it has raised the version above that of this host
		}
		if err := m.node.AcceptRestore(d.Context()); err != nil {
			d.Errorf("%s: accept-restore on %s: %v", d.at(), m.name, err)
		}
		d.judge(m)
	}
}

// killLeader kills the leader before a durable step of a command, and turns it off. The leader of yesterday is on again.
func (d *disaster) killLeader() {
	d.Helper()
	d.healed()
	d.sync()
	leader := d.leader()
	if leader == nil {
		return
	}
	d.kill++
	if !leader.killed(d.kill, "rotate", "example.org", "--now") {
		d.kill = 0
		return
	}
	d.judge(leader)
	leader.stop()
	leader.off, d.who = true, leader
}

// killed is like interrupted, but an exit code of 1 is allowed.
func (m *member) killed(step int, args ...string) (is bool) {
	m.Helper()
	type stop struct{}
	n := 0
	m.env.hook = func(string) {
		if n++; n == step {
			panic(stop{})
		}
	}
	defer func() {
		m.env.hook = nil
		if r := recover(); r != nil {
			if _, is = r.(stop); !is {
				panic(r)
			}
		}
	}()
	m.run(args...)
	return false
}

// pause makes a command of the leader stop before a durable step. The leader then has no network.
func (d *disaster) pause() {
	d.Helper()
	d.who = d.leader()
	if d.who == nil {
		return
	}
	m, n, step := d.who, 0, 1+d.random.IntN(6)
	paused := make(chan struct{})
	d.resume, d.done = make(chan struct{}), make(chan struct{})
	resume := d.resume
	m.env.hook = func(string) {
		if n++; n == step {
			close(paused)
			<-resume
		}
	}
	done := d.done
	go func() {
		defer close(done)
		m.run("rotate", "example.org", "--now")
	}()
	select {
	case <-paused:
		m.proxy.Refuse(true)
		m.down = true
	case <-done:
		m.env.hook = nil
	}
}

// wake continues the command.
func (d *disaster) wake() {
	d.Helper()
	if m := d.who; m != nil {
		close(d.resume)
		<-d.done
		m.env.hook = nil
		m.down = false
		d.judge(m)
		m.rotate()
	}
	d.healed()
}

// skew sets all clocks to a random difference from the right time.
func (d *disaster) skew(most time.Duration) {
	for _, m := range d.members {
		m.skew = time.Duration(d.random.Int64N(int64(2*most))) - most
		m.restart() // a process measures the lease with a clock that does not jump
	}
}

// die turns a host off.
func (d *disaster) die() {
	d.who = d.any()
	d.who.stop()
	d.who.off, d.died = true, d.now()
}

// bury removes the host from the cluster after four days.
func (d *disaster) bury() {
	d.Helper()
	m := d.other()
	if status, err := m.node.Status(d.Context()); err != nil || len(status.Hosts) < len(d.members) {
		return
	}
	if grace := 4 * 24 * time.Hour; d.long && d.now().Sub(d.died) < grace {
		return
	}
	if err := m.node.Leave(d.Context(), d.who.name); err != nil {
		d.Errorf("%s: leave %s: %v", d.at(), d.who.name, err)
	}
	d.sync()
}

// reborn turns the host on again. It does not synchronize until it joins.
func (d *disaster) reborn() {
	d.Helper()
	m := d.who
	m.off = false
	m.start()
	stopped := (*cluster.Stop)(nil)
	if err := m.node.Sync(d.Context()); !errors.As(err, &stopped) || stopped.Reason != cluster.Left {
		d.Errorf("%s: %s was removed from the cluster, and its synchronization returns: %v", d.at(), m.name, err)
	}
	if _, err := m.node.Join(d.Context()); err != nil {
		d.Errorf("%s: join of %s: %v", d.at(), m.name, err)
	}
	d.who = nil
}

// joinOld adds a machine with the keys that another one had at the beginning.
func (d *disaster) joinOld() {
	d.Helper()
	d.joined++
	m := d.newMember("old" + strings.Repeat("x", d.joined))
	for path, text := range d.backup {
		file := filepath.Join(m.dir, "state", path)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			d.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			d.Fatal(err)
		}
	}
	if _, err := m.node.Join(d.Context()); err != nil {
		d.Errorf("%s: join with old keys: %v", d.at(), err)
	}
	d.site.add(m)
	d.judge(m)
}

// attack makes an attacker with all rights change the database: he adds a rule, swaps the keys of two selectors, and replays the row of a key
// that was revoked since. No host uses these rows.
func (d *disaster) attack() {
	d.Helper()
	d.sync()
	d.sync() // what was changed before
	before := map[*member]map[string]string{}
	for _, m := range d.members {
		m.log.lines("")
		before[m] = m.files()
	}
	d.sql("DROP TABLE IF EXISTS sp_copy", "CREATE TABLE sp_copy AS SELECT * FROM sp_key", "UPDATE sp_site SET version = version + 3")
	const version = "(SELECT version FROM sp_site)"
	pair := strings.Fields(d.server.Run(d.name, "SELECT MIN(selector) FROM sp_key WHERE domain = 'example.org' AND selector LIKE 'sp%' UNION ALL SELECT MAX(selector) FROM sp_key WHERE domain = 'example.org' AND selector LIKE 'sp%'"))
	if len(pair) != 2 {
		d.Fatalf("selectors %q", pair)
	}
	for i, selector := range pair {
		d.sql("UPDATE sp_key SET sealed = (SELECT sealed FROM sp_copy WHERE domain = 'example.org' AND selector = '" + pair[1-i] + "'), version = " + version +
			" WHERE domain = 'example.org' AND selector = '" + selector + "'")
	}
	d.sql("INSERT INTO sp_rule (kind, name, version, key_id, body, mac) SELECT 'allow', 'mallory" + d.now().Format(time.DateOnly) + "', " + version + ", key_id, 'x', mac FROM sp_rule WHERE kind = 'host' AND name = '" + d.members[0].name + "'")
	if d.dumped {
		d.sql("UPDATE sp_key SET version = " + version + ", sealed = (SELECT sealed FROM sp_key_dump WHERE sp_key_dump.domain = sp_key.domain AND sp_key_dump.selector = sp_key.selector)" +
			" WHERE domain = 'example.net' AND selector IN (SELECT selector FROM sp_key_dump WHERE domain = 'example.net')")
	}
	d.sync()
	d.sync()
	for _, m := range d.members {
		refused := m.log.lines("cluster row refused")
		seen := map[string]bool{}
		for _, line := range refused {
			_, line, _ = strings.Cut(line, "table=")
			if seen[line] || !strings.Contains(line, "reason=forged") {
				d.Errorf("%s: %s: not one line for each row: %q", d.at(), m.name, refused)
			}
			seen[line] = true
		}
		if len(seen) < 3 {
			d.Errorf("%s: %s refused only %q", d.at(), m.name, refused)
		}
		after := m.files()
		for path := range merged(before[m], after) {
			if before[m][path] != after[path] {
				d.Errorf("%s: %s: %s changed", d.at(), m.name, path)
			}
		}
	}
}

// repair writes the rows again.
func (d *disaster) repair() {
	d.Helper()
	if err := d.any().node.AcceptRestore(d.Context()); err != nil {
		d.Errorf("%s: accept-restore: %v", d.at(), err)
	}
}
