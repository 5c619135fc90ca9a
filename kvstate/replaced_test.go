package kvstate_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/kvstate/mark"
	"example.com/loop-mcp/loops"
)

// broughtBack is a store in which all records of a settled loop are there, those
// that its last snapshot had replaced, too: what a server finds that was killed
// while it recovered from being killed. Without last the last one is not there any
// more. It returns how many there were.
func broughtBack(t *testing.T, js jetstream.JetStream, id loops.ID, last bool) uint64 {
	t.Helper()
	before, first := fresh(t, nil)
	s := must[loops.State](t)(before.Create(t.Context(), newLoop(id)))
	for range 3 {
		s = must[loops.State](t)(before.Commit(t.Context(), iterate(s, "again")))
	}
	st := must[jetstream.Stream](t)(first.Stream(t.Context(), "KV_LOOPS"))
	var records []*jetstream.RawStreamMsg
	read := func(seq uint64) {
		records = append(records, must[*jetstream.RawStreamMsg](t)(st.GetMsg(t.Context(), seq)))
	}
	for seq := uint64(1); seq <= s.Rev; seq++ {
		read(seq)
	}
	s.Status, s.Stop = loops.Completed, &loops.Stop{Reason: loops.GoalClaimed}
	s = must[loops.State](t)(before.Commit(t.Context(), s))
	read(s.Rev)

	if err := open(t, js, nil).Close(); err != nil { // makes the streams
		t.Fatal(err)
	}
	for n, r := range records {
		if n == len(records)-1 && !last {
			break
		}
		header := nats.Header{"Loop-Head": r.Header["Loop-Head"]}
		must[*jetstream.PubAck](t)(js.PublishMsg(t.Context(), &nats.Msg{Subject: r.Subject, Header: header, Data: r.Data}))
	}
	return uint64(len(records))
}

// TestRecordsThatACrashBroughtBackAreRemoved once their loop has settled, so that
// they are not what is left of it after its retention.
func TestRecordsThatACrashBroughtBackAreRemoved(t *testing.T) {
	js := stream(t, host(t, t.TempDir(), embed.Process))
	if n := broughtBack(t, js, "old-aaaa", true); records(t, js, "old-aaaa") != n {
		t.Fatalf("%d records, want %d", records(t, js, "old-aaaa"), n)
	}
	store := open(t, js, nil)
	for records(t, js, "old-aaaa") != 1 { // ends with the test's deadline
		select {
		case <-t.Context().Done():
			t.Fatalf("%d records are left", records(t, js, "old-aaaa"))
		case <-time.After(5 * time.Millisecond):
		}
	}
	l := must[loops.Loop](t)(store.History(t.Context(), "old-aaaa"))
	if l.Status != loops.Completed || len(l.Iterations) != 3 {
		t.Errorf("the loop is %s with %d iterations", l.Status, len(l.Iterations))
	}
}

// TestASettledLoopDoesNotRunAgainAfterItsRetention: its last record has come to
// the end of its time, and a crash has brought back older ones, which say that the
// loop wants a worker.
func TestASettledLoopDoesNotRunAgainAfterItsRetention(t *testing.T) {
	js := stream(t, host(t, t.TempDir(), embed.Process))
	n := broughtBack(t, js, "old-aaaa", false)
	marks := filepath.Join(t.TempDir(), "marks")
	f, err := mark.Open(mark.Options{Dir: marks, Writer: "run-before"})
	if err != nil {
		t.Fatal(err)
	}
	f.Note("old-aaaa", mark.Mark{Rev: n, Expires: time.Now().Add(-time.Minute).Unix()})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	store := open(t, js, &kvstate.Options{Mark: marks})
	if heads := must[[]loops.Head](t)(store.List(t.Context())); len(heads) != 0 {
		t.Errorf("it is listed: %+v", heads)
	}
	if _, err := store.Load(t.Context(), "old-aaaa"); !errors.Is(err, loops.ErrNotFound) {
		t.Errorf("Load gives %v", err)
	}
	for records(t, js, "old-aaaa") != 0 { // ends with the test's deadline
		select {
		case <-t.Context().Done():
			t.Fatalf("%d records are left", records(t, js, "old-aaaa"))
		case <-time.After(5 * time.Millisecond):
		}
	}
}
