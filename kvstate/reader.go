package kvstate

import (
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// reader hands the messages of a consumer on, in order. While thousands of them
// are still to come, as when a store is opened, another goroutine takes them in
// beside the one that receives them; else each is taken in at once, which costs no
// change of goroutines.
type reader struct {
	receive func(jetstream.Msg, *jetstream.MsgMetadata)
	pass    func(seq uint64) // what was received up to there has been taken in

	mu      sync.Mutex
	idle    sync.Cond // with mu: nothing is left
	some    sync.Cond // with mu: there is something, or it is over
	waiting []received
	busy    bool // the other one takes something in
	running bool // there is another one
	over    bool
	done    sync.WaitGroup
}

// received is a message that waits to be taken in.
type received struct {
	m    jetstream.Msg
	meta *jetstream.MsgMetadata
}

const (
	manyToCome = 256  // messages from which on another goroutine pays
	mostAhead  = 4096 // messages that may wait for it
)

// read takes in m after all that came before it.
func (r *reader) read(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	if meta.NumPending < manyToCome {
		r.wait(0)
		r.receive(m, meta)
		r.pass(meta.Sequence.Stream)
		return nil
	}
	if !r.running {
		r.begin()
	}
	r.wait(mostAhead)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, received{m, meta})
	if !r.busy {
		r.some.Signal()
	}
	return nil
}

func (r *reader) begin() {
	r.running = true
	r.idle.L, r.some.L = &r.mu, &r.mu
	r.done.Go(r.beside)
}

// wait returns when at most that many messages wait, none of them half taken in
// when it is 0.
func (r *reader) wait(most int) {
	if !r.running {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.waiting) > most || most == 0 && r.busy {
		r.idle.Wait()
	}
}

// beside takes in what waits, all of it at a time.
func (r *reader) beside() {
	var batch []received
	for {
		r.mu.Lock()
		clear(batch)
		r.busy = false
		r.idle.Signal()
		for len(r.waiting) == 0 && !r.over {
			r.some.Wait()
		}
		if r.over {
			r.mu.Unlock()
			return
		}
		batch, r.waiting, r.busy = r.waiting, batch[:0], true
		r.idle.Signal() // there is room again
		r.mu.Unlock()
		for _, one := range batch {
			r.receive(one.m, one.meta)
		}
		r.pass(batch[len(batch)-1].meta.Sequence.Stream)
	}
}

// end waits for the other goroutine. What still waits is read again by the next
// reader, which goes on after what was taken in.
func (r *reader) end() {
	if !r.running {
		return
	}
	r.mu.Lock()
	r.over = true
	r.some.Signal()
	r.mu.Unlock()
	r.done.Wait()
}
