package loops

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Engine starts loops, works on them and carries out requests. All methods are
// safe for concurrent use.
type Engine struct {
	store Store
	parts Parts
	opts  Options

	feed   feed    // what the loops of this process say
	teller *teller // who is told about them
	clock  *clock
	entry  entry // of loops that this process creates

	working atomic.Int32 // calls of Run under way

	mu      sync.Mutex // guards what follows; never held while calling out
	running map[ID]*run
	strays  []stray // claims that may arrive late
}

// Options of an engine. The zero value is useful.
type Options struct {
	Workers   int                  // loops worked on at once; 0: 16
	Defaults  Limits               // for what a spec leaves out; zero fields: DefaultLimits
	Ceilings  Limits               // that no spec exceeds; zero fields: DefaultCeilings
	LiveLoops int                  // live loops at once in the store, see [Engine.Start]; 0: 1000
	DailyCost USD                  // what all loops of the store together may spend on one day, in UTC; 0: no such limit
	Approvals string               // "auto" (default) or "person": whose decision counts
	Parent    ID                   // the loop below whose body this process runs; it and its ancestors are out of reach
	NewID     func(name string) ID // nil: name and four random characters
	Logger    *slog.Logger         // nil: discards

	// RunsWhile says what keeps a loop moving, for snapshots: "this client is
	// connected". Nil says nothing.
	RunsWhile func(State) string
	// Tell is called when a loop has settled or wants a person: it asks, or has
	// paused without a request. It gets the state as it is then. What this
	// process committed is told by this process; what one that is gone left
	// untold by one that works on loops and has a Tell, too. Each piece of news
	// is told once, after a crash perhaps twice; not at all when the loop was
	// moved on before. It is called for several loops at once. An error is
	// logged and concerns no loop. nil: nobody is told.
	Tell func(context.Context, State) error
	// Alive reports whether the process with that [Store].Runner lives; for
	// Tell. nil: no other does.
	Alive func(owner string) bool
	// LiveLog carries live text between processes; nil: it stays in this one.
	LiveLog LiveLog

	// Trouble says why the store takes nothing now, for those who look at live
	// loops; nil, or returning nil: nothing is known to be wrong. It is quick.
	Trouble func() error
	// Uptime says how long the machine has been up, with the time that it slept, so
	// that a clock that was set ahead is told from sleep; nil, or 0: it counts as
	// sleep, which max_duration counts as well.
	Uptime func() time.Duration
	// MayRead says why files below an absolute folder may not be read for a loop
	// of that source; nil allows all. Asked for the folder of protect.
	MayRead func(dir string, s Source) error
	// Accept says why this process does not work on a loop; nil accepts all.
	Accept func(State) error
	// OnIteration is called after each commit of an iteration by this process,
	// for several loops at once. It must not block. A commit whose acknowledgement
	// was lost may go without it; Watch misses none.
	OnIteration func(State, Iteration)
}

// New returns an engine on store. opts may be nil.
func New(store Store, parts Parts, opts *Options) *Engine {
	e := &Engine{store: store, parts: parts, running: map[ID]*run{}, teller: newTeller()}
	if opts != nil {
		e.opts = *opts
	}
	e.clock = newClock(e.opts.Uptime)
	if e.opts.Workers <= 0 {
		e.opts.Workers = 16
	}
	if e.opts.LiveLoops <= 0 {
		e.opts.LiveLoops = 1000
	}
	if e.opts.NewID == nil {
		e.opts.NewID = newID
	}
	if e.opts.Logger == nil {
		e.opts.Logger = slog.New(slog.DiscardHandler)
	}
	return e
}

// idAlphabet is base32 in lower case: no two characters are easily mixed up.
const idAlphabet = "abcdefghijklmnopqrstuvwxyz234567"

// secretSize is how many random characters make an id a secret: 130 bits.
const secretSize = 26

func newID(name string) ID { return randomID(name, 4) }

func randomID(name string, size int) ID {
	random := make([]byte, size)
	_, _ = rand.Read(random) // never fails: see crypto/rand.Read
	for i, b := range random {
		random[i] = idAlphabet[b%32]
	}
	return ID(name + "-" + string(random))
}

// Secret reports whether nobody can guess the id: see [StartRequest].SecretID.
func (id ID) Secret() bool {
	i := strings.LastIndexByte(string(id), '-')
	return i > 0 && len(id)-i-1 == secretSize && strings.Trim(string(id[i+1:]), idAlphabet) == ""
}

// RunsWhile says what keeps a loop moving, for snapshots; empty for a settled
// one, which nothing but a request moves.
func (e *Engine) RunsWhile(s State) string {
	if e.opts.RunsWhile == nil || s.Status.Settled() {
		return ""
	}
	return e.opts.RunsWhile(s)
}

// Serves says why this process can't work on a loop: what it lacks, or what
// [Options].Accept refuses. Nil: it can.
func (e *Engine) Serves(s State) error { return e.canServe(s) }

// Workers is how many loops this engine works on at once.
func (e *Engine) Workers() int { return e.opts.Workers }

// Do carries out a request on a loop. What the loop's status does not allow
// gives a [RefusedError] that says what would work.
func (e *Engine) Do(ctx context.Context, id ID, r Request) (Outcome, error) {
	if err := e.checkRequest(ctx, id, r); err != nil {
		return Outcome{}, err
	}
	return e.do(ctx, id, r)
}

// do carries out a request that has been checked.
func (e *Engine) do(ctx context.Context, id ID, r Request) (Outcome, error) {
	r.Message, r.Output = strings.ToValidUTF8(r.Message, "\uFFFD"), strings.ToValidUTF8(r.Output, "\uFFFD")
	var warnings []string
	if r.Action == SetLimits {
		r.Limits, warnings = r.Limits.Clamp(e.opts.Ceilings)
	}
	for {
		s, err := e.load(ctx, id)
		if err != nil {
			return Outcome{}, err
		}
		if r.Action == Submit && s.Status == YourTurn && r.text == (Text{}) {
			if r.text, err = e.text(ctx, id, r.Output); err != nil {
				return Outcome{}, err
			}
			r.score = scoreOf(r.Output)
		}
		s, now := e.clock.present(s)
		out, err := apply(s, r, now)
		out.Warnings = warnings
		if err != nil || out.Reused || out.AlreadySettled {
			return out, err
		}
		err = e.put(ctx, &s, &out.State)
		if errors.Is(err, ErrConflict) {
			continue // somebody was faster: the request is judged against what is there now
		}
		if err != nil {
			return Outcome{}, fmt.Errorf("%s %s: %w", r.Action, id, err)
		}
		e.signal(out.State.Head())
		return out, e.after(ctx, out.State, r)
	}
}

// after hands up what a request spent, and ends what stood below a loop that it
// settled.
func (e *Engine) after(ctx context.Context, s State, r Request) error {
	var problems []error
	problems = append(problems, e.draw(ctx, s))
	if r.Action == Submit && r.Usage != nil {
		problems = append(problems, e.spendToday(ctx, r.Usage.CostUSD))
	}
	if err := errors.Join(append(problems, e.endChildren(ctx, s))...); err != nil {
		e.opts.Logger.Error("what follows a request was not finished", "loop", s.ID, "request", r.Action, "cause", err)
	}
	return nil
}

// checkRequest checks what does not depend on the loop's state.
func (e *Engine) checkRequest(ctx context.Context, id ID, r Request) error {
	problems := []error{checkRequestID(r.RequestID), checkMemory(r.Memory)}
	if _, known := allowed[r.Action]; !known {
		return &FieldError{Field: "action", Problem: fmt.Sprintf("unknown action %q", r.Action)}
	}
	if len(r.Message) > MaxGoalSize {
		problems = append(problems, tooLarge("message", len(r.Message), MaxGoalSize))
	}
	if len(r.Output) > MaxOutputSize {
		problems = append(problems, tooLarge("output", len(r.Output), MaxOutputSize))
	}
	if r.Usage != nil {
		problems = append(problems, r.Usage.Validate())
	}
	if r.Action == SetLimits && r.Limits == (Limits{}) {
		problems = append(problems, &FieldError{Field: "limits", Problem: `is empty; name at least one, for example {"max_passes": 20}`})
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if err := e.outOfReach(ctx, id); err != nil {
		return err
	}
	if (r.Action == Approve || r.Action == Deny) && e.opts.Approvals == "person" && r.By != "person" {
		return &RefusedError{Code: "person_only", Problem: "approvals here need a person",
			Remedy: fmt.Sprintf("ask the user to run: loop-mcp approve %s", id)}
	}
	return nil
}

func tooLarge(field string, size, limit int) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf("is %d bytes, at most %d are allowed", size, limit)}
}

// outOfReach refuses to touch the loop that this process runs below, and its
// ancestors.
func (e *Engine) outOfReach(ctx context.Context, id ID) error {
	for up, n := e.opts.Parent, 0; up != "" && n < 100; n++ {
		if up == id {
			return &RefusedError{Code: "own_loop", Problem: fmt.Sprintf("%s runs this process; a worker can't touch the loop that it works for", id),
				Remedy: "hand in the work and let the loop decide"}
		}
		s, err := e.store.Load(ctx, up)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
			return nil // the parent lives in another store
		}
		if err != nil {
			return fmt.Errorf("the ancestors of this process: %w", err)
		}
		up = s.Origin.Parent
	}
	return nil
}

// load reads a checkpoint; a damaged loop becomes a failed one.
func (e *Engine) load(ctx context.Context, id ID) (State, error) {
	if !ValidID(id) {
		return State{}, invalidID(id)
	}
	s, err := e.store.Load(ctx, id)
	if errors.Is(err, ErrDamaged) {
		return quarantined(id, err), nil
	}
	if err != nil {
		return State{}, fmt.Errorf("loop %s: %w", id, err)
	}
	return s, nil
}

func invalidID(id ID) error {
	return &FieldError{Field: "loop_id", Problem: fmt.Sprintf("%q is not a loop id such as fix-build-7k3q", clip(string(id), 80))}
}

// ValidID reports whether id has the shape of a loop id.
func ValidID(id ID) bool {
	if len(id) < 4 || len(id) > 96 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return id[0] != '-'
}

func quarantined(id ID, err error) State {
	s := State{ID: id, Status: Failed, Limits: DefaultLimits(), Origin: Origin{Spec: Spec{Name: string(id)}}}
	s.Stop = &Stop{Reason: FailQuarantined, Detail: err.Error(), DecidedBy: "engine"}
	s.Stop.Actions = s.actions()
	if errors.Is(err, ErrNewer) {
		s.Stop.Actions = []string{"update this program: a newer version has worked on this loop and can go on with it"}
	}
	return s
}

// Get returns the checkpoint of a loop. A damaged one is returned as Failed
// with the reason fail.quarantined.
func (e *Engine) Get(ctx context.Context, id ID) (State, error) {
	s, err := e.load(ctx, id)
	if err == nil && !s.Status.Settled() {
		s.Why = e.why(s)
	}
	return s, err
}

// whyQueued says what a queued loop waits for.
func (e *Engine) whyQueued(s State) string {
	if err := e.canServe(s); err != nil {
		return oneLine(err.Error())
	}
	if e.working.Load() == 0 {
		return "this process does not work on loops; another one has to"
	}
	e.mu.Lock()
	busy := len(e.running)
	e.mu.Unlock()
	if busy >= e.opts.Workers {
		return fmt.Sprintf("all %d workers of this process are busy", e.opts.Workers)
	}
	return "about to be picked up by a worker"
}

// History returns a loop with its journal.
func (e *Engine) History(ctx context.Context, id ID) (Loop, error) {
	s, err := e.Get(ctx, id)
	if err != nil {
		return Loop{}, err
	}
	if s.Stop != nil && s.Stop.Reason == FailQuarantined {
		return Loop{State: s}, nil
	}
	l, err := e.store.History(ctx, id)
	if errors.Is(err, ErrDamaged) {
		return Loop{State: quarantined(id, err)}, nil
	}
	if err != nil {
		return Loop{}, fmt.Errorf("history of %s: %w", id, err)
	}
	if l.Rev == s.Rev {
		l.Why = s.Why
	}
	return l, nil
}

// Output returns the whole of a text of loop id.
func (e *Engine) Output(ctx context.Context, id ID, t Text) (string, error) {
	if t.Blob == "" {
		return t.Text, nil
	}
	whole, err := e.store.Blob(ctx, id, t.Blob)
	if err != nil {
		return "", fmt.Errorf("text of %s: %w", id, err)
	}
	return string(whole), nil
}

// inlineText is the size up to which a text is part of a record. It leaves room
// for the rest of a record below the store's own limit.
const inlineText = 256 << 10

// text stores a large text beside the record and keeps its head and tail.
func (e *Engine) text(ctx context.Context, id ID, whole string) (Text, error) {
	// As JSON would, here and not somewhere on the way; NUL is no text to many programs.
	whole = strings.ReplaceAll(strings.ToValidUTF8(whole, "\uFFFD"), "\x00", "\uFFFD")
	t := Text{Text: whole, Size: int64(len(whole))}
	if len(whole) <= inlineText {
		return t, nil
	}
	ref, err := e.store.PutBlob(ctx, id, []byte(whole))
	if err != nil {
		return Text{}, fmt.Errorf("store the output of %s: %w", id, err)
	}
	t.Blob, t.Text = ref, headTail(whole, 64<<10)
	return t, nil
}

// headTail keeps both ends of a text and says how much is missing.
func headTail(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	head := clip(text, limit/2)
	tail := text[len(text)-limit/2:]
	for len(tail) > 0 && tail[0]&0xC0 == 0x80 {
		tail = tail[1:]
	}
	return fmt.Sprintf("%s\n[%d bytes left out]\n%s", head, len(text)-len(head)-len(tail), tail)
}

// Watch yields heads as they change; see [Store.Watch].
func (e *Engine) Watch(ctx context.Context, id ID) iter.Seq2[Head, error] {
	return e.store.Watch(ctx, id, 0)
}

// Live returns the newest live text of a loop that this process works on, and
// when the body was last heard of. ok is false when it does not work on it.
func (e *Engine) Live(id ID) (l Live, heard time.Time, ok bool) {
	e.mu.Lock()
	r := e.running[id]
	e.mu.Unlock()
	if r == nil {
		return Live{}, time.Time{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live, r.heard, true
}
