package kvstate

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// stub is a message of which only the sequence counts.
type stub struct {
	jetstream.Msg
	seq, pending uint64
}

func (s stub) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Stream: s.seq}, NumPending: s.pending}, nil
}

// TestALargeStoreIsTakenInInOrder reads thousands of messages, as many are still to
// come and when they are about to end, and with some that come later.
func TestALargeStoreIsTakenInInOrder(t *testing.T) {
	const many = 20_000
	var took []uint64
	var passed uint64
	r := reader{
		receive: func(m jetstream.Msg, _ *jetstream.MsgMetadata) { took = append(took, m.(stub).seq) },
		pass:    func(seq uint64) { passed = seq },
	}
	for seq := range uint64(many) {
		pending := many - 1 - seq
		if seq == many/2 {
			pending = 0 // for a moment there was no more
		}
		if err := r.read(stub{seq: seq + 1, pending: pending}); err != nil {
			t.Fatal(err)
		}
		if pending == 0 && passed != seq+1 {
			t.Fatalf("at message %d, the last for now, it had passed %d", seq+1, passed)
		}
	}
	r.end()
	if len(took) != many || !slices.IsSorted(took) || passed != many {
		t.Errorf("it took %d of %d messages in, in order: %t, and passed %d", len(took), many, slices.IsSorted(took), passed)
	}
}

// TestAReaderThatIsCutOffPassesNothingThatItDidNotTakeIn ends one in the middle.
func TestAReaderThatIsCutOffPassesNothingThatItDidNotTakeIn(t *testing.T) {
	var took, passed uint64
	r := reader{
		receive: func(m jetstream.Msg, _ *jetstream.MsgMetadata) { took = m.(stub).seq },
		pass:    func(seq uint64) { passed = seq },
	}
	for seq := range uint64(3000) {
		if err := r.read(stub{seq: seq + 1, pending: 10_000}); err != nil {
			t.Fatal(err)
		}
	}
	r.end()
	if took != passed {
		t.Errorf("it took message %d in last, and says that it passed %d", took, passed)
	}
}
