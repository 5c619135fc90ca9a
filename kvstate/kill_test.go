package kvstate_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// childDir names the variable that makes the test binary a child process.
const childDir = "KVSTATE_TEST_CHILD"

// acknowledged is what the child prints after each commit.
type acknowledged struct {
	ID        loops.ID
	Rev       uint64
	Iteration int
}

// child commits to three loops until it is killed.
func child(dir string) {
	if err := commitForever(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func commitForever(dir string) error {
	ctx := context.Background()
	h, err := embed.Start(ctx, embed.Options{Dir: dir})
	if err != nil {
		return err
	}
	js, err := jetstream.New(h.Conn())
	if err != nil {
		return err
	}
	store, err := kvstate.Open(ctx, js, &kvstate.Options{Mark: filepath.Join(dir, "marks")})
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 1))
	states := map[loops.ID]loops.State{}
	for n := 0; ; n++ {
		id := loops.ID(fmt.Sprintf("kill-%d", n%3))
		s, ok := states[id]
		if !ok {
			if s, err = store.Load(ctx, id); err != nil {
				s, err = store.Create(ctx, newLoop(id))
			}
			if err != nil {
				return err
			}
		}
		size := 2000
		if n%40 == 39 {
			size = 400_000 // through the object store
		}
		if s, err = store.Commit(ctx, iterate(s, noise(r, size))); err != nil {
			return err
		}
		states[id] = s
		if err := out.Encode(acknowledged{id, s.Rev, s.Iteration}); err != nil {
			return err
		}
	}
}

// TestKill kills a committing process at random moments: nothing that it was
// told to be stored is lost, and what is there is whole.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	last := map[loops.ID]acknowledged{}
	commits := 0
	for range 20 {
		commits += killedRun(t, dir, 1+rand.IntN(30), last)
	}
	// No kill makes a mark that the store does not come up to.
	opts := marksOf(dir)
	store := open(t, stream(t, host(t, dir, embed.Power)), &opts)
	for id, want := range last {
		l := must[loops.Loop](t)(store.History(t.Context(), id))
		// One more may have landed whose acknowledgement was not read.
		if l.Iteration < want.Iteration || l.Rev < want.Rev || len(l.Iterations) != l.Iteration {
			t.Errorf("%s is at iteration %d with %d records at revision %d, acknowledged was %+v", id, l.Iteration, len(l.Iterations), l.Rev, want)
		}
	}
	if len(last) != 3 || commits < 100 {
		t.Errorf("only %d commits to %d loops: the kills came too early to show anything", commits, len(last))
	}
}

// killedRun kills a child after it printed so many commits, and notes what it
// printed.
func killedRun(t *testing.T, dir string, after int, last map[loops.ID]acknowledged) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), must[string](t)(os.Executable()), "-test.run=^$")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	var problems strings.Builder
	cmd.Stderr = &problems
	out := must[io.ReadCloser](t)(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, commits := bufio.NewScanner(out), 0
	for lines.Scan() {
		var a acknowledged
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			break // cut off by the kill
		}
		if before := last[a.ID]; a.Iteration <= before.Iteration || a.Rev <= before.Rev {
			t.Errorf("acknowledged %+v after %+v", a, before)
		}
		last[a.ID] = a
		if commits++; commits == after {
			// In the middle of the commits that follow.
			time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil || commits < after {
		t.Fatalf("the child ended by itself after %d commits: %v %s", commits, err, problems.String())
	}
	return commits
}
