package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// Options of a run.
type Options struct {
	Seed    uint64
	Loops   int           // loops that users start; bodies and `run` start more
	Kills   int           // processes that are killed
	Servers int           // MCP servers at the same time; 0: 4
	Live    int           // loops under way at the same time; 0: 24
	Settle  time.Duration // how long everything may take to finish after the last kill; 0: 3 minutes
	Gap     time.Duration // between two faults, on average; 0: 250 ms
	Dir     string        // where the run is kept; empty: a temporary folder
	Program string        // loop-mcp; empty: it is built
	Body    string        // cmd/body; empty: it is built
	Tags    string        // with which it is built
	Env     []string      // of every process
	Config  string        // more lines of the configuration
	Damage  int           // loops whose newest record is damaged
	Calm    bool          // only SIGKILL: no stops, no orderly ends
	Nested  bool          // only trees of loops
	Paid    bool          // only loops that ask a provider
	Many    bool          // most loops are worked on by their client, and come to their end together
	Cluster bool          // the loops are on three NATS servers, which are killed, too
	Workers int           // in a cluster: processes of `loop-mcp worker`; 0: 3
	Log     func(format string, args ...any)
}

// world is a run.
type world struct {
	opts    Options
	dir     string
	program string
	body    string
	env     []string

	history *history
	slots   []*slot
	nodes   *nodes       // nil: the store is a folder
	started atomic.Int64 // loops
	settled atomic.Int64 // of them
	kills   atomic.Int64
	done    chan struct{} // closed when the last kill was made

	mu    sync.Mutex
	known map[string]bool // ids that were acknowledged
}

// history writes what clients were told.
type history struct {
	mu  sync.Mutex
	out *os.File
}

func (h *history) add(t audit.Told) {
	if t.At == 0 {
		t.At = time.Now().UnixNano()
	}
	line, err := json.Marshal(t)
	if err != nil {
		panic(err) // plain data
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.out.Write(append(line, '\n')); err != nil {
		panic(err) // without its history a run proves nothing
	}
}

// Run makes a run and audits it. dir is where it is kept.
func Run(ctx context.Context, opts Options) (report audit.Report, dir string, err error) {
	w, err := newWorld(ctx, opts)
	if err != nil {
		return report, "", err
	}
	defer w.history.out.Close()
	err = w.run(ctx)
	for _, s := range w.slots { // those that are left when it could not go on
		if srv := s.take(); srv != nil {
			srv.kill()
		}
	}
	w.leftBehind(ctx)
	report, auditErr := w.audited(ctx)
	return report, w.dir, errors.Join(err, auditErr)
}

func newWorld(ctx context.Context, opts Options) (*world, error) {
	if opts.Cluster {
		opts.clustered()
	}
	if opts.Servers == 0 {
		opts.Servers = 4
	}
	if opts.Live == 0 {
		opts.Live = 24
	}
	if opts.Settle == 0 {
		opts.Settle = 3 * time.Minute
	}
	if opts.Gap == 0 {
		opts.Gap = 250 * time.Millisecond
	}
	if opts.Log == nil {
		opts.Log = func(string, ...any) {}
	}
	w := &world{opts: opts, dir: opts.Dir, done: make(chan struct{}), known: map[string]bool{}}
	var err error
	if w.dir == "" {
		w.dir, err = os.MkdirTemp("", "chaos-")
	}
	for _, sub := range []string{"config/loop-mcp", "logs", "files", "bin"} {
		if err == nil {
			err = os.MkdirAll(filepath.Join(w.dir, sub), 0o700)
		}
	}
	if err == nil {
		err = w.build(ctx)
	}
	if err == nil && opts.Cluster {
		err = w.startNodes(ctx)
	}
	if err == nil {
		err = w.configure()
	}
	if err == nil {
		err = w.writeFiles()
	}
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(filepath.Join(w.dir, audit.HistoryFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	w.history = &history{out: out}
	return w, err
}

// build makes the programs, unless they are given.
func (w *world) build(ctx context.Context) error {
	w.program, w.body = w.opts.Program, w.opts.Body
	var builds [][]string
	if w.body == "" {
		w.body = filepath.Join(w.dir, "bin", "body")
		builds = append(builds, []string{"build", "-o", w.body, "example.com/loop-mcp/loops/loopstest/chaos/cmd/body"})
	}
	if w.program == "" {
		w.program = filepath.Join(w.dir, "bin", "loop-mcp")
		root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "example.com/loop-mcp").Output()
		if err != nil {
			return fmt.Errorf("find loop-mcp: %w", err)
		}
		builds = append(builds, []string{"build", "-C", strings.TrimSpace(string(root)), "-tags", "grpcnotrace," + w.opts.Tags, "-o", w.program, "./cmd/loop-mcp"})
	}
	for _, args := range builds {
		if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

func (w *world) configure() error {
	w.env = append(os.Environ(),
		"LOOP_MCP_HOME="+filepath.Join(w.dir, audit.DataFolder), "XDG_CONFIG_HOME="+filepath.Join(w.dir, "config"), "CHAOS_PROGRAM="+w.program)
	w.env = append(w.env, w.opts.Env...)
	workers := 4
	if w.opts.Many {
		workers = crowd
	}
	return os.WriteFile(filepath.Join(w.dir, "config/loop-mcp/config.yaml"), fmt.Appendf(nil,
		"allow_commands: [%q]\nroots: [\"/\"]\npass_env: [CHAOS_PROGRAM, LOOP_MCP_NATS_URL]\nworkers: %d\nlive_loops: 100000\n%s\n", w.body, workers, w.opts.Config), 0o600)
}

// command is loop-mcp with its standard error in a file.
func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command(w.program, args...)
	cmd.Env, cmd.Dir = w.env, filepath.Join(w.dir, "files")
	if log, err := os.CreateTemp(filepath.Join(w.dir, "logs"), args[0]+"-*.log"); err == nil {
		cmd.Stderr = log
	}
	return cmd
}

// said returns what a child that has ended wrote to its log.
func said(cmd *exec.Cmd) string {
	log, ok := cmd.Stderr.(*os.File)
	if !ok {
		return ""
	}
	text, err := os.ReadFile(log.Name())
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// closeLog closes what belongs to the child alone.
func closeLog(cmd *exec.Cmd) {
	if log, ok := cmd.Stderr.(*os.File); ok {
		_ = log.Close()
	}
}

func (w *world) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.places()
	for n, s := range w.slots {
		if err := s.start(ctx); err != nil {
			return fmt.Errorf("server %d: %w", n, err)
		}
	}
	var parties sync.WaitGroup
	parties.Go(func() {
		defer close(w.done)
		faults := w.faults
		if w.nodes != nil {
			faults = w.clusterFaults
		}
		if err := faults(ctx); err != nil {
			cancel(err)
		}
	})
	switch {
	case w.nodes != nil:
		parties.Go(func() { w.lists(ctx) })
	case !w.opts.Nested:
		parties.Go(func() { w.commandLine(ctx) })
	}
	parties.Go(func() { w.damage(ctx) })
	w.users(ctx)
	parties.Wait()
	err := context.Cause(ctx)
	if err == nil {
		err = w.settleAll(ctx)
	}
	for _, s := range w.slots {
		err = errors.Join(err, s.end())
	}
	return err
}

// places makes the places of processes.
func (w *world) places() {
	if w.nodes != nil {
		w.clusterSlots()
		return
	}
	for range w.opts.Servers {
		w.slots = append(w.slots, &slot{w: w})
	}
}

// users start loops, at most so many at once, spread over the kills.
func (w *world) users(ctx context.Context) {
	var users sync.WaitGroup
	places := make(chan struct{}, w.opts.Live)
	for n := range w.opts.Loops {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			users.Wait()
			return
		}
		w.pace(ctx, n)
		w.started.Add(1)
		users.Go(func() {
			defer func() { <-places }()
			defer w.settled.Add(1)
			newUser(w, n).live(ctx)
		})
	}
	users.Wait()
}

// pace waits until the kills have come as far as the loops.
func (w *world) pace(ctx context.Context, n int) {
	for (n-w.opts.Live)*w.opts.Kills > int(w.kills.Load())*w.opts.Loops {
		select {
		case <-w.done:
			return
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// settleAll waits until no loop moves any more.
func (w *world) settleAll(ctx context.Context) error {
	end := time.Now().Add(w.opts.Settle)
	for time.Now().Before(end) {
		answer, err := w.any().call(ctx, "loop_list", map[string]any{"status": []string{"queued", "running", "waiting", "your_turn", "needs_input", "paused", "cancelling"}})
		if err != nil {
			return fmt.Errorf("list the loops that still move: %w", err)
		}
		items, _ := answer["items"].([]any)
		if len(items) == 0 {
			return nil
		}
		for _, item := range items { // children of a loop, or those of `run`, that nobody looks after
			if m, ok := item.(map[string]any); ok && m["status"] == "paused" {
				_, _ = w.any().call(ctx, "loop_continue", map[string]any{"loop_id": m["loop_id"], "action": "resume"})
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil // the auditor names those that are not finished
}

func (w *world) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(w.opts.Seed, stream)) }
