package loops

import (
	"context"
	"iter"
	"time"
)

// LiveLog carries the live text of running loops to other processes and keeps
// the last minute of it. It is lossy by design: what a body prints for good is
// its output. Safe for concurrent use.
type LiveLog interface {
	// Publish hands out a piece of live text. It never blocks; pieces that come
	// faster than they can be sent are joined, and cut with a remark that says
	// how much is missing. A piece without text and tool is not carried.
	Publish(id ID, l LiveLine)
	// Follow yields what loop id said in the last minute, oldest first, and
	// then each line as it comes, until ctx ends. An unknown loop says nothing.
	// A reader that is slow misses lines. ErrClosed when the log is closed.
	Follow(ctx context.Context, id ID) iter.Seq2[LiveLine, error]
}

// LiveLine is live text with its time and place.
type LiveLine struct {
	At    time.Time `json:"at"`
	Start int       `json:"start"` // which start of the body said it: Ledger.Starts
	Live
}
