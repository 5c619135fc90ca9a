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
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/internal/kepttest"
	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// childDir names the variable that makes the test binary a child process.
const childDir = "KVSTATE_TEST_CHILD"

// childCrowd names the variable with how many loops a child commits to at once.
const childCrowd = "KVSTATE_TEST_CROWD"

// crowdOf returns the value of childCrowd.
func crowdOf() int {
	n, _ := strconv.Atoi(os.Getenv(childCrowd)) // not set: none
	return n
}

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
	many := crowdOf()
	store, err := kvstate.Open(ctx, js, &kvstate.Options{Mark: filepath.Join(dir, "marks"), Group: many > 0})
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if many > 0 {
		return commitTogether(ctx, store, many, out)
	}
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

// commitTogether commits to many loops at once for ever.
func commitTogether(ctx context.Context, store *kvstate.Store, many int, out *json.Encoder) error {
	ended := make(chan error, many)
	var one sync.Mutex
	for n := range many {
		go func() {
			for id := loops.ID(fmt.Sprintf("crowd-%d", n)); ; {
				s, err := addIteration(ctx, store, id)
				one.Lock()
				if err == nil {
					err = out.Encode(acknowledged{id, s.Rev, s.Iteration})
				}
				one.Unlock()
				if err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	return <-ended
}

// TestKill kills a committing process at random moments: nothing that it was
// told to be stored is lost, and what is there is whole.
func TestKill(t *testing.T) {
	t.Run("one by one", func(t *testing.T) { testKill(t, 0, 30) })
	t.Run("in batches", func(t *testing.T) { testKill(t, 40, 150) })
}

// testKill kills a child, which commits to so many loops at once (0: to three, one
// by one), after up to most commits.
func testKill(t *testing.T, crowd, most int) {
	dir, r := kepttest.Dir(t), seeded(t)
	last := map[loops.ID]acknowledged{}
	commits := 0
	for range 20 {
		commits += killedRun(t, dir, crowd, 1+r.IntN(most), time.Duration(r.IntN(3000))*time.Microsecond, last)
	}
	// No kill makes a mark that the store does not come up to.
	opts := marksOf(dir)
	js := stream(t, host(t, dir, embed.Power))
	store := open(t, js, &opts)
	for id, want := range last {
		l := must[loops.Loop](t)(store.History(t.Context(), id))
		// One more may have landed whose acknowledgement was not read.
		if l.Iteration < want.Iteration || l.Rev < want.Rev || len(l.Iterations) != l.Iteration {
			t.Errorf("%s is at iteration %d with %d records at revision %d, acknowledged was %+v", id, l.Iteration, len(l.Iterations), l.Rev, want)
		}
	}
	if len(last) != max(crowd, 3) || commits < 100 {
		t.Errorf("only %d commits to %d loops: the kills came too early to show anything", commits, len(last))
	}
	if n := inBatches(t, js); crowd > 0 && n < 100 {
		t.Errorf("only %d of %d commits went in batches", n, commits)
	}
}

// inBatches counts the records that were written in batches.
func inBatches(t *testing.T, js jetstream.JetStream) (n int) {
	t.Helper()
	st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPS"))
	for seq := uint64(1); seq <= st.CachedInfo().State.LastSeq; seq++ {
		m, err := st.GetMsg(t.Context(), seq)
		if err == nil && m.Header.Get("Nats-Batch-Id") != "" {
			n++
		}
	}
	return n
}

// killedRun kills a child a moment after it printed so many commits, and notes
// what it printed.
func killedRun(t *testing.T, dir string, crowd, after int, moment time.Duration, last map[loops.ID]acknowledged) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), must[string](t)(os.Executable()), "-test.run=^$")
	cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprint(childCrowd, "=", crowd))
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
			time.AfterFunc(moment, func() { cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil || commits < after {
		t.Fatalf("the child ended by itself after %d commits: %v %s", commits, err, problems.String())
	}
	return commits
}
