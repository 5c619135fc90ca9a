package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// home returns the box with another store.
func (b *box) home(name string) *box {
	return &box{t: b.t, dir: b.dir, env: append(append([]string{}, b.env...), "LOOP_MCP_HOME="+filepath.Join(b.dir, name))}
}

func TestVerifyBackupAndRestore(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"verify"}, "There is nothing in the store")
	b.want(1, []string{"backup", "loops.zip"}, "nothing has been started yet")
	file := b.loop("count", "count", "until: {any: [{kind: predicate, expression: 'score >= 3.0'}]}")
	b.want(0, []string{"run", file})
	id := b.only("count")
	b.want(0, []string{"verify"}, id, "completed", "ok", "1 loops", "with a high-water mark", "damaged: 0")
	b.want(0, []string{"backup", "loops.zip"}, "1 loops and", "backed up to loops.zip")
	b.want(1, []string{"backup", "loops.zip"}, "it exists already")
	b.want(1, []string{"restore", "loops.zip"}, "the store has loops already", "LOOP_MCP_HOME")
	b.want(1, []string{"restore", "missing.zip"}, "missing.zip")
	b.want(1, []string{"restore", file}, "not a whole backup file")

	early := b.home("early")
	early.want(0, []string{"start", file})
	early.want(0, []string{"backup", "early.zip"})
	early = b.home("late")
	early.want(0, []string{"restore", "early.zip"}, "1 loops and", "restored from early.zip", "1 of them were under way and go on as after a crash, with the next process that works on loops")
	other := b.home("other")
	answer := other.answer(other.want(0, []string{"restore", "loops.zip", "--json"}))
	if answer["loops"] != 1.0 {
		t.Errorf("restored: %v", answer)
	}
	if r := b.home("third").want(0, []string{"restore", "loops.zip"}); strings.Contains(r.stdout, "under way") {
		t.Errorf("of loops that have settled it says %q", r.stdout)
	}
	want, got := b.run("show", id), other.run("show", id)
	if want.code != 0 || want.stdout != got.stdout {
		t.Errorf("shown as\n%s%s\nwant\n%s", got.stdout, got.stderr, want.stdout)
	}

	// A disk that loses the end of a block.
	blocks, err := filepath.Glob(filepath.Join(b.dir, "store", "store", "jetstream", "*", "streams", "KV_LOOPS", "msgs", "*"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("blocks: %v, %v", blocks, err)
	}
	for _, path := range blocks {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the first one does not hide it
		answer = b.answer(b.want(1, []string{"verify", "--json"}))
		if loops, _ := answer["loops"].([]any); len(loops) != 1 || !strings.Contains(b.run("verify").stdout, "was acknowledged") {
			t.Errorf("verified: %v", answer)
		}
	}
	b.want(0, []string{"ls"}, id, "failed")
	b.want(1, []string{"backup", "rest.zip"}, "0 loops and 0 blobs", "not in it: "+id)
	if data, err := os.ReadFile(filepath.Join(b.dir, "loops.zip")); err != nil || !bytes.Contains(data, []byte("SHA256SUMS")) {
		t.Errorf("the first backup: %v", err)
	}
}
