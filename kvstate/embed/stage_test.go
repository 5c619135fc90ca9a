package embed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestBatchesOutliveWhereTheyWereStaged sends batches to servers one after the
// other, each of which finds something else in the place where the one before had
// the folder for them.
func TestBatchesOutliveWhereTheyWereStaged(t *testing.T) {
	memory := memoryDir()
	if memory == "" {
		t.Skip("this system has no folder in memory")
	}
	dir := t.TempDir()
	streams := filepath.Join(dir, "store", "jetstream", "$G", "streams")
	link := filepath.Join(streams, "ONE", batchesDir)
	foreign := t.TempDir()
	check(t, os.WriteFile(filepath.Join(foreign, "file"), nil, 0o600))
	killed, err := os.MkdirTemp(memory, stagePattern) //nolint:usetesting // it has to be there
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(killed)) })
	sent, before := uint64(0), ""
	for _, round := range []struct {
		name string
		left func()
	}{
		{"a new store", func() {}},
		{"what an orderly end left", func() {}},
		{"what a killed host left", func() { check(t, os.Symlink(killed, link)) }},
		{"what a restart of the machine left", func() { check(t, os.Symlink(filepath.Join(memory, "loop-mcp-batches-gone"), link)) }},
		{"a folder that is not ours", func() { check(t, os.Symlink(foreign, link)) }},
		{"a folder on the disk", func() { check(t, os.Mkdir(link, 0o700)) }},
	} {
		t.Run(round.name, func(t *testing.T) {
			if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if sent > 0 {
				round.left()
			}
			h, err := Start(t.Context(), Options{Dir: dir})
			check(t, err)
			defer h.Close()
			js, err := jetstream.New(h.Conn())
			check(t, err)
			_, err = js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "ONE", Subjects: []string{"one"}, AllowAtomicPublish: true})
			check(t, err)
			_, err = js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "TWO", Subjects: []string{"two"}})
			check(t, err)
			h.Stage()
			target, err := os.Readlink(link)
			if err != nil || filepath.Dir(target) != memory || target == before || target == killed {
				t.Errorf("batches are staged in %q: %v", target, err)
			}
			if _, err := os.Lstat(filepath.Join(streams, "TWO", batchesDir)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a stream without batches has a folder for them: %v", err)
			}
			sendTwo(t, h.Conn(), round.name)
			check(t, h.Restart(t.Context()))
			again, err := h.connect()
			check(t, err)
			sendTwo(t, again, round.name+" again")
			again.Close()
			sent += 4
			now, err := os.Readlink(link)
			check(t, err)
			check(t, h.Close())
			if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a copy of the folder would follow a link to nowhere: %v", err)
			}
			for _, gone := range []string{target, now, killed} {
				if _, err := os.Stat(gone); gone != killed || round.name == "what a killed host left" {
					if !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%s is still there: %v", gone, err)
					}
				}
			}
			before = target
			h, err = Start(t.Context(), Options{Dir: dir})
			check(t, err)
			js, err = jetstream.New(h.Conn())
			check(t, err)
			s, err := js.Stream(t.Context(), "ONE")
			check(t, err)
			if got := s.CachedInfo().State.Msgs; got != sent {
				t.Errorf("the stream has %d messages, want %d", got, sent)
			}
			check(t, h.Close())
		})
	}
	if _, err := os.Stat(filepath.Join(foreign, "file")); err != nil {
		t.Errorf("what is not ours: %v", err)
	}
}

// sendTwo sends a batch of two messages.
func sendTwo(t *testing.T, nc *nats.Conn, id string) {
	t.Helper()
	for n := range 2 {
		m := &nats.Msg{Subject: "one", Header: nats.Header{"Nats-Batch-Id": {id}, "Nats-Batch-Sequence": {fmt.Sprint(n + 1)}}}
		if n == 0 {
			check(t, nc.PublishMsg(m))
			continue
		}
		m.Header["Nats-Batch-Commit"] = []string{"1"}
		answer, err := nc.RequestMsgWithContext(t.Context(), m)
		if err != nil || !strings.Contains(string(answer.Data), `"count":2`) {
			t.Fatalf("the batch: %v, %v", answer, err)
		}
	}
}
