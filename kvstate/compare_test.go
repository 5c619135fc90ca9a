package kvstate

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// TestALoopThatIsCompactedWhileTheStoreIsOpenedIsNotQuarantined: its record was
// replaced by a snapshot just before it was read, and the snapshot comes only
// after all the others.
func TestALoopThatIsCompactedWhileTheStoreIsOpenedIsNotQuarantined(t *testing.T) {
	dir := t.TempDir()
	h, err := embed.Start(t.Context(), embed.Options{Dir: dir, Durability: embed.Process})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	js, err := jetstream.New(h.Conn())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), js, &Options{Mark: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now().UTC()
	if _, err := s.Create(t.Context(), loops.State{ID: "one-aaaa", Status: loops.Queued, Limits: loops.DefaultLimits(), UpdatedAt: now,
		Origin: loops.Origin{Spec: loops.Spec{Name: "test", Goal: "be there"}, Source: loops.SourceLibrary, CreatedAt: now}}); err != nil {
		t.Fatal(err)
	}
	s.projection.mu.Lock()
	s.projection.forget("one-aaaa") // as if it had not been read
	s.projection.mu.Unlock()
	if err := s.compare(t.Context(), s.marks.All()); err != nil {
		t.Fatal(err)
	}
	heads, err := s.List(t.Context())
	if err != nil || len(heads) != 1 || heads[0].Status != loops.Queued {
		t.Errorf("listed are %+v, %v", heads, err)
	}
}
