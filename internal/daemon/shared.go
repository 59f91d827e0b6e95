package daemon

import (
	"io/fs"
	"os"
	"time"

	"signpost/internal/config"
	"signpost/internal/setup"
)

// sharedInterval is the time between two checks of the file of shared rules for changes.
const sharedInterval = 2 * time.Second

// pollShared puts the shared rules of the cluster into effect if their file has changed. If the file is missing, empty or has an error, the
// previous rules stay in effect. The error is logged once for each change of the file.
func (d *service) pollShared() {
	old := d.now.Load()
	if !old.conf.Clustered() {
		return
	}
	path := old.conf.SharedFile()
	fi, err := os.Stat(path)
	if err != nil || fi.Size() == 0 || d.sharedSeen != nil && sameContents(d.sharedSeen, fi) {
		return
	}
	d.sharedSeen = fi
	_, shared, err := config.LoadShared(path)
	if err == nil && shared.Equal(old.conf.Shared) {
		return
	}
	var g *generation
	if err == nil {
		conf := *old.conf
		conf.Shared = shared
		g, err = d.build(&conf, old)
	}
	if err != nil {
		d.log.Error("shared rules not reloaded: the previous ones stay in effect", "error", d.hintConfined(err))
		return
	}
	d.now.Store(g)
	d.log.Info("shared rules reloaded", "file", path, "forwarder", len(shared.Forwarders), "allow", len(shared.Allow), "deny", len(shared.Deny))
}

// pollHashKey makes the journal use the key of the cluster for the words that replace addresses, if the file of the key has changed.
func (d *service) pollHashKey(conf *config.Config) {
	if d.journal == nil || !conf.Clustered() {
		return
	}
	fi, err := os.Stat(conf.HashKeyFile())
	if err != nil || d.hashKeySeen != nil && sameContents(d.hashKeySeen, fi) {
		return
	}
	d.hashKeySeen = fi
	key, err := setup.HashKey(conf)
	if err != nil || key == nil {
		d.log.Error("the key for addresses in the journal cannot be read: the previous one stays in effect", "error", d.hintConfined(err))
		return
	}
	d.journal.UseSecret(key)
}

// sameContents reports whether two results of os.Stat are of the same file with the same mode, and the file has not been written in between.
func sameContents(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}
