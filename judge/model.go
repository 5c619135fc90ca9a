package judge

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
	"example.com/loop-mcp/loops/modelcall"
)

var (
	_ loops.StopCondition = (*Model)(nil)
	_ loops.Checker       = (*Model)(nil)
)

// Model is met when a language model finds every criterion met, with quotes
// that the host finds in the evidence, and says so as often as the condition's
// votes ask for (kind "judge"). The package doc tells how. Book must be set.
//
// It pays through [loops.Evidence].Meter and stores what a call brought in the
// step that settles it: asked again after a crash, it goes on where it was.
type Model struct {
	Book   modelcall.Book
	Policy command.Policy
	Runner *command.Runner // nil: one of its own
	own    command.Runner
}

// Judge collects the evidence, asks and validates. Its errors are those that
// [loops.StopCondition] names: a condition that can't be asked as it is written
// is permanent, what may pass is transient, and a limit is a [*loops.CapError].
func (m *Model) Judge(ctx context.Context, e loops.Evidence) (loops.Verdict, error) {
	b, err := decodeBrief(e.Config, e.Goal)
	if err != nil {
		return loops.Verdict{}, loops.Permanent(fmt.Errorf("the judge can't be asked: %w", err))
	}
	items, err := m.collect(ctx, e, b)
	if err != nil {
		return loops.Verdict{}, err
	}
	return m.hear(ctx, e, b, items)
}

// hear judges what was collected.
func (m *Model) hear(ctx context.Context, e loops.Evidence, b brief, items []item) (loops.Verdict, error) {
	h := newHearing(e, b, items)
	if why := h.hollowProduct(); why != "" {
		return h.rejected(why), nil
	}
	if v, ok := h.resume(); ok {
		return v, nil
	}
	models, err := m.Book.Open(b.Model, e.Models[b.Model])
	if err != nil {
		return loops.Verdict{}, loops.Permanent(fmt.Errorf("the judge's model can't be used: %w", err))
	}
	if len(models) == 0 {
		return loops.Verdict{}, loops.Permanent(fmt.Errorf("the judge's model %q stands for none: check the configuration", b.Model))
	}
	h.pack.fit(roomOf(models, len(b.Criteria)))
	return h.decide(ctx, models)
}

// Check refuses a judge that can't be asked: criteria that can't be told apart,
// evidence that may not be looked at, a model that is not there.
func (m *Model) Check(s loops.Setup) error {
	b, err := decodeBrief(s.Config, "")
	if err != nil {
		return err
	}
	problems := []error{m.checkLooks(s, b)}
	if _, err := m.Book.Open(b.Model, s.Models[b.Model]); err != nil {
		problems = append(problems, &loops.FieldError{Field: "model", Problem: err.Error()})
	}
	return errors.Join(problems...)
}

// The bounds of what one judge decides about; sizes in bytes.
const (
	maxCriteria     = 20
	maxCriterion    = 4 << 10
	maxQuestion     = 16 << 10
	maxLooks        = 50
	maxVotes        = 5
	defaultVotes    = 2
	soleCriterionID = "question"
)

// brief is what a judge decides, as the spec says it.
type brief struct {
	Goal     string
	Question string
	Criteria []loops.Criterion // at least one
	Looks    []loops.Look      // at least one
	Model    string            // as the spec names it
	Cwd      string
	Votes    int
}

var criterionID = regexp.MustCompile(`\A[a-z][a-z0-9_-]{0,39}\z`)

// decodeBrief reads the condition's settings. Problems are joined FieldErrors.
func decodeBrief(config json.RawMessage, goal string) (brief, error) {
	var c loops.Condition
	if err := json.Unmarshal(config, &c); err != nil {
		return brief{}, &loops.FieldError{Problem: fmt.Sprintf("the judge's settings are not readable: %v", err)}
	}
	b := brief{Goal: goal, Question: strings.TrimSpace(c.Question), Criteria: c.Criteria, Looks: c.Evidence, Model: c.Model, Cwd: c.Cwd,
		Votes: cmp.Or(int(c.Votes), defaultVotes)}
	problems := append(checkCriteria(b), checkKinds(b.Looks)...)
	if b.Votes < 1 || b.Votes > maxVotes {
		problems = append(problems, &loops.FieldError{Field: "votes", Problem: fmt.Sprintf("must be between 1 and %d, got %d", maxVotes, b.Votes)})
	}
	if len(b.Criteria) == 0 {
		b.Criteria, b.Question = []loops.Criterion{{ID: soleCriterionID, Text: b.Question}}, ""
	}
	if len(b.Looks) == 0 {
		b.Looks = []loops.Look{{Kind: loops.LookOutput}}
	}
	return b, errors.Join(problems...)
}

func checkCriteria(b brief) []error {
	var problems []error
	wrong := func(field, format string, args ...any) {
		problems = append(problems, &loops.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	if b.Question == "" && len(b.Criteria) == 0 {
		wrong("question", "is missing: what the model is to decide, unless criteria say it")
	}
	if len(b.Question) > maxQuestion {
		wrong("question", "has %d bytes, at most %d are allowed: put details into the goal or a file", len(b.Question), maxQuestion)
	}
	if len(b.Criteria) > maxCriteria {
		wrong("criteria", "has %d items, at most %d are allowed: use two judges", len(b.Criteria), maxCriteria)
		return problems
	}
	seen := map[string]bool{}
	for i, c := range b.Criteria {
		field := fmt.Sprintf("criteria[%d]", i)
		switch {
		case !criterionID.MatchString(c.ID):
			wrong(field+".id", "must be lower-case letters, digits, - and _, a letter first, got %q", clip(c.ID, 60))
		case seen[c.ID]:
			wrong(field+".id", "is there twice: %s", c.ID)
		}
		seen[c.ID] = true
		switch text := strings.TrimSpace(c.Text); {
		case text == "":
			wrong(field+".text", "is missing: what must be true")
		case len(text) > maxCriterion:
			wrong(field+".text", "has %d bytes, at most %d are allowed", len(text), maxCriterion)
		}
	}
	return problems
}

func checkKinds(looks []loops.Look) []error {
	if len(looks) > maxLooks {
		return []error{&loops.FieldError{Field: "evidence", Problem: fmt.Sprintf("has %d items, at most %d are allowed", len(looks), maxLooks)}}
	}
	var problems []error
	outputs := 0
	for i, l := range looks {
		field := fmt.Sprintf("evidence[%d]", i)
		switch {
		case l.Kind == loops.LookOutput:
			if outputs++; outputs == 2 {
				problems = append(problems, &loops.FieldError{Field: field, Problem: "names the output a second time"})
			}
		case l.Kind == loops.LookFile && strings.TrimSpace(l.Path) == "":
			problems = append(problems, &loops.FieldError{Field: field + ".path", Problem: "is missing: the file to show"})
		case l.Kind != loops.LookFile && l.Kind != loops.LookCommand:
			problems = append(problems, &loops.FieldError{Field: field + ".kind", Problem: fmt.Sprintf("must be output, command or file, got %q", clip(l.Kind, 60))})
		}
	}
	return problems
}
