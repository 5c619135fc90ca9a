package kvstate

import (
	"slices"
	"sync"

	"example.com/loop-mcp/loops"
)

// maxJournals bounds the bytes of the journals that are kept in memory.
const maxJournals = 32 << 20

// entryCost is what an entry of a journal takes beside its bytes.
const entryCost = 48

// journals keeps the journals of the loops that this store commits to, so that a
// snapshot reads nothing back. One counts only for the record that it ends with,
// named by revision and nonce: after a commit of another process it is ignored.
type journals struct {
	mu    sync.Mutex
	known map[loops.ID]*knownJournal
	bytes int
	clock uint64
}

// knownJournal is the journal of a loop up to one of its records.
type knownJournal struct {
	journal
	rev     uint64
	nonce   string
	objects []string // parts of the records since the snapshot that are in the object store
	bytes   int
	used    uint64 // when, in commits of this store
}

// get returns the journal up to the record at rev. The caller may add to it.
func (c *journals) get(id loops.ID, rev uint64, nonce string) (journal, []string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[id]
	if k == nil || k.rev != rev || k.nonce != nonce {
		return journal{}, nil, false
	}
	j := k.journal
	// What is added must not land in what is kept.
	j.Iterations, j.Decisions = slices.Clip(j.Iterations), slices.Clip(j.Decisions)
	j.Verdicts, j.Events = slices.Clip(j.Verdicts), slices.Clip(j.Events)
	return j, slices.Clip(k.objects), true
}

// extend notes that the delta w has been written at seq, if the journal up to
// the record before it is known.
func (c *journals) extend(w *write, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := w.Head.ID
	k := c.known[id]
	if k == nil {
		return
	}
	if k.rev != w.Prev || k.nonce != w.PrevNonce {
		c.forget(id)
		return
	}
	k.add(w.delta)
	k.objects = append(k.objects, w.objects()...)
	k.rev, k.nonce = seq, w.Nonce
	c.grow(id, k, w.delta.bytes())
}

// replace notes that the snapshot w has been written at seq.
func (c *journals) replace(w *write, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := w.Head.ID
	c.forget(id)
	if w.Head.Status.Settled() {
		return
	}
	k := &knownJournal{journal: w.journal, rev: seq, nonce: w.Nonce, objects: w.objects()}
	if c.known == nil {
		c.known = map[loops.ID]*knownJournal{}
	}
	c.known[id] = k
	c.grow(id, k, w.journal.bytes())
}

// grow counts bytes and makes room for them. The journal that was used least
// recently goes first.
func (c *journals) grow(id loops.ID, k *knownJournal, bytes int) {
	c.clock++
	k.used = c.clock
	k.bytes += bytes
	c.bytes += bytes
	for c.bytes > maxJournals {
		oldest := id
		for other, o := range c.known {
			if o.used < c.known[oldest].used {
				oldest = other
			}
		}
		c.forget(oldest)
	}
}

// drop forgets a loop, such as one that does not verify.
func (c *journals) drop(id loops.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(id)
}

func (c *journals) forget(id loops.ID) {
	if k := c.known[id]; k != nil {
		c.bytes -= k.bytes
		delete(c.known, id)
	}
}
