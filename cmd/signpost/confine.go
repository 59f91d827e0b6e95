package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"signpost/internal/config"
	"signpost/internal/setup"
)

// What the daemon may do in a folder and below it. Nowhere may it run a program, or make a link, a device or a socket.
const (
	mayRead   = ll.AccessFSReadFile | ll.AccessFSReadDir
	mayRecord = mayRead | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSRemoveFile
)

// grants are folders, their links followed, and what may be done in them. They are folders throughout: Landlock's rules go
// with the inode, so that the rule of a file would not be that of the one which takes its place.
type grants map[string]landlock.AccessFSSet

// add grants rights in a folder. One that is not there needs none.
func (g grants) add(folder string, rights landlock.AccessFSSet) {
	real, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return
	}
	if fi, err := os.Stat(real); err == nil && fi.IsDir() {
		g[real] |= rights
	}
}

// addTarget grants rights in the folder where a file really is, or would be.
func (g grants) addTarget(file string, rights landlock.AccessFSSet) {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	g.add(filepath.Dir(file), rights)
}

// with are the folders with any of these rights, for the log.
func (g grants) with(rights landlock.AccessFSSet) string {
	var all []string
	for _, folder := range slices.Sorted(maps.Keys(g)) {
		if g[folder]&rights != 0 {
			all = append(all, folder)
		}
	}
	return strings.Join(all, " ")
}

func (g grants) rules() (all []landlock.Rule) {
	for folder, rights := range g {
		all = append(all, landlock.PathAccess(rights, folder))
	}
	return all
}

// confine gives up, in all threads and until the process ends, whatever the daemon does not need of the files of this
// machine: docs/decisions/landlock.md. Sockets are open by now and keys are read. Where the kernel cannot do it, it is said
// and the daemon goes on.
func (d *service) confine() {
	if runtime.GOOS != "linux" {
		return
	}
	_, _ = time.Now().Zone() // reads the time zone, which Go does at its first use, and not again
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		d.log.Warn("not confined", "error", fmt.Errorf("this kernel, or the container, has no Landlock: %w", err))
		return
	}
	g := d.grants()
	if err := landlock.V11.BestEffort().RestrictPaths(g.rules()...); err != nil {
		d.log.Warn("not confined", "error", err)
		return
	}
	d.confined = true
	d.log.Info("confined", "landlock_abi", abi, "reads", g.with(ll.AccessFSReadFile), "writes", g.with(ll.AccessFSWriteFile))
}

// grants is what the daemon needs from now on.
func (d *service) grants() grants {
	g := grants{}
	if file, err := filepath.Abs(d.file); err == nil && d.file != "" {
		// Listed too: conf.d may be created after the start.
		g.add(filepath.Dir(file), mayRead)
		g.add(config.DropIns(file), mayRead)
	}
	for _, name := range d.conf.Files {
		if file, err := filepath.Abs(name); err == nil {
			g.addTarget(file, ll.AccessFSReadFile)
		}
	}
	if accepted := d.conf.DMARC.ForwardersFile; accepted != "" {
		g.add(filepath.Dir(accepted), ll.AccessFSReadFile)
		g.addTarget(accepted, ll.AccessFSReadFile)
	}
	if len(d.conf.DNS.Servers) == 0 {
		g.addTarget(setup.ResolvConf, ll.AccessFSReadFile)
	}
	if d.conf.MetricsListen != "" {
		// Not /proc/self alone: its inode is made anew when the kernel was short of memory.
		g.add("/proc", mayRead)
	}
	g.addKeys(d.conf)
	for _, ln := range d.listeners {
		if ln.Addr().Network() == "unix" {
			g.add(filepath.Dir(ln.Addr().String()), ll.AccessFSRemoveFile|ll.AccessFSResolveUnix)
		}
	}
	if strings.HasPrefix(d.manager, "/") {
		g.addTarget(d.manager, ll.AccessFSResolveUnix)
	}
	if d.conf.Log.Syslog != "" {
		for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} { // as log/syslog has them
			g.addTarget(path, ll.AccessFSResolveUnix)
		}
	}
	return g
}

// addKeys grants the access to read the keys, and to write the daemon's own records. The keys directory is read-only.
func (g grants) addKeys(conf *config.Config) {
	g.add(conf.StateDir, ll.AccessFSReadDir) // os.Root opens the directories in it through it
	g.add(conf.KeysDir(), mayRead)
	if folder := os.Getenv("CREDENTIALS_DIRECTORY"); folder != "" {
		g.add(folder, ll.AccessFSReadFile)
	}
	domains, _ := os.ReadDir(conf.KeysDir())
	for _, domain := range domains {
		folder := filepath.Join(conf.KeysDir(), domain.Name())
		if isLink(domain) {
			g.add(folder, mayRead)
		}
		files, _ := os.ReadDir(folder)
		for _, file := range files {
			if isLink(file) {
				g.addTarget(filepath.Join(folder, file.Name()), ll.AccessFSReadFile)
			}
		}
	}
	names := []string{"hosted", "observed", "locks", "journal"}
	// A directory that cannot be created cannot be written to either, and that is logged when it is tried.
	_ = setup.KeyStore(conf).MakeState(names...)
	for _, name := range names {
		g.add(filepath.Join(conf.StateDir, name), mayRecord)
	}
}

func isLink(e fs.DirEntry) bool { return e.Type()&fs.ModeSymlink != 0 }

// outside adds both possible causes to "permission denied" in a confined process.
func (d *service) outside(err error) error {
	if d.confined && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; check the owner and mode of the path; if they are right, it lies outside the directories that the daemon has confined itself to (the line \"confined\" at its start) and needs a restart", err)
	}
	return err
}
