package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Report is what an audit found.
type Report struct {
	Loops      int
	Iterations int // committed
	Starts     int // charged
	Runs       int // of bodies, as they say themselves
	Cut        int // starts that came to no iteration and asked for no repetition
	Kills      int
	InFlight   int // kills that cut off a running body
	Ends       int // processes that were ended in order
	Stops      int
	Nodes      int // nodes that were killed
	Cutoffs    int // workers that were cut off from the cluster
	Damaged    int // loops
	Paid       int // metered calls that were made
	Billed     int // requests to a provider
	Leftovers  int // records that a snapshot had replaced
	Told       int // answers held against the store
	Settled    map[string]int
	Anomalies  []string
}

// String is the report in a few lines.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d loops, %d iterations, %d starts, %d runs of bodies (%d cut off); %d kills (%d with a start in flight), %d stops, %d damaged loops, %d orderly ends; %d answers; %d leftovers; ended: %v\n%d anomalies",
		r.Loops, r.Iterations, r.Starts, r.Runs, r.Cut, r.Kills, r.InFlight, r.Stops, r.Damaged, r.Ends, r.Told, r.Leftovers, r.Settled, len(r.Anomalies))
	if r.Nodes > 0 {
		fmt.Fprintf(&b, "; %d nodes killed, %d workers cut off", r.Nodes, r.Cutoffs)
	}
	for _, a := range r.Anomalies[:min(len(r.Anomalies), 50)] {
		b.WriteString("\n  " + a)
	}
	return b.String()
}

// Options of an audit.
type Options struct {
	// Leases says that a worker may lose a loop without being killed, because
	// it was cut off from the store or stopped for longer than its lease: then
	// it leaves a start cut off although it lives. A body runs beside its
	// successor, or after it, only where a worker was stopped.
	Leases bool
}

// loop is all that is known of one loop.
type loop struct {
	id         string
	last       record
	checkpoint checkpoint
	iterations []Iteration
	events     []Event
	dropped    uint64
	damaged    string // why its records can't be read
	after      int    // records after that one
	effects    []Effect
	told       []Told
	forged     bool // the driver damaged it on purpose
}

type auditor struct {
	Report
	opts  Options
	loops map[string]*loop
	lives map[int][]life // of the processes that the driver started, by number
	stops map[int][]life // when they were stopped
}

// Folder audits a run from its folder. All its processes must have ended.
func Folder(ctx context.Context, dir string, opts Options) (Report, error) {
	s, err := readCopy(dir)
	if errors.Is(err, fs.ErrNotExist) {
		s, err = readFolder(ctx, filepath.Join(dir, DataFolder))
	}
	if err != nil {
		return Report{}, err
	}
	return audit(s, dir, opts)
}

func audit(s *store, dir string, opts Options) (Report, error) {
	effects, err := readLines[Effect](filepath.Join(dir, EffectsFile))
	if err != nil {
		return Report{}, err
	}
	history, err := readLines[Told](filepath.Join(dir, HistoryFile))
	if err != nil {
		return Report{}, err
	}
	a := &auditor{opts: opts, loops: map[string]*loop{}, lives: map[int][]life{}, stops: map[int][]life{}, Report: Report{Settled: map[string]int{}}}
	a.records(s)
	a.read(effects, history)
	for _, id := range slices.Sorted(mapKeys(a.loops)) {
		a.loop(a.loops[id])
	}
	a.labels(history)
	a.budgets()
	return a.Report, nil
}

func mapKeys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (a *auditor) wrong(format string, args ...any) {
	a.Anomalies = append(a.Anomalies, fmt.Sprintf(format, args...))
}

// records adds up the messages of each loop from its last snapshot on. The
// server removes what a snapshot replaces one by one; when it is killed meanwhile,
// some of that stays, and means nothing.
func (a *auditor) records(s *store) {
	from := s.snapshots()
	for _, m := range s.messages {
		if m.gone {
			a.wrong("%s is gone from the store at %d", m.loop, m.seq)
			continue
		}
		if m.seq < from[m.loop] {
			a.Leftovers++
			continue
		}
		l := a.loops[m.loop]
		if l == nil {
			l = &loop{id: m.loop}
			a.loops[m.loop] = l
		}
		if l.damaged != "" {
			l.after++
			continue
		}
		r, err := decode(m.seq, m.loop, m.text, m.body, s.object)
		if err == nil {
			err = l.add(r)
		}
		if err != nil {
			l.damaged = fmt.Sprintf("record %d: %v", m.seq, err)
		}
	}
}

// snapshots returns where the last snapshot of each loop is.
func (s *store) snapshots() map[string]uint64 {
	from := map[string]uint64{}
	for _, m := range s.messages {
		if strings.Contains(m.text, `"k":"snapshot"`) {
			from[m.loop] = m.seq
		}
	}
	return from
}

// add takes the next record of a loop.
func (l *loop) add(r record) error {
	if r.Kind == "snapshot" {
		var j journal
		if err := json.Unmarshal(r.parts[1], &j); err != nil {
			return err
		}
		l.iterations, l.events, l.dropped = j.Iterations, j.Events, j.Dropped
	} else {
		var e entry
		if err := json.Unmarshal(r.parts[1], &e); err != nil {
			return err
		}
		if l.last.seq == 0 || r.Prev != l.last.seq {
			return fmt.Errorf("it follows %d, the one before it is %d", r.Prev, l.last.seq)
		}
		if e.Iteration != nil {
			l.iterations = append(l.iterations, *e.Iteration)
		}
		l.events = append(l.events, e.Events...)
	}
	if l.last.seq != 0 && r.Head.Usage.below(l.last.Head.Usage) {
		return fmt.Errorf("its ledger %+v is below that of the record before it, %+v", r.Head.Usage, l.last.Head.Usage)
	}
	l.checkpoint = checkpoint{}
	if err := json.Unmarshal(r.parts[0], &l.checkpoint); err != nil {
		return err
	}
	l.last = r
	return nil
}

// read sorts effects and history.
func (a *auditor) read(effects []Effect, history []Told) {
	for _, e := range effects {
		if l := a.loops[e.Loop]; l != nil {
			l.effects = append(l.effects, e)
		} else {
			a.wrong("a body ran for %s, which is not in the store", e.Loop)
		}
	}
	for _, t := range history {
		switch t.Op {
		case OpKill:
			a.over(t)
			a.Kills++
			if t.Starts > 0 {
				a.InFlight++
			}
			continue
		case OpEnd:
			a.over(t)
			a.Ends++
			continue
		case OpStop:
			a.Stops++
			a.stops[t.PID] = append(a.stops[t.PID], life{from: t.Asked, to: t.At})
			continue
		case OpNode:
			a.Nodes++
			continue
		case OpCut:
			a.Cutoffs++
			continue
		case OpUp:
			a.lives[t.PID] = append(a.lives[t.PID], life{from: t.At})
			continue
		case OpMissing:
			a.wrong("%s was acknowledged and is missing: %s", t.Loop, t.Failed)
			continue
		case OpSilent:
			a.wrong("process %d was asked about %q and gave neither an answer nor an error: %s", t.PID, t.Loop, t.Failed)
			continue
		case OpLeft:
			a.wrong("process %d is there after the end of the run: %s", t.PID, t.Failed)
			continue
		}
		if t.Loop == "" {
			continue
		}
		l := a.loops[t.Loop]
		if l == nil {
			a.wrong("%s was acknowledged (%s) and is not in the store", t.Loop, t.Op)
			continue
		}
		l.told = append(l.told, t)
		if t.Op == OpDamage {
			l.forged = l.forged || t.Failed == "" || l.damaged != ""
			continue
		}
		a.Told++
	}
}

// life is when a process lived, in Unix nanoseconds: until somebody set about to
// end it.
type life struct{ from, to int64 }

// stopped reports whether a process was stopped for some of that time.
func (a *auditor) stopped(pid int, from, to int64) bool {
	return slices.ContainsFunc(a.stops[pid], func(l life) bool { return l.from <= to && from <= l.to })
}

func (a *auditor) over(t Told) {
	if lives := a.lives[t.PID]; len(lives) > 0 {
		lives[len(lives)-1].to = t.Asked
	}
}

// lived is how long the process that started a body went on after moment at.
// known is false for one that the driver did not start, or that was gone before
// the body could ask for its number.
func (a *auditor) lived(pid int, at int64) (after time.Duration, known bool) {
	for _, l := range a.lives[pid] {
		if l.from-int64(time.Second) <= at && at <= l.to {
			return time.Duration(l.to - at), true
		}
	}
	return 0, false
}

// labels finds loops that were made twice by one request.
func (a *auditor) labels(history []Told) {
	made := map[string][]string{}
	for _, l := range a.loops {
		if label := l.last.Head.Labels["chaos"]; label != "" {
			made[label] = append(made[label], l.id)
		}
	}
	for label, ids := range made {
		if len(ids) > 1 {
			a.wrong("one request made %d loops: %v (%s)", len(ids), ids, label)
		}
	}
	for _, t := range history {
		if t.Op == OpStart && t.Failed == "" && !slices.Contains(made[t.Label], t.Loop) {
			a.wrong("%s was acknowledged for request %s, the store has %v", t.Loop, t.Label, made[t.Label])
		}
	}
}

// budgets holds what a loop and those below it spent against its limit: what is
// in its ledger, and what was really done. A start that was cut off may have set
// a call aside that it did not make; nobody knows, so it is in all ledgers.
func (a *auditor) budgets() {
	paid, doubt := map[string]int64{}, map[string]int64{}
	for _, l := range a.loops {
		for up := l; up != nil; up = a.loops[up.last.Head.Parent] {
			doubt[up.id] += int64(l.last.Head.Usage.Starts - l.last.Head.Usage.Iterations)
		}
		for _, e := range l.effects {
			if e.What != Paid {
				continue
			}
			a.Paid++
			for up := l; up != nil; up = a.loops[up.last.Head.Parent] {
				paid[up.id]++
			}
		}
	}
	for _, l := range a.loops {
		if l.forged || l.damaged != "" {
			continue
		}
		limit, spent := l.last.Head.Limits.MaxToolCalls, l.last.Head.Usage.ToolCalls
		if spent > limit || paid[l.id] > limit || paid[l.id] > spent || a.Paid > 0 && spent > paid[l.id]+doubt[l.id] {
			a.wrong("%s: %d tool calls are in its ledger, %d were made, here and below it, and %d starts were cut off; the limit is %d", l.id, spent, paid[l.id], doubt[l.id], limit)
		}
		a.drawn(l)
		a.bill(l)
	}
}

// bill holds what a provider billed against the loop's ledger and limit: it is
// asked at most once in a start, and at least once for each iteration.
func (a *auditor) bill(l *loop) {
	calls, tokens := 0, int64(0)
	for _, e := range l.effects {
		if e.What == Billed {
			calls, tokens = calls+1, tokens+e.Tokens
		}
	}
	a.Billed += calls
	h := l.last.Head
	if calls > h.Usage.Starts || tokens > h.Usage.Tokens || tokens > h.Limits.MaxTokens || h.Usage.Tokens > h.Limits.MaxTokens {
		a.wrong("%s: a provider was asked %d times in %d starts and billed %d tokens; the ledger has %d, the limit is %d", l.id, calls, h.Usage.Starts, tokens, h.Usage.Tokens, h.Limits.MaxTokens)
	}
	answered := 0
	for _, it := range l.iterations {
		if it.OK {
			answered++
		}
	}
	if calls > 0 && calls < answered {
		a.wrong("%s: %d iterations came of %d requests to a provider", l.id, answered, calls)
	}
}

// drawn holds what a loop knows of those right below it against their ledgers.
func (a *auditor) drawn(l *loop) {
	for id, total := range l.checkpoint.State.Children {
		child := a.loops[id]
		if child == nil || child.forged || child.damaged != "" {
			continue
		}
		if there := child.last.Head.Usage; total.Spent.ToolCalls != there.ToolCalls || total.Spent.Tokens != there.Tokens || total.Aside.ToolCalls != 0 || total.Aside.Tokens != 0 {
			a.wrong("%s: it knows of %+v spent by %s, and %+v set aside; the ledger there has %+v", l.id, total.Spent, id, total.Aside, there)
		}
	}
}
