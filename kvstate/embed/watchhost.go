package embed

import (
	"errors"
	"time"
)

// lookEvery is how often the others look whether the host is stopped. It counts
// when it is twice running: a moment's stop is no trouble.
const lookEvery = 500 * time.Millisecond

var errSuspended = errors.New("it is stopped")

// watchHost breaks the connection to a host that is stopped, so that requests
// fail and say why instead of waiting for it. The connection comes back when the
// host goes on or is replaced. It returns when the member is closed.
func (m *Member) watchHost() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for seen := 0; ; {
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
		}
		m.mu.Lock()
		pid := m.hostPID
		if m.host != nil {
			pid = 0
		}
		m.mu.Unlock()
		if pid == 0 || !suspended(pid) {
			seen = 0
			continue
		}
		if seen++; seen == 2 {
			m.trouble.note(m.log, m.notYet(errSuspended))
			_ = m.conn.ForceReconnect() // it is closed: nobody waits
		}
	}
}

// Lasts reports that the holder is known to be stopped: waiting a little longer
// does not help.
func (e *InUseError) Lasts() bool { return e.Suspended }
