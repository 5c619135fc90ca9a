package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/loop-mcp/loops"
)

// follower shows a loop while this process works on it.
type follower struct {
	app  *app
	host *host
	id   loops.ID
	view view

	looks       bool // and works on nothing
	last        loops.State
	interrupted bool
	unheard     bool // nobody reads what is printed any more
	pausing     bool // a Ctrl-C asked for it
	queuedSince time.Time
	asked       string // the attention that a person put off
}

// view shows progress. Its methods are called from one goroutine.
type view interface {
	update(loops.Loop)
	tick()            // now and then, between updates
	note(text string) // a remark of the program
	end()             // before the result is printed
}

// listener is a view that shows live text.
type listener interface{ say(loops.LiveLine) }

// redraw is how often a terminal is drawn anew.
const redraw = 150 * time.Millisecond

// patience is how long a loop may stay queued that this process can't run: somebody
// else may take it, or an allowed program may be added.
const patience = 3 * time.Second

// follow works on loops until loop id settles or waits for somebody, shows it,
// prints what it came to and ends with the code for that.
func (a *app) follow(ctx context.Context, h *host, id loops.ID, jsonLines bool) error {
	h.work(id)
	return (&follower{app: a, host: h, id: id, view: a.newView(h, jsonLines)}).run(ctx, jsonLines)
}

func (f *follower) run(ctx context.Context, jsonLines bool) error {
	signals, pipes := make(chan os.Signal, 4), make(chan os.Signal, 1)
	signal.Notify(signals, endSignals()...)
	signal.Notify(pipes, syscall.SIGPIPE)
	defer signal.Stop(signals)
	defer signal.Stop(pipes)
	err := f.loop(ctx, signals, pipes)
	f.view.end()
	if errors.Is(err, errLeave) {
		err = f.leave(ctx)
	}
	if err != nil {
		return err
	}
	if f.unheard {
		return &exitError{code: exitInterrupted}
	}
	return f.finish(ctx, jsonLines)
}

// leave ends the work at once. A loop that Ctrl-C was to pause is paused now:
// its body, which would have come to the safe point, is gone.
func (f *follower) leave(ctx context.Context) error {
	f.host.rest()
	if !f.pausing {
		return nil
	}
	_, err := f.host.Do(ctx, f.id, loops.Request{Action: loops.PauseIt, By: "operator", Message: "Ctrl-C"})
	if errors.Is(err, loops.ErrRefused) {
		return nil
	}
	return err
}

// errLeave ends the following without waiting for the loop.
var errLeave = errors.New("leave")

func (f *follower) loop(ctx context.Context, signals, pipes <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	changes, watching := f.watch(ctx)
	hears, listens := f.view.(listener)
	lines, listening := f.listen(ctx, listens)
	defer func() { cancel(); <-watching; <-listening }()
	ticker := time.NewTicker(redraw)
	defer ticker.Stop()
	for {
		var err error
		rests := false
		select {
		case watchErr := <-changes:
			if err = watchErr; err == nil {
				rests, err = f.changed(ctx, signals)
			}
		case l := <-lines:
			hears.say(l)
		case now := <-ticker.C:
			f.view.tick()
			if !f.looks && f.stranded(now) { // as far as the last change tells that was seen
				rests, err = f.changed(ctx, signals)
				rests = rests || f.stranded(now)
			}
		case s := <-signals:
			err = f.interrupt(ctx, s)
		case <-pipes:
			err = f.unread()
		case <-f.host.stopped:
			return f.host.ended()
		case <-f.host.replaced():
			return f.host.ended()
		}
		if err != nil || rests {
			return err
		}
	}
}

// watch reports each change of the loop; changes that nobody has taken yet
// count as one.
func (f *follower) watch(ctx context.Context) (changes <-chan error, done <-chan struct{}) {
	out, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for _, err := range f.host.Watch(ctx, f.id) {
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				select {
				case out <- nil:
				default:
				}
				continue
			}
			select {
			case out <- fmt.Errorf("watch %s: %w", f.id, err):
			case <-ctx.Done():
			}
			return
		}
	}()
	return out, ended
}

// listen hands out the loop's live text, unless nobody listens. That it ends is
// no reason to stop: it is lossy.
func (f *follower) listen(ctx context.Context, wanted bool) (lines <-chan loops.LiveLine, done <-chan struct{}) {
	out, ended := make(chan loops.LiveLine, 64), make(chan struct{})
	go func() {
		defer close(ended)
		if !wanted {
			return
		}
		for l, err := range f.host.Follow(ctx, f.id) {
			if err != nil {
				f.host.log.Debug("live text is missing", "loop", f.id, "error", err)
				return
			}
			select {
			case out <- l:
			case <-ctx.Done():
			}
		}
	}()
	return out, ended
}

// changed shows the loop as it is now and reports whether it rests.
func (f *follower) changed(ctx context.Context, signals <-chan os.Signal) (rests bool, err error) {
	now, err := f.host.History(ctx, f.id)
	if err != nil {
		return false, err
	}
	f.last = now.State
	f.view.update(now)
	if f.last.Status != loops.Queued {
		f.queuedSince = time.Time{}
	}
	if f.last.Status == loops.NeedsInput && !f.looks && !f.interrupted && f.app.canAsk() && f.asked != f.last.Attention.ID {
		return f.ask(ctx, signals)
	}
	return resting(f.last.Status), nil
}

// resting reports whether nothing that this process does moves the loop.
func resting(s loops.Status) bool {
	return s.Settled() || s == loops.YourTurn || s == loops.NeedsInput || s == loops.Paused
}

// stranded reports whether the loop waits for a process that can run it. Handlers
// come and go on their own, so that one of those is worth waiting for; and one that
// this process can run is worth it, however slow the machine is.
func (f *follower) stranded(now time.Time) bool {
	if f.last.Status != loops.Queued || f.last.Origin.Spec.Body.Kind == loops.BodyHandler || f.host.unable(f.last) == nil {
		f.queuedSince = time.Time{}
		return false
	}
	if f.queuedSince.IsZero() {
		f.queuedSince = now
	}
	return now.Sub(f.queuedSince) > patience
}

// interrupt pauses the loop at the first Ctrl-C and leaves at the second.
func (f *follower) interrupt(ctx context.Context, s os.Signal) error {
	if f.interrupted || f.looks || s != os.Interrupt {
		f.interrupted = true
		return errLeave
	}
	f.interrupted, f.pausing = true, true
	_, err := f.host.Do(ctx, f.id, loops.Request{Action: loops.PauseIt, By: "operator", Message: "Ctrl-C"})
	if err != nil && !errors.Is(err, loops.ErrRefused) {
		return err
	}
	f.view.note("pausing after the iteration under way; Ctrl-C again leaves at once")
	return nil
}

// unread leaves when nobody looks any more. The signal itself does not tell: it
// also comes when a program that shares the store leaves while this one, its
// host, sends it something.
func (f *follower) unread() error {
	if !unread(f.app.stdout) && !unread(f.app.stderr) {
		return nil
	}
	f.interrupted, f.unheard = true, true
	return errLeave
}

// finish prints what the loop came to.
func (f *follower) finish(ctx context.Context, jsonLines bool) error {
	s, err := f.host.Get(ctx, f.id)
	if err != nil {
		return err
	}
	code := codeOfStatus(s.Status)
	if f.interrupted && !s.Status.Settled() {
		code = exitInterrupted
	}
	switch {
	case jsonLines:
		err = f.app.printLine(f.host.snapshot(s, nil))
	case f.app.json:
		err = f.app.printJSON(f.host.snapshot(s, nil))
	default:
		err = f.app.printEnd(ctx, f.host, s)
	}
	if err != nil || code == exitCompleted {
		return err
	}
	return &exitError{code: code}
}

func (a *app) printEnd(ctx context.Context, h *host, s loops.State) error {
	fmt.Fprintln(a.stderr, meters(s, h.Elapsed(s)))
	a.printState(s)
	switch {
	case s.Status.Settled():
		return a.printOutput(ctx, h, s)
	case s.Status == loops.NeedsInput:
		if err := a.printOutput(ctx, h, s); err != nil {
			return err
		}
		a.printOwed(h, s) // after what it is about
	case s.Status == loops.Queued && s.Why != "":
		fmt.Fprintln(a.stderr, "This process can't run the loop:", plain(s.Why))
	default:
		a.printOwed(h, s)
	}
	return nil
}

func (a *app) printOutput(ctx context.Context, h *host, s loops.State) error {
	output, err := h.result(ctx, s)
	if err == nil && output != "" {
		_, err = fmt.Fprintf(a.stdout, "\n%s\n", trimEnd(a.safe(output)))
	}
	return err
}
