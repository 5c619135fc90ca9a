package command

import (
	"errors"
	"io"
	"sync"
	"time"
)

const (
	farewell     = 250 * time.Millisecond  // for a service to end because its stdin did
	serviceGrace = 1250 * time.Millisecond // between SIGTERM and SIGKILL; with farewell as long as grace
)

// Service is a running program that is talked to over its standard input and
// output. What it starts ends with it, as with a run. End must be called.
type Service struct {
	// Stdin may be written to from one goroutine at a time. End closes it.
	Stdin io.Writer
	// Stdout ends soon after the program has; it must be read all the time.
	Stdout io.Reader

	p      *process
	stderr *recent
	end    chan struct{}
	asked  sync.Once
	done   chan struct{}
}

// Start starts a program that runs until it ends or [Service.End] is called.
// What a dead worker left of the same owner is ended first. Emit gets the lines
// of stderr. Stdin, Timeout, Merge and Tee of c belong to runs and are refused. A
// program that could not be started gives a [*StartError].
func (r *Runner) Start(c Command) (*Service, error) {
	if len(c.Argv) == 0 {
		return nil, &StartError{Program: `""`, Err: errors.New("run is empty: name a program")}
	}
	if c.Stdin != "" || c.Timeout != 0 || c.Merge || c.Tee != nil {
		return nil, &StartError{Program: c.Argv[0], Err: errors.New("a service has no Stdin, Timeout, Merge or Tee: they belong to runs")}
	}
	r.endLeftoversOnce(c.Owner)
	p, outRead, errRead, err := launch(c, true)
	if err != nil {
		return nil, err
	}
	s := &Service{
		Stdin: p.stdin, Stdout: serviceOutput{outRead}, p: p, stderr: &recent{},
		end: make(chan struct{}), done: make(chan struct{}),
	}
	p.reap()
	go func() {
		defer close(p.served)
		_, _ = io.Copy(io.MultiWriter(s.stderr, p.live.stream()), errRead)
	}()
	go s.keep()
	return s, nil
}

// CloseStdin lets the program read the end of its standard input. What it has not
// read yet it still gets.
func (s *Service) CloseStdin() { s.p.stdin.Close() }

// End closes the program's stdin, asks it to end when that does not suffice,
// and kills what is left of it and of what it started 1.5 s later. It returns
// when all of it is gone, and may be called again and by several goroutines.
func (s *Service) End() {
	s.asked.Do(func() { close(s.end) })
	<-s.done
}

// Done is closed when the program has ended and nothing of it is left.
func (s *Service) Done() <-chan struct{} { return s.done }

// Exit is how the program ended, "exit 1" or "ended by a signal (killed)". It
// waits for [Service.Done].
func (s *Service) Exit() string {
	<-s.done
	var out Outcome
	out.Exit, out.Signal = exitOf(s.p.cmd.ProcessState)
	return exitText(out)
}

// Stderr is the tail of what the program said on stderr until now.
func (s *Service) Stderr() string { return s.stderr.String() }

// keep owns the program: it alone asks, kills and sweeps.
func (s *Service) keep() {
	defer close(s.done)
	p := s.p
	select {
	case <-p.exited:
	case <-s.end:
		p.stdin.Close()
		if !s.exitsWithin(farewell) {
			p.tree.ask()
			p.await(serviceGrace)
		}
		p.tree.kill()
		<-p.exited
	}
	p.tree.sweep()
	p.closePipes()
	p.tree.close()
}

func (s *Service) exitsWithin(patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.p.exited:
		return true
	case <-timer.C:
		return false
	}
}

// serviceOutput is a service's stdout for whoever reads it: however it ends, no
// more will come.
type serviceOutput struct{ *source }

func (o serviceOutput) Read(b []byte) (int, error) {
	n, err := o.source.Read(b)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// recent keeps the tail of a stream. Safe for concurrent use.
type recent struct {
	mu   sync.Mutex
	text []byte
}

func (r *recent) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, p[max(0, len(p)-keep):]...)
	if len(r.text) > 2*keep {
		r.text = append(r.text[:0], r.text[len(r.text)-keep:]...)
	}
	return len(p), nil
}

func (r *recent) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Tail(string(r.text), feedbackTail)
}
