package kvstate

import (
	"fmt"
	"sync"
	"testing"
)

// TestListsDoNotCutOffCommits: a list asks for the newest record and looks how
// far it has read; what is stored in between is no record that was lost.
func TestListsDoNotCutOffCommits(t *testing.T) {
	c := newCrowd(t, 4, nil)
	c.line.mu.Lock()
	before := c.line.ctx
	c.line.mu.Unlock()
	done := make(chan struct{})
	var writers, readers sync.WaitGroup
	for n := range c.states {
		writers.Go(func() {
			s := c.states[n]
			for i := range 200 {
				s.Why = fmt.Sprint("changed ", i)
				var err error
				if s, err = c.Commit(t.Context(), s); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := c.List(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if before.Err() != nil {
		t.Error("requests that were under way were given up")
	}
}
