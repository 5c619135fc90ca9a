package judge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
)

// item is one piece of evidence.
type item struct {
	ref      string     // E1, E2, … in the order of the spec
	source   string     // "output", a command line, a path
	kind     string     // of loops.Look
	observed bool       // collected by the host, not told by the worker
	facts    []string   // what the host says about it: exit code, missing file
	text     string     // as a judge may see it
	hash     string     // of the whole
	stable   string     // of the whole without what changes from run to run
	shown    string     // what of text is shown; set by pack.fit
	passages []passages // facts and shown, for finding quotes; set by pack.fit
}

// collect gathers what the spec names, fresh. An error means that the judge
// can't be asked.
func (m *Model) collect(ctx context.Context, e loops.Evidence, b brief) ([]item, error) {
	items := make([]item, 0, len(b.Looks))
	for i, look := range b.Looks {
		var it item
		var err error
		switch look.Kind {
		case loops.LookCommand:
			it, err = m.lookCommand(ctx, e, b, look)
		case loops.LookFile:
			it, err = m.lookFile(ctx, e, b, look)
		default:
			it = lookOutput(e.Output)
		}
		if err != nil {
			return nil, err
		}
		it.ref, it.kind = fmt.Sprintf("E%d", i+1), look.Kind
		items = append(items, it)
	}
	return items, nil
}

func lookOutput(output string) item {
	return item{source: "output", text: plain(output), hash: digest(output), stable: digest(output)}
}

// lookCommand runs a program in the body's working folder.
func (m *Model) lookCommand(ctx context.Context, e loops.Evidence, b brief, look loops.Look) (item, error) {
	line := commandLine(look.Run)
	run, err := m.Policy.Prepare(command.Job{
		Source: e.Source, Dir: e.Dir, Run: look.Run, Cwd: b.Cwd, Loop: e.Loop, Iteration: e.Iteration, Pass: e.Pass,
	})
	if err != nil {
		return item{}, loops.Permanent(fmt.Errorf("the judge's evidence %s can't be collected: %w", line, err))
	}
	seen := &witness{whole: sha256.New()}
	run.Merge, run.Tee, run.Emit, run.Timeout = true, seen, e.Emit, defaultTimeout
	out, err := m.runner().Run(ctx, run)
	var start *command.StartError
	switch {
	case errors.As(err, &start) && start.Passing:
		return item{}, loops.Transient(fmt.Errorf("the judge's evidence %s can't be collected: %w", line, err), 0)
	case errors.As(err, &start):
		return item{}, loops.Permanent(fmt.Errorf("the judge's evidence %s can't be collected: %w: check its run and the working folder", line, err))
	case err != nil:
		return item{}, err
	}
	return commandItem(line, out, seen), nil
}

func commandItem(line string, out command.Outcome, seen *witness) item {
	it := item{source: line, observed: true, text: plain(command.Plain(out.Stdout)), hash: hex.EncodeToString(seen.whole.Sum(nil))}
	switch {
	case out.TimedOut:
		it.facts = []string{"timed out after " + shortDuration(defaultTimeout)}
	case out.Signal != "":
		it.facts = []string{"ended by a signal: " + out.Signal}
	default:
		it.facts = []string{fmt.Sprintf("exit code: %d", out.Exit)}
	}
	if fold(it.text) == "" {
		it.facts = append(it.facts, "it printed nothing")
	}
	it.stable = digest(it.facts[0] + "\n" + seen.stable(out.Stdout))
	it.hash = digest(it.facts[0] + "\n" + it.hash)
	return it
}

func (m *Model) runner() *command.Runner {
	if m.Runner != nil {
		return m.Runner
	}
	return &m.own
}

// checkLooks refuses evidence that may not be looked at. A file need not be
// there yet: the worker may be meant to write it.
func (m *Model) checkLooks(s loops.Setup, b brief) error {
	var problems []error
	for i, look := range b.Looks {
		field := fmt.Sprintf("evidence[%d]", i)
		switch look.Kind {
		case loops.LookCommand:
			_, err := m.Policy.Prepare(command.Job{Source: s.Source, Dir: s.Dir, Run: look.Run, Cwd: b.Cwd})
			for _, e := range loops.FieldErrors(err) {
				problem := *e
				if problem.Field != "cwd" { // the condition's own
					problem.Field = field + "." + problem.Field
				}
				problems = append(problems, &problem)
			}
		case loops.LookFile:
			if err := m.mayLook(locate(look.Path, b.Cwd, s.Dir), s.Source); err != nil {
				problems = append(problems, &loops.FieldError{Field: field + ".path", Problem: err.Error()})
			}
		}
	}
	return errors.Join(problems...)
}

// pack is all the evidence of one judgement.
type pack struct {
	items  []item
	exact  string // hash of the evidence and of what is asked about it
	stable string // the same without what changes from run to run
}

// observed reports whether the host collected something, so that the worker's
// own words prove nothing.
func (p pack) observed() bool {
	for _, it := range p.items {
		if it.observed {
			return true
		}
	}
	return false
}

// quotable reports whether a quote from it can show that a criterion is met.
func (p pack) quotable(it item) bool { return it.observed || !p.observed() }

func (p pack) find(ref string) (item, bool) {
	for _, it := range p.items {
		if it.ref == ref {
			return it, true
		}
	}
	return item{}, false
}

// newPack hashes the evidence that the spec names. What the worker says beside
// it is left out: new words about the same evidence are no reason to ask again.
func newPack(b brief, items []item) pack {
	p := pack{items: items}
	asked := fmt.Sprintf("%s\x00%d\x00%q\x00%q\x00%q\x00%q", promptHash(), b.Votes, b.Model, b.Goal, b.Question, b.Criteria)
	exact, stable := asked, asked
	for _, it := range items {
		exact += fmt.Sprintf("\x00%q%q%q", it.source, it.facts, it.hash)
		stable += fmt.Sprintf("\x00%q%q%q", it.source, it.facts, it.stable)
	}
	p.exact, p.stable = digest(exact), digest(stable)
	return p
}

const exhibitText = 2 << 10 // bytes of an exhibit's text, in a verdict

// exhibits are the evidence as a verdict shows it.
func (p pack) exhibits() []loops.Exhibit {
	var all []loops.Exhibit
	for _, it := range p.items {
		text := it.text
		for _, v := range slices.Backward(it.facts) {
			text = v + "\n" + text
		}
		all = append(all, loops.Exhibit{Source: it.source, Observed: it.observed, Text: ends(text, exhibitText), Hash: it.hash})
	}
	return all
}
