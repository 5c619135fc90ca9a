package linear_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/internal/leaktest"
	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// The variables that make the test binary a process with a store, and one that
// answers inspect with what it saw first.
const (
	processDir   = "LINEAR_TEST_PROCESS"
	processStale = "LINEAR_TEST_STALE"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(processDir)
	if dir == "" {
		os.Exit(leaktest.Run(m))
	}
	if err := serve(dir, os.Getenv(processStale) != ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// wire is one line to a process or from it.
type wire struct {
	N     uint64
	Loop  loops.ID // empty: start one
	Call  call
	Reply reply
	Host  bool // of the first line: whether it hosts the store
}

// serve carries out calls until the input ends.
func serve(dir string, stale bool) error {
	ctx := context.Background()
	m, err := embed.Join(ctx, embed.Options{Dir: dir, Durability: embed.Process})
	if err != nil {
		return err
	}
	js, err := jetstream.New(m.Conn())
	if err != nil {
		return err
	}
	store, err := kvstate.Open(ctx, js, &kvstate.Options{Runner: m.Runner(), Alive: m.Alive, Mark: filepath.Join(dir, "marks")})
	if err != nil {
		return err
	}
	p := server{engine: loops.New(store, loops.Parts{}, nil), stale: stale, first: map[loops.ID]view{}, out: json.NewEncoder(os.Stdout)}
	p.say(wire{Host: m.Hosts()})
	var calls sync.WaitGroup
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var w wire
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			return err
		}
		calls.Go(func() {
			w.Loop, w.Reply = p.answer(ctx, w)
			p.say(w)
		})
	}
	calls.Wait()
	return errors.Join(store.Close(), m.Close())
}

type server struct {
	engine *loops.Engine
	stale  bool

	mu    sync.Mutex
	first map[loops.ID]view
	out   *json.Encoder
}

func (p *server) say(w wire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.out.Encode(w) // whoever listened is gone
}

func (p *server) answer(ctx context.Context, w wire) (loops.ID, reply) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, r, err := p.carryOut(ctx, w)
	if refused, ok := errors.AsType[*loops.RefusedError](err); ok {
		r.Refused = refused.Code
	} else if err != nil {
		r.Problem = err.Error()
	}
	return out, r
}

func (p *server) carryOut(ctx context.Context, w wire) (loops.ID, reply, error) {
	if w.Loop == "" {
		out, err := p.engine.Start(ctx, loops.StartRequest{Labels: map[string]string{"history": w.Call.ID}, Spec: loops.Spec{Name: "linear", Goal: "be controlled",
			Body: loops.BodySpec{Kind: loops.BodyClient}, Until: &loops.Until{All: []loops.Condition{{Kind: loops.StopClaim}}},
			Limits: loops.Limits{MaxIterations: loops.Count(w.Call.Max), MaxPasses: 1000}}})
		return out.ID, reply{View: viewOf(out.State)}, err
	}
	switch w.Call.Action {
	case inspect:
		s, err := p.engine.Get(ctx, w.Loop)
		return w.Loop, reply{View: p.seen(w.Loop, viewOf(s))}, err
	case list:
		heads, _, err := p.engine.List(ctx, loops.Filter{Limit: 100, Labels: map[string]string{"history": w.Call.Attention}})
		if err == nil && len(heads) != 1 {
			err = fmt.Errorf("%d loops in the list", len(heads))
		}
		if err != nil {
			return w.Loop, reply{}, err
		}
		h := heads[0]
		return w.Loop, reply{View: view{h.Status, h.Iteration, h.Ledger.Starts, int(h.Limits.MaxIterations), h.Epoch, -1, h.Rev}}, nil
	}
	notDone := false
	out, err := p.engine.Do(ctx, w.Loop, loops.Request{Action: w.Call.Action, RequestID: w.Call.ID, AttentionID: w.Call.Attention,
		Message: "to the left", Output: "an answer", Done: &notDone, Limits: loops.Limits{MaxIterations: loops.Count(w.Call.Max)}})
	return w.Loop, reply{View: viewOf(out.State), Reused: out.Reused, Already: out.AlreadySettled}, err
}

func viewOf(s loops.State) view {
	return view{s.Status, s.Iteration, s.Ledger.Starts, int(s.Limits.MaxIterations), s.Epoch, len(s.Steers), s.Rev}
}

// seen returns v, or what a stale process saw first.
func (p *server) seen(id loops.ID, v view) view {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first, ok := p.first[id]; ok && p.stale {
		return first
	}
	p.first[id] = v
	return v
}

// process is a server as its clients see it.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	host bool
	gone chan struct{} // closed when it has ended

	mu      sync.Mutex
	n       uint64
	pending map[uint64]chan wire
}

func begin(t *testing.T, dir string, stale bool) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), processDir+"="+dir)
	if stale {
		cmd.Env = append(cmd.Env, processStale+"=1")
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, in: in, gone: make(chan struct{}), pending: map[uint64]chan wire{}}
	lines := bufio.NewScanner(out)
	var first wire
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &first) != nil {
		t.Fatalf("a process did not begin: %q", lines.Text())
	}
	p.host = first.Host
	go p.read(lines)
	return p
}

// read hands on answers until the process has ended.
func (p *process) read(lines *bufio.Scanner) {
	defer close(p.gone)
	for lines.Scan() {
		var w wire
		if json.Unmarshal(lines.Bytes(), &w) != nil {
			break // cut off by the kill
		}
		p.mu.Lock()
		if to := p.pending[w.N]; to != nil {
			to <- w
			delete(p.pending, w.N)
		}
		p.mu.Unlock()
	}
	_ = p.cmd.Wait() // killed
}

// call sends a call and waits for its answer; ok is false when there is none.
func (p *process) call(w wire) (answer wire, ok bool) {
	to := make(chan wire, 1)
	p.mu.Lock()
	p.n++
	w.N = p.n
	p.pending[w.N] = to
	data, err := json.Marshal(w)
	if err == nil {
		_, err = p.in.Write(append(data, '\n'))
	}
	p.mu.Unlock()
	if err != nil {
		return wire{}, false
	}
	select {
	case answer = <-to:
		return answer, true
	case <-p.gone:
	}
	select {
	case answer = <-to: // it came before the end
		return answer, true
	default:
		return wire{}, false
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // or it has ended already
	<-p.gone
}
