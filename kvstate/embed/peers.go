package embed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// Peer is a process that takes part in a store.
type Peer struct {
	Runner  string    `json:"runner"` // its name in claims
	Role    string    `json:"role"`   // Options.Role; empty: not known
	PID     int       `json:"pid"`    // 0: not known
	Started time.Time `json:"started"`
	Version string    `json:"version"`
	Command string    `json:"command"`
}

// Peers returns the processes that take part in the store in a directory, the
// oldest first. It takes no part and changes nothing. None when there is no
// store.
func Peers(dir string) ([]Peer, error) {
	r := &runner{dir: filepath.Join(dir, runnersDir)}
	files, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find out who takes part in the store: %w", err)
	}
	var peers []Peer
	for _, file := range files {
		if name, ours := strings.CutSuffix(file.Name(), lockSuffix); ours && r.alive(name) {
			peers = append(peers, r.read(name))
		}
	}
	slices.SortFunc(peers, func(a, b Peer) int {
		if c := a.Started.Compare(b.Started); c != 0 {
			return c
		}
		return strings.Compare(a.Runner, b.Runner)
	})
	return peers, nil
}

// Peers returns the processes that take part in the store, this one included,
// the oldest first.
func (m *Member) Peers() ([]Peer, error) { return Peers(m.opts.Dir) }

// describe writes down what a process is, for others to read. It stands beside
// the lock and not in it: on Windows nobody else reads a locked file.
func (r *runner) describe(o Options) error {
	data, err := json.Marshal(Peer{Runner: r.name, Role: o.Role, PID: os.Getpid(), Started: time.Now().UTC(), Version: o.Version, Command: commandLine()})
	if err == nil {
		err = replace(r.about(r.name), data)
	}
	if err != nil {
		return fmt.Errorf("say that this process works on the store: %w", err)
	}
	return nil
}

// read returns what is written about a process; only its name when that can't
// be read.
func (r *runner) read(name string) Peer {
	var p Peer
	data, err := os.ReadFile(r.about(name))
	if err != nil || json.Unmarshal(data, &p) != nil {
		p = Peer{}
	}
	p.Runner = name
	return p
}

func (r *runner) about(name string) string { return filepath.Join(r.dir, name+".json") }

// Hold makes this process the only one that has the name in the store's
// directory, until it calls release or ends; ok is false when another one has it.
func Hold(dir, name string) (release func() error, ok bool, err error) {
	if err := prepare(Options{Dir: dir, AllowNetwork: true}); err != nil {
		return nil, false, err
	}
	lock := flock.New(filepath.Join(dir, name+lockSuffix), flock.SetPermissions(0o600))
	ok, err = lock.TryLock()
	if err != nil {
		return nil, false, fmt.Errorf("lock %s: %w: choose a directory on a local disk", lock.Path(), err)
	}
	// The closure keeps the lock: a collected one is no lock.
	return lock.Unlock, ok, nil
}

// Announce lets [Peers] of a directory name this process, until it calls end or
// ends, without a store there.
func Announce(opts Options) (end func() error, err error) {
	opts.AllowNetwork = true
	if opts, err = opts.check(); err != nil {
		return nil, err
	}
	if err := prepare(opts); err != nil {
		return nil, err
	}
	r, err := newRunner(opts)
	if err != nil {
		return nil, err
	}
	return r.close, nil
}

// commandLine is how this process was started, clipped.
func commandLine() string {
	text := strings.Join(os.Args, " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// replace writes a file in one step, closed to others.
func replace(path string, data []byte) error {
	half := path + ".new"
	err := os.WriteFile(half, data, 0o600)
	if err == nil {
		err = os.Rename(half, path)
	}
	if err != nil {
		_ = os.Remove(half) // it is only litter
	}
	return err
}
