package command

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"example.com/loop-mcp/loops"
)

// start starts c for a run.
func start(c Command) (*process, error) {
	p, outRead, errRead, err := launch(c, c.Stdin != "")
	if err != nil {
		return nil, err
	}
	p.serve(c, outRead, errRead)
	return p, nil
}

// launch starts c with pipes of our own: exec's would make Wait depend on who
// else holds them. errRead is nil when both streams are one.
func launch(c Command, stdin bool) (p *process, outRead, errRead *source, err error) {
	p = &process{
		exited:  make(chan struct{}),
		flooded: make(chan struct{}),
		served:  make(chan struct{}),
		live:    newLiveLines(c.Emit),
	}
	var theirs []*os.File
	fail := func(err error) (*process, *source, *source, error) {
		closeAll(theirs)
		closeSources(p.reads)
		closeAll([]*os.File{p.stdin})
		p.live.close()
		return nil, nil, nil, &StartError{Program: c.Argv[0], Err: err, Passing: passing(err)}
	}

	path := c.Path
	if path == "" {
		found, err := exec.LookPath(c.Argv[0])
		if err != nil {
			return fail(err)
		}
		path = found
	}
	mark := newMark(c.Owner)
	output := func() (ours *source, child *os.File, err error) {
		end, child, err := os.Pipe()
		if err == nil {
			ours = newSource(end)
			p.reads, theirs = append(p.reads, ours), append(theirs, child)
		}
		return ours, child, err
	}
	outRead, outWrite, err := output()
	if err != nil {
		return fail(err)
	}
	var childIn *os.File
	errWrite := outWrite
	if !c.Merge {
		if errRead, errWrite, err = output(); err != nil {
			return fail(err)
		}
	}
	if stdin {
		if childIn, p.stdin, err = os.Pipe(); err != nil {
			return fail(err)
		}
		theirs = append(theirs, childIn)
	}
	err = startTree(p, mark, func() *exec.Cmd {
		x := &exec.Cmd{Path: path, Args: c.Argv, Dir: c.Dir, Stdout: outWrite, Stderr: errWrite}
		x.Env = append(slices.Clone(c.Env), markName+"="+mark)
		if childIn != nil {
			x.Stdin = childIn
		}
		return x
	})
	if err != nil {
		return fail(err)
	}
	closeAll(theirs)
	return p, outRead, errRead, nil
}

// startTree starts the program. A file that was written a moment ago may still
// be open in a child that another goroutine is just forking ("text file busy"):
// that passes within milliseconds.
func startTree(p *process, mark string, build func() *exec.Cmd) error {
	for attempt := 0; ; attempt++ {
		p.cmd = build()
		var err error
		if p.tree, err = newTree(p.cmd, mark); err == nil || !busy(err) || attempt == 20 {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// serve starts the goroutines that feed and empty the pipes and the one that
// reaps the program. closePipes waits for them.
func (p *process) serve(c Command, outRead, errRead *source) {
	var serving sync.WaitGroup
	if c.Merge {
		p.merged = &headTail{}
		tee := c.Tee
		if tee == nil {
			tee = io.Discard
		}
		serving.Go(func() { _, _ = io.Copy(io.MultiWriter(p.merged, tee, p.live.stream()), outRead) })
	} else {
		p.stdout, p.stderr = &capture{limit: loops.MaxOutputSize}, &headTail{}
		serving.Go(func() {
			if _, err := io.Copy(io.MultiWriter(p.stdout, p.live.stream()), outRead); errors.Is(err, errFull) {
				close(p.flooded)
			}
		})
		serving.Go(func() { _, _ = io.Copy(io.MultiWriter(p.stderr, p.live.stream()), errRead) })
	}
	if p.stdin != nil {
		serving.Go(func() {
			_, _ = io.WriteString(p.stdin, c.Stdin) // a program need not read all of it
			p.stdin.Close()
		})
	}
	p.reap()
	go func() {
		serving.Wait()
		close(p.served)
	}()
}

func (p *process) reap() {
	go func() {
		_ = p.cmd.Wait() // the state says it all
		close(p.exited)
	}()
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
