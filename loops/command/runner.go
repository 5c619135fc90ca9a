package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
)

const (
	grace     = 1500 * time.Millisecond // between SIGTERM and SIGKILL
	pollEvery = 20 * time.Millisecond   // how often the grace period looks whether all are gone
)

// Command is one program to run.
type Command struct {
	Argv    []string // program and arguments; Argv[0] is what the program sees as its name
	Path    string   // file to execute; empty: Argv[0], looked up on PATH
	Dir     string   // working folder; empty: the host's
	Env     []string // the whole environment, "NAME=value"
	Stdin   string   // empty: nothing to read
	Timeout time.Duration
	Merge   bool             // stdout and stderr as one stream in order of arrival, kept head and tail in Stdout
	Tee     io.Writer        // with Merge: gets every byte of the stream; called from one goroutine
	Owner   string           // whose run this is, for ending what a dead worker left; empty: nobody's
	Emit    func(loops.Live) // gets lines as they come, clipped; lines are dropped rather than waited for
}

// Outcome is how a run ended. Texts are valid UTF-8 without NUL.
type Outcome struct {
	Exit     int    // exit code; -1: ended by a signal
	Signal   string // that signal, "killed"; Unix only
	Stdout   string // whole, up to [loops.MaxOutputSize]; with Merge head and tail of both streams
	Stderr   string // head and tail
	TimedOut bool   // Command.Timeout ended it
	Duration time.Duration
}

// ErrOutputSize is returned when a program wrote more to stdout than
// [loops.MaxOutputSize]; the program has been ended.
var ErrOutputSize = fmt.Errorf("stdout grew beyond the limit of %d MiB and the process was ended: print less, or write to a file and print its name",
	loops.MaxOutputSize>>20)

// StartError is returned when a program could not be started at all.
type StartError struct {
	Program string
	Err     error
	Passing bool // the machine lacked something for the moment: memory, processes, file handles
}

// Error names the program and the cause.
func (e *StartError) Error() string {
	return fmt.Sprintf("start %s: %v", e.Program, e.Err)
}

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// Runner runs programs. The zero value is ready; all methods are safe for
// concurrent use. It must not be copied after its first use.
type Runner struct {
	mu   sync.Mutex
	seen map[string]bool // owners whose leftovers have been ended
}

// Run runs c until its program has exited and all that it started is gone.
//
// A program that ran and exited gives a nil error, whatever its exit code, and
// also one that Command.Timeout ended. When ctx ended the run the error is its
// cause; a program that could not be started gives a [*StartError], too much
// output [ErrOutputSize]. The Outcome beside an error holds what is known.
func (r *Runner) Run(ctx context.Context, c Command) (Outcome, error) {
	if ctx.Err() != nil {
		return Outcome{Exit: -1}, context.Cause(ctx)
	}
	if len(c.Argv) == 0 {
		return Outcome{Exit: -1}, &StartError{Program: `""`, Err: errors.New("run is empty: name a program")}
	}
	r.endLeftoversOnce(c.Owner)
	begun := time.Now()
	p, err := start(c)
	if err != nil {
		return Outcome{Exit: -1}, err
	}
	out, err := p.supervise(ctx, c.Timeout)
	out.Duration = time.Since(begun)
	return out, err
}

// EndLeftovers ends what a dead process left running for owner and reports how
// many processes that were. It never touches the run of a live process. It
// finds something on Linux only.
func (r *Runner) EndLeftovers(owner string) int {
	if owner == "" {
		return 0
	}
	return endLeftovers(owner)
}

const maxSeen = 4096

func (r *Runner) endLeftoversOnce(owner string) {
	if owner == "" {
		return
	}
	r.mu.Lock()
	known := r.seen[owner]
	if r.seen == nil || len(r.seen) >= maxSeen {
		r.seen = make(map[string]bool)
	}
	r.seen[owner] = true
	r.mu.Unlock()
	if !known {
		r.EndLeftovers(owner)
	}
}

// tree is a started program with all that it starts in turn.
type tree interface {
	ask()        // to end: SIGTERM
	kill()       // at once
	sweep()      // kill until nothing is left
	alive() bool // whether anything is left
	close()
}

// process is a started program with the goroutines that serve its pipes.
type process struct {
	cmd     *exec.Cmd
	tree    tree
	exited  chan struct{} // closed when the program has been reaped
	flooded chan struct{} // closed when stdout is over its limit
	served  chan struct{} // closed when all pipe goroutines are done

	stdin  *os.File // nil: none
	reads  []*source
	stdout *capture
	merged *headTail
	stderr *headTail
	live   *liveLines
}

// supervise waits for the program or ends it, then clears up behind it.
func (p *process) supervise(ctx context.Context, timeout time.Duration) (Outcome, error) {
	var expired <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	var out Outcome
	var err error
	select {
	case <-p.exited:
	case <-ctx.Done():
		err = context.Cause(ctx)
		p.end(!errors.Is(err, loops.ErrCancelNow))
	case <-expired:
		out.TimedOut = true
		p.end(true)
	case <-p.flooded:
		p.end(false)
	}
	p.tree.sweep()
	p.closePipes()
	p.tree.close()
	out.Exit, out.Signal = exitOf(p.cmd.ProcessState)
	if texts := p.texts(&out); err == nil {
		err = texts
	}
	return out, err
}

// end asks all processes to end and kills those that have not after the grace.
func (p *process) end(gently bool) {
	if gently {
		p.tree.ask()
		p.await(grace)
	}
	p.tree.kill()
	<-p.exited
}

// await returns when nothing of the tree is left, or after patience.
func (p *process) await(patience time.Duration) {
	over := time.NewTimer(patience)
	defer over.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		select {
		case <-over.C:
			return
		case <-poll.C:
			if !p.tree.alive() {
				return
			}
		}
	}
}

// closePipes waits for the last bytes and for those who read them.
func (p *process) closePipes() {
	if p.stdin != nil {
		p.stdin.Close()
	}
	latest := time.Now().Add(drainMost)
	for _, s := range p.reads {
		s.drain(latest)
	}
	closeSources(p.reads)
	<-p.served
	p.live.close()
}

func (p *process) texts(out *Outcome) error {
	if p.merged != nil {
		out.Stdout = p.merged.String()
		return nil
	}
	out.Stderr = p.stderr.String()
	text, err := p.stdout.text()
	out.Stdout = text
	return err
}
