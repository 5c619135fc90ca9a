package embed

import (
	"sync"
	"time"
)

// trouble is why there is no connection.
type trouble struct {
	mu     sync.Mutex
	err    error
	since  time.Time
	logged string
}

// note remembers why there is no connection, and tells the log when that lasts.
func (t *trouble) note(log *logger, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.since = time.Now()
	}
	t.err = err
	if text := err.Error(); time.Since(t.since) > quietFor && text != t.logged {
		t.logged = text
		log.Warnf("the store can't be reached: %v", err)
	}
}

func (t *trouble) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err, t.logged = nil, ""
}

// Trouble returns why there is no connection to the store; nil when there is one.
func (m *Member) Trouble() error {
	m.trouble.mu.Lock()
	defer m.trouble.mu.Unlock()
	return m.trouble.err
}
