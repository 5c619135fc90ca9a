package kvstate_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
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

var hostKills = flag.Int("hostkills", 8, "how often TestKilledHost kills the host")

// sharedDir names the variable that makes the test binary a process that shares
// the store in a directory with others.
const sharedDir = "KVSTATE_TEST_SHARED"

// report is what such a process prints after each commit.
type report struct {
	Runner    string
	ID        loops.ID
	Rev       uint64
	Iteration int
	Hosts     bool
	At        time.Time
}

// common is the loop that all of them commit to.
const common loops.ID = "common-aaaa"

// shareForever commits to a loop of its own and to the common one until it is
// killed, or until standard input ends.
func shareForever(dir string) error {
	ctx := context.Background()
	m, err := embed.Join(ctx, embed.Options{Dir: dir})
	if err != nil {
		return err
	}
	js, err := jetstream.New(m.Conn())
	if err != nil {
		return err
	}
	store, err := kvstate.Open(ctx, js, &kvstate.Options{Runner: m.Runner(), Alive: m.Alive, Trouble: m.Trouble, Group: crowdOf() > 0})
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	out := json.NewEncoder(os.Stdout)
	var one sync.Mutex
	own := strings.ToLower(m.Runner())
	commit := func(id loops.ID) error {
		s, err := addIteration(ctx, store, id)
		if err != nil {
			return err
		}
		one.Lock()
		defer one.Unlock()
		return out.Encode(report{m.Runner(), id, s.Rev, s.Iteration, m.Hosts(), time.Now()})
	}
	many := max(crowdOf(), 1)
	ended := make(chan error, many)
	for n := range many {
		go func() { ended <- commitInTurn(loops.ID(fmt.Sprintf("%s-%d", own, n)), n == 0, stop, commit) }()
	}
	for range many {
		err = errors.Join(err, <-ended)
	}
	return errors.Join(err, store.Close(), m.Close())
}

// commitInTurn commits to a loop of its own, and now and then to the common one,
// until stop closes.
func commitInTurn(own loops.ID, shares bool, stop chan struct{}, commit func(loops.ID) error) error {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		id := own
		if shares && n%5 == 4 {
			id = common
		}
		if err := commit(id); err != nil {
			return err
		}
	}
}

// addIteration commits one more iteration, whoever else does, too.
func addIteration(ctx context.Context, store *kvstate.Store, id loops.ID) (loops.State, error) {
	for {
		s, err := store.Load(ctx, id)
		if errors.Is(err, loops.ErrNotFound) {
			s, err = store.Create(ctx, newLoop(id))
			if errors.Is(err, loops.ErrExists) {
				continue
			}
		}
		if err == nil {
			s, err = store.Commit(ctx, iterate(s, "by "+store.Runner()))
		}
		if !errors.Is(err, loops.ErrConflict) {
			return s, err
		}
	}
}

// sharer is such a process.
type sharer struct {
	cmd      *exec.Cmd
	stdin    io.Closer
	problems strings.Builder
	done     chan struct{}

	mu       sync.Mutex
	last     report
	count    int
	worst    time.Duration // between two commits
	previous time.Time
	grew     chan struct{}
}

// audience collects what all of them were told to be stored.
type audience struct {
	mu   sync.Mutex
	last map[loops.ID]report
}

func (a *audience) note(r report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Iteration > a.last[r.ID].Iteration {
		a.last[r.ID] = r
	}
}

func (a *audience) join(t *testing.T, dir string, crowd int) *sharer {
	t.Helper()
	p := &sharer{cmd: exec.CommandContext(t.Context(), must[string](t)(os.Executable()), "-test.run=^$"), done: make(chan struct{}), grew: make(chan struct{}, 1)}
	p.cmd.Env = append(os.Environ(), sharedDir+"="+dir, fmt.Sprint(childCrowd, "=", crowd))
	p.cmd.Stderr = &p.problems
	p.stdin = must[io.WriteCloser](t)(p.cmd.StdinPipe())
	out := must[io.ReadCloser](t)(p.cmd.StdoutPipe())
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var r report
			if json.Unmarshal(lines.Bytes(), &r) != nil {
				break // cut off by the kill
			}
			a.note(r)
			p.take(r)
		}
	}()
	return p
}

func (p *sharer) take(r report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.previous.IsZero() {
		p.worst = max(p.worst, r.At.Sub(p.previous))
	}
	p.last, p.previous = r, r.At
	p.count++
	select {
	case p.grew <- struct{}{}:
	default:
	}
}

// commits waits for so many more commits.
func (p *sharer) commits(t *testing.T, n int) {
	t.Helper()
	late := time.After(time.Minute)
	p.mu.Lock()
	want := p.count + n
	p.mu.Unlock()
	for {
		p.mu.Lock()
		enough := p.count >= want
		p.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-p.grew:
		case <-p.done:
			t.Fatalf("the process ended: %s", p.problems.String())
		case <-late:
			t.Fatalf("no commit any more, the last one was %+v", p.last)
		}
	}
}

func (p *sharer) hosts() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last.Hosts
}

// reset forgets the longest gap and returns it.
func (p *sharer) reset() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	worst := p.worst
	p.worst = 0
	return worst
}

// TestKilledHost kills the process that hosts the store while it and others
// commit. The others go on, and nothing that anybody was told to be stored is
// lost.
func TestKilledHost(t *testing.T) {
	t.Run("one by one", func(t *testing.T) { testKilledHost(t, 1, 5) })
	t.Run("in batches", func(t *testing.T) { testKilledHost(t, 24, 1) })
}

// testKilledHost has processes that commit to so many loops at once, each a few
// times from kill to kill.
func testKilledHost(t *testing.T, crowd, few int) {
	dir, r := kepttest.Dir(t), seeded(t)
	told := &audience{last: map[loops.ID]report{}}
	var all []*sharer
	for range 3 {
		all = append(all, told.join(t, dir, crowd))
	}
	var gaps []time.Duration
	for range *hostKills {
		for _, p := range all {
			p.commits(t, crowd*(few+r.IntN(4*few)))
			p.reset()
		}
		at := slices.IndexFunc(all, (*sharer).hosts)
		if at < 0 {
			t.Fatal("nobody hosts the store")
		}
		if err := all[at].cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-all[at].done
		_ = all[at].cmd.Wait() // it was killed
		all = slices.Delete(all, at, at+1)
		for _, p := range all {
			p.commits(t, 2*few*crowd)
			gaps = append(gaps, p.reset())
		}
		all = append(all, told.join(t, dir, crowd))
	}
	for _, p := range all { // graceful, one after the other
		p.commits(t, few*crowd)
		p.stdin.Close()
		<-p.done
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("a process ended with %v: %s", err, p.problems.String())
		}
	}
	slices.Sort(gaps)
	t.Logf("gaps after %d kills: p50 %s, p99 %s, longest %s", *hostKills, gaps[len(gaps)/2], gaps[(len(gaps)*99-1)/100], gaps[len(gaps)-1])
	store := open(t, stream(t, host(t, dir, embed.Power)), nil)
	for id, want := range told.last {
		l := must[loops.Loop](t)(store.History(t.Context(), id))
		// More may have landed whose acknowledgement was not read.
		if l.Iteration < want.Iteration || l.Rev < want.Rev || len(l.Iterations) != l.Iteration {
			t.Errorf("%s is at iteration %d with %d records at revision %d, acknowledged was %+v", id, l.Iteration, len(l.Iterations), l.Rev, want)
		}
	}
	if len(told.last) != crowd*(3+*hostKills)+1 {
		t.Errorf("%d loops were committed to", len(told.last))
	}
}

func sharedChild(dir string) {
	if err := shareForever(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
