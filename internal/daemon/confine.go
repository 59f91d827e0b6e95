package daemon

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
	"signpost/internal/lookup"
	"signpost/internal/setup"
)

// These are access rights for a directory and everything below it. None of them allows running a program, or creating a link, a device
// or a socket.
const (
	mayRead   = ll.AccessFSReadFile | ll.AccessFSReadDir
	mayRecord = mayRead | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSRemoveFile
)

// resolveUnixABI is the first version of Landlock that restricts connections to unix sockets.
const resolveUnixABI = 9

// grants maps each directory to its access rights. The key is the path of the directory without symbolic links. It contains no files. A
// Landlock rule applies to an inode, so a rule for a file would not apply to a file that replaces it.
type grants map[string]landlock.AccessFSSet

// add grants rights in a directory, if it exists.
func (g grants) add(dir string, rights landlock.AccessFSSet) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return
	}
	if fi, err := os.Stat(real); err == nil && fi.IsDir() {
		g[real] |= rights
	}
}

// addTarget grants rights in the directory of a file, or of the target if the file is a link. The file need not exist.
func (g grants) addTarget(file string, rights landlock.AccessFSSet) {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	g.add(filepath.Dir(file), rights)
}

// dirs returns the directories that have any of these rights. The result is used in the log.
func (g grants) dirs(rights landlock.AccessFSSet) string {
	var all []string
	for _, dir := range slices.Sorted(maps.Keys(g)) {
		if g[dir]&rights != 0 {
			all = append(all, dir)
		}
	}
	return strings.Join(all, " ")
}

func (g grants) rules() (all []landlock.Rule) {
	for dir, rights := range g {
		all = append(all, landlock.PathAccess(rights, dir))
	}
	return all
}

// confine removes access to all files that the daemon does not need, in all threads and until the process ends:
// docs/decisions/landlock.md. It is called after the sockets are opened and the keys are read. If the kernel does not support Landlock,
// confine logs a warning and the daemon continues.
func (d *service) confine() {
	if runtime.GOOS != "linux" {
		return
	}
	_, _ = time.Now().Zone() // makes Go read the time zone file now, before access is removed
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		d.log.Warn("not confined", "error", fmt.Errorf("the kernel or the container does not support Landlock: %w", err))
		return
	}
	g := d.grants()
	if err := landlock.V11.BestEffort().RestrictPaths(g.rules()...); err != nil {
		d.log.Warn("not confined", "error", err)
		return
	}
	d.confined = true
	if abi >= resolveUnixABI {
		d.granted = g
		d.warnUnreachable(d.Config)
	}
	d.log.Info("confined", "landlock_abi", abi, "reads", g.dirs(ll.AccessFSReadFile), "writes", g.dirs(ll.AccessFSWriteFile))
}

// grants returns the rights that the daemon needs after its start.
func (d *service) grants() grants {
	g := grants{}
	if file, err := filepath.Abs(d.File); err == nil && d.File != "" {
		// This includes the right to list the directory, because conf.d may be created after the start.
		g.add(filepath.Dir(file), mayRead)
		g.add(config.DropIns(file), mayRead)
	}
	for _, name := range d.Config.Files {
		if file, err := filepath.Abs(name); err == nil {
			g.addTarget(file, ll.AccessFSReadFile)
		}
	}
	if accepted := d.Config.DMARC.ForwardersFile; accepted != "" {
		g.add(filepath.Dir(accepted), ll.AccessFSReadFile)
		g.addTarget(accepted, ll.AccessFSReadFile)
	}
	if len(d.Config.DNS.Servers) == 0 {
		g.addTarget(setup.ResolvConf, ll.AccessFSReadFile)
	}
	if d.Config.MetricsListen != "" {
		// /proc/self is not enough: the kernel replaces its inode when memory is short.
		g.add("/proc", mayRead)
	}
	g.addKeys(d.Config)
	for _, ln := range d.listeners {
		if ln.Addr().Network() == "unix" {
			g.add(filepath.Dir(ln.Addr().String()), ll.AccessFSRemoveFile|ll.AccessFSResolveUnix)
		}
	}
	if strings.HasPrefix(d.notifySocket, "/") {
		g.addTarget(d.notifySocket, ll.AccessFSResolveUnix)
	}
	for _, path := range tableSockets(d.Config) {
		g.add(filepath.Dir(path), ll.AccessFSResolveUnix)
	}
	if d.Config.Log.Syslog != "" {
		for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} { // as in log/syslog
			g.addTarget(path, ll.AccessFSResolveUnix)
		}
	}
	return g
}

// tableSockets returns the paths of the unix sockets of table servers.
func tableSockets(conf *config.Config) []string {
	all := lookup.Sockets(conf.Tables())
	if server := conf.Domains.Server; server.Network == "unix" {
		all = append(all, server.Address)
	}
	return all
}

// warnUnreachable warns of table servers to whose sockets the confined daemon cannot connect, because their directories did not exist at
// the start, or are new in the configuration.
func (d *service) warnUnreachable(conf *config.Config) {
	if d.granted == nil || len(conf.Tables()) == 0 {
		return
	}
	for _, path := range tableSockets(conf) {
		if !d.granted.includes(filepath.Dir(path), ll.AccessFSResolveUnix) {
			d.log.Warn("domains.tables: needs a restart when the directory of the socket exists, because the daemon is confined", "socket", path)
		}
	}
}

// includes reports whether dir exists and g has rights for it or for a directory above it.
func (g grants) includes(dir string, rights landlock.AccessFSSet) bool {
	real, err := filepath.EvalSymlinks(dir)
	for ; err == nil && g[real]&rights != rights; real = filepath.Dir(real) {
		if real == filepath.Dir(real) {
			return false
		}
	}
	return err == nil
}

// addKeys grants access to read the keys and to write the daemon's observations and journal. The keys directory is read-only.
func (g grants) addKeys(conf *config.Config) {
	g.add(conf.StateDir, ll.AccessFSReadDir) // os.Root must open the state directory to reach the directories below it
	g.add(conf.KeysDir(), mayRead)
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		g.add(dir, ll.AccessFSReadFile)
	}
	domains, _ := os.ReadDir(conf.KeysDir())
	for _, domain := range domains {
		dir := filepath.Join(conf.KeysDir(), domain.Name())
		if isLink(domain) {
			g.add(dir, mayRead)
		}
		files, _ := os.ReadDir(dir)
		for _, file := range files {
			if isLink(file) {
				g.addTarget(filepath.Join(dir, file.Name()), ll.AccessFSReadFile)
			}
		}
	}
	names := []string{"hosted", "observed", "locks", "journal", "tables", bouncesDir, receivedDir}
	// If a directory cannot be created, a later write fails, and the error is logged.
	_ = setup.KeyStore(conf).MakeState(append(names, filepath.Base(conf.ClusterDir()))...)
	g.add(conf.ClusterDir(), ll.AccessFSReadFile)
	for _, name := range names {
		g.add(filepath.Join(conf.StateDir, name), mayRecord)
	}
	_ = setup.KeyStore(conf).MakeState(statusDir, bounceKeyDir) // as above
	g.add(filepath.Join(conf.StateDir, statusDir), mayRead)
	g.add(filepath.Join(conf.StateDir, bounceKeyDir), mayRead)
}

func isLink(e fs.DirEntry) bool { return e.Type()&fs.ModeSymlink != 0 }

// hintConfined adds a hint to a permission error of a confined process: the possible causes.
func (d *service) hintConfined(err error) error {
	if d.confined && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; check the owner and mode of the path; if they are correct, the path is outside the directories to which the daemon is confined (log message \"confined\"), and the daemon needs a restart", err)
	}
	return err
}
