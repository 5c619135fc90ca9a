package embed

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// serverDir is the folder that the server makes for itself and never removes, in
// the folder of the store.
var serverDir = filepath.Join(storeDir, "jetstream")

// awayFor is how long the folder of a store may be away before a process gives it
// up.
const awayFor = time.Minute

var (
	errRemoved  = errors.New("it was removed")
	errReplaced = errors.New("another folder has its name")
	errUnlocked = errors.New("its lock was removed")
)

// there returns an error when the folder is not the one that it was when there
// or room was called first.
func (f *folder) there() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.same()
}

// fewFinds is how many writes of a millisecond look for the folder. When there are
// more, looking would take a part of the processors that counts.
const fewFinds = 1

// still is there for a write. The caller holds mu.
func (f *folder) still(now time.Time) error {
	if now.Sub(f.millisecond) > time.Millisecond {
		f.millisecond, f.finds = now, 0
	}
	if f.finds == fewFinds {
		return nil
	}
	f.finds++
	err := f.same()
	if err != nil {
		f.finds = 0 // the next one looks again
	}
	return err
}

// same is there. The caller holds mu.
func (f *folder) same() error {
	lock := f.sameFile(lockFile, &f.lock)
	if lock != nil && f.server == nil {
		return lock
	}
	if err := f.sameFile(serverDir, &f.server); err != nil {
		return err
	}
	if isGone(lock) {
		return &DiskError{Dir: f.path, Err: errUnlocked}
	}
	return lock
}

// found is there for a process that has just reached the server, which has made its
// folder before.
func (f *folder) found() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.same(); err != nil || f.server != nil {
		return err
	}
	return &DiskError{Dir: f.path, Err: errRemoved}
}

// isGone reports whether a name means another file now, or none.
func isGone(err error) bool { return errors.Is(err, errReplaced) || errors.Is(err, errRemoved) }

// sameFile verifies that a name still means the file that it meant when it was
// seen first. The caller holds mu.
func (f *folder) sameFile(name string, was *os.FileInfo) error {
	now, err := os.Stat(filepath.Join(f.path, name))
	switch {
	case err != nil && *was != nil && errors.Is(err, fs.ErrNotExist):
		return &DiskError{Dir: f.path, Err: errRemoved}
	case err != nil && *was != nil:
		return &DiskError{Dir: f.path, Err: err}
	case err == nil && *was == nil:
		*was = now
	case err == nil && !os.SameFile(now, *was):
		return &DiskError{Dir: f.path, Err: errReplaced}
	}
	return nil
}

// gone returns an error when what the server has written is not found at the path
// any more. That the lock alone is another file keeps others from hosting, and is
// for [folder.there] to say.
func (f *folder) gone() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server == nil {
		return nil
	}
	if err := f.sameFile(serverDir, &f.server); isGone(err) {
		return err
	}
	return nil
}

// watchFolder gives the store up when its folder is another one, or was away for
// a minute. Before that a host whose folder is away ends its server, which would
// go on with files that nobody finds again. It returns when the member is closed.
func (m *Member) watchFolder() {
	tick := time.NewTicker(m.opts.look)
	defer tick.Stop()
	for since := (time.Time{}); ; { // when it was away for the first time
		select {
		case <-m.ctx.Done():
			return
		case <-m.over:
			return
		case <-tick.C:
		}
		err := m.folder.gone()
		switch {
		case err == nil:
			since = time.Time{}
		case since.IsZero(): // it is about to be put back, perhaps
			since = time.Now()
		case errors.Is(err, errReplaced) || time.Since(since) >= m.opts.away:
			m.giveUp(err)
			return
		default:
			m.leave(err)
		}
	}
}

// leave breaks with the server of a folder that is away, and ends it if it is
// here. The dialer looks for the folder from then on.
func (m *Member) leave(why error) {
	m.mu.Lock()
	host := m.host
	if host != nil {
		m.endHost("the folder of the store is away")
	}
	m.mu.Unlock()
	if host != nil || m.conn.IsConnected() {
		m.trouble.note(m.log, why)
		_ = m.conn.ForceReconnect() // it is closed: nobody waits
	}
}

// giveUp ends the part that this process takes in a store that is gone.
func (m *Member) giveUp(why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endHost("the folder of the store is gone")
	m.trouble.note(m.log, why)
	m.end(why)
}

// endHost ends the server if it is here. mu is held.
func (m *Member) endHost(because string) {
	host := m.host
	if host == nil {
		return
	}
	m.host = nil
	if err := host.Close(); err != nil {
		m.log.Errorf("%s: %v", because, err)
	}
}

// end says that nothing but Close works any more, to everybody who waits for
// that, and ends the connection. mu is held.
func (m *Member) end(why error) {
	if m.replaced != nil {
		return
	}
	m.replaced = why
	if m.conn != nil {
		m.tasks.Go(m.conn.Close)
	}
	close(m.over)
}

// There returns a [*DiskError] when the folder of the store is not the one any
// more that was opened. It is quick.
func (m *Member) There() error { return m.folder.there() }

// There is that of [Member].
func (h *Host) There() error { return h.folder.there() }
