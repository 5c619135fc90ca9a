package embed

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// The server writes a batch into a new folder of its stream, syncs it there, then
// writes it again where it belongs, syncs that, acknowledges, and removes the
// folder. The first copy is for a batch that must be whole or not at all. Those
// of a loop store need not: each record in one is a commit of its own, and none is
// acknowledged before the second copy is synced. So the first one is kept in
// memory, where that is a folder: it still outlives a process that is killed. Of
// four syncs one remains, and making and removing the folder costs little.
const (
	batchesDir   = "batches"
	stagePattern = "loop-mcp-batches-*"
	stageRoom    = 32 << 20 // bytes that the memory must have; a batch has 4 MiB
)

// Stage keeps what the server has of batches before they are committed in memory,
// if the system has a folder for that. It is called when a stream that takes
// batches has been made, and does nothing where it is done already.
func (h *Host) Stage() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stageAll()
}

// stageAll does so for all streams. The caller holds mu.
func (h *Host) stageAll() {
	if h.srv == nil || h.opts.Durability != Power {
		return
	}
	for _, link := range stageLinks(filepath.Join(h.root, storeDir)) {
		if err := h.stage(link); err != nil {
			h.log.Noticef("batches go to the disk twice: %v", err) // slower, and no harm
		}
	}
}

// Stage is that of [Host], if this process hosts the server.
func (m *Member) Stage() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.host != nil {
		m.host.Stage()
	}
}

// stage replaces the folder of a stream's batches. The caller holds mu.
func (h *Host) stage(link string) error {
	if h.staged == "" {
		memory := memoryDir()
		if memory == "" {
			return nil
		}
		var err error
		if h.staged, err = os.MkdirTemp(memory, stagePattern); err != nil {
			return err
		}
	}
	target, err := os.Readlink(link)
	if err == nil && target == h.staged {
		return nil
	}
	// One that is in use is not empty and stays.
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(h.staged, link)
}

// unlink removes the folder in memory and what points to it: a copy of the store's
// folder must not need what is elsewhere. The caller holds mu, and the server has
// ended; the next one makes both anew. A host that is killed leaves both.
func (h *Host) unlink() {
	if h.staged == "" {
		return
	}
	unstage(h.staged) // first: the next host does away with a link to nothing
	for _, link := range stageLinks(filepath.Join(h.root, storeDir)) {
		if target, err := os.Readlink(link); err == nil && target == h.staged {
			_ = os.Remove(link) // one that stays does no harm
		}
	}
}

// stageLinks returns where the streams below store that take batches have them.
func stageLinks(store string) []string {
	metas, _ := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", "*", metaFile)) // the pattern is well-formed
	var links []string
	for _, meta := range metas {
		var config struct {
			Atomic bool `json:"allow_atomic"`
		}
		data, err := os.ReadFile(meta)
		if err == nil && json.Unmarshal(data, &config) == nil && config.Atomic {
			links = append(links, filepath.Join(filepath.Dir(meta), batchesDir))
		}
	}
	return links
}

// oldStages returns the folders in memory that an earlier server left. The one
// that starts may still read what is in them.
func oldStages(store string) []string {
	var old []string
	for _, link := range stageLinks(store) {
		if target, err := os.Readlink(link); err == nil {
			old = append(old, target)
		}
	}
	return old
}

// unstage removes folders in memory, and nothing else, also when it has become
// too full for new ones.
func unstage(dirs ...string) {
	for _, dir := range dirs {
		own, _ := filepath.Match(stagePattern, filepath.Base(dir)) // the pattern is well-formed
		if own && shm != "" && filepath.Dir(dir) == shm {
			_ = os.RemoveAll(dir) // in nobody's way
		}
	}
}
