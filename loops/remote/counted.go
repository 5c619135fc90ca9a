package remote

import "time"

const (
	resultKnown = time.Minute // longer than any server sends a result that nobody answers
	maxKnown    = 10_000      // starts; some 300 bytes each
)

// counted are starts that ended lately with a result that counted, so that a
// server whose answer was lost is not told that its work was refused. Not safe
// for concurrent use.
type counted struct {
	starts map[string]known // by the last word of the inbox
	order  []string         // oldest first
}

// known is what a result has to say to be one of that start, by its server.
type known struct {
	key, by string
	at      time.Time
}

func (c *counted) add(word string, k known) {
	if c.starts == nil {
		c.starts = map[string]known{}
	}
	c.starts[word] = k
	c.order = append(c.order, word)
	c.forget(k.at)
}

// has reports whether the start of that inbox ended with a result of the server
// that says m.
func (c *counted) has(word string, m Message, now time.Time) bool {
	c.forget(now)
	k, ok := c.starts[word]
	return ok && m.V == Version && m.Type == TypeResult && m.Key == k.key && m.By == k.by
}

// forget drops what is too old or too much.
func (c *counted) forget(now time.Time) {
	for len(c.order) > 0 && (len(c.order) > maxKnown || now.Sub(c.starts[c.order[0]].at) > resultKnown) {
		delete(c.starts, c.order[0])
		c.order = c.order[1:]
	}
}
