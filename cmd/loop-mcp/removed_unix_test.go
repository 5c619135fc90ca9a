//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheFolderIsRemovedAndMadeAnewUnderServers: the store of the newcomer stays
// whole, whatever the others do until they end, nothing is acknowledged that is in
// no folder any more, and clients go on with the new store without a restart. A
// user saw damaged records in the new one.
func TestTheFolderIsRemovedAndMadeAnewUnderServers(t *testing.T) {
	b := newBox(t)
	servers := map[string]*client{"the host": b.opened(), "the other": b.opened()}
	old := map[string]any{}
	for name, c := range servers {
		s, problem := c.call("loop_start", human)
		if problem != "" {
			t.Fatalf("%s: %s", name, problem)
		}
		old[name] = s["loop_id"]
	}
	watch := b.start("watch")
	b.until("watch does not begin", func() bool { return len(b.processes()) == 3 })
	// At once: a server that still writes would make it anew under the hands of whoever removes it.
	if err := os.Rename(filepath.Join(b.dir, "store"), filepath.Join(b.dir, "removed")); err != nil {
		t.Fatal(err)
	}
	for name, c := range servers {
		for tool, arguments := range map[string]map[string]any{"loop_start": human, "loop_pause": {"loop_id": old[name]}} {
			if _, problem := c.call(tool, arguments); !strings.Contains(problem, "was removed") || strings.Contains(problem, "damaged") {
				t.Errorf("%s of %s says %q", tool, name, problem)
			}
		}
	}
	b.want(0, []string{"start", b.loop("new", "effect", "until: {all: [{kind: claim}]}")})
	if r := watch.wait(); r.code != 1 || !strings.Contains(r.stderr, "was replaced") && !strings.Contains(r.stderr, "was removed") {
		t.Errorf("watch ends with %+v", r)
	}
	id := b.only("new")
	for name, c := range servers {
		b.until(name+" does not go on with the new folder", func() bool {
			s, problem := c.call("loop_inspect", map[string]any{"loop_id": id})
			if problem != "" && (!strings.Contains(problem, "replaced") || strings.Contains(problem, "damaged")) {
				t.Fatalf("%s says %q", name, problem)
			}
			return s["status"] == "completed"
		})
	}
	for _, c := range servers {
		c.close()
	}
	b.want(0, []string{"verify"}, "1 loops", "damaged: 0")
}
