package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

// shelf is a book with the models of a test.
type shelf map[string][]model.Model

func (s shelf) Open(name, id string) ([]model.Model, error) {
	models, ok := s[name]
	if !ok {
		return nil, fmt.Errorf("the configuration has no model %q", name)
	}
	if id != "" && len(models) > 0 && models[0].Info().ID != id {
		return nil, fmt.Errorf("the loop was created with %s, and this process has %s", id, models[0].Info().ID)
	}
	return models, nil
}

// till is a meter that keeps what is saved. crash, unless nil, is asked before
// and after each step; its error is the process's end.
type till struct {
	mu       sync.Mutex
	room     int64 // tokens; 0: no limit
	spent    loops.Usage
	open     int
	reserved []loops.Call
	saved    json.RawMessage
	crash    func(point string) error
}

var errCrash = errors.New("the process is gone")

func (m *till) at(point string) error {
	if m.crash == nil {
		return nil
	}
	return m.crash(point)
}

func (m *till) Reserve(_ context.Context, c loops.Call) (loops.Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.at("reserve"); err != nil {
		return loops.Grant{}, err
	}
	if m.room > 0 && c.Input+c.MinOutput > m.room-m.spent.TotalTokens {
		return loops.Grant{}, &loops.CapError{Reason: loops.CapTokens, Detail: "max_total_tokens: no room"}
	}
	m.reserved, m.open = append(m.reserved, c), m.open+1
	return loops.Grant{ID: fmt.Sprint(len(m.reserved)), Output: c.Output}, nil
}

func (m *till) Settle(_ context.Context, _ loops.Grant, s loops.Spent, saved json.RawMessage) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.at("settle"); err != nil {
		return err
	}
	m.open--
	m.spent = m.spent.Plus(s.Usage)
	if saved != nil {
		m.saved = saved
	}
	return m.at("settled")
}

func (m *till) save(_ context.Context, saved json.RawMessage) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved = saved
	return m.at("saved")
}

// court is a judge with a scripted model.
type court struct {
	t      *testing.T
	models []model.Model
	first  *loopstest.Model
	meter  *till
	judge  *Model
	spec   loops.Condition
	e      loops.Evidence
}

func newCourt(t *testing.T, spec loops.Condition, output string, replies ...loopstest.Reply) *court {
	t.Helper()
	first := loopstest.NewModel(model.Info{ID: "north/one"}, replies...)
	c := &court{t: t, first: first, models: []model.Model{first}, meter: &till{}, spec: spec}
	c.e = loops.Evidence{Loop: "demo-aaaa", Iteration: 3, Pass: 2, Goal: "Write a report about tides.", Output: output,
		Source: loops.SourceLibrary, Dir: t.TempDir(), Worker: "south/worker"}
	c.judge = &Model{}
	return c
}

// ask asks the judge as the engine would: with what was saved before.
func (c *court) ask() (loops.Verdict, error) {
	c.t.Helper()
	c.spec.Kind = loops.StopJudge
	c.judge.Book = shelf{c.spec.Model: c.models}
	e := c.e
	e.Config, e.Meter, e.Saved, e.Save = config(c.t, c.spec), c.meter, c.meter.saved, c.meter.save
	return c.judge.Judge(c.t.Context(), e)
}

func (c *court) verdict() loops.Verdict {
	c.t.Helper()
	v, err := c.ask()
	if err != nil {
		c.t.Fatalf("the judge: %v", err)
	}
	return v
}

// file writes a file below the loop's folder.
func (c *court) file(name, text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.e.Dir, name), []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *court) calls() int { return len(c.first.Requests()) }

// prompt is all that the first model was shown in one call.
func (c *court) prompt(call int) string {
	c.t.Helper()
	requests := c.first.Requests()
	if call >= len(requests) {
		c.t.Fatalf("%d calls", len(requests))
	}
	return promptOf(requests[call])
}

func promptOf(r model.Request) string {
	var b strings.Builder
	for _, m := range r.Messages {
		b.WriteString(m.Text() + "\n")
	}
	return b.String()
}

// tides is an output with something to quote, and criteria about it.
const tides = `# Tides

The moon raises two bulges of water; a place passes through both in 24 hours and 50 minutes.
Spring tides come at new and full moon. [1]

Sources:
[1] Harbour office, tables of 2025
`

func tidesJudge() loops.Condition {
	return loops.Condition{Criteria: []loops.Criterion{
		{ID: "cause", Text: "The report says what raises the tides."},
		{ID: "sources", Text: "The report names its sources."},
	}}
}

// say builds an answer: rulings are "id status item quote".
func say(verdict, feedback string, rulings ...[4]string) string {
	type q struct {
		Item string `json:"item"`
		Text string `json:"text"`
	}
	type c struct {
		ID      string `json:"id"`
		Quotes  []q    `json:"quotes"`
		Status  string `json:"status"`
		Missing string `json:"missing"`
	}
	whole := struct {
		Criteria []c    `json:"criteria"`
		Verdict  string `json:"verdict"`
		Feedback string `json:"feedback"`
	}{Verdict: verdict, Feedback: feedback}
	for _, r := range rulings {
		one := c{ID: r[0], Status: r[1], Quotes: []q{}}
		if r[3] != "" {
			one.Quotes = append(one.Quotes, q{r[2], r[3]})
		}
		if r[1] != statusMet {
			one.Missing = "more about " + r[0]
		}
		whole.Criteria = append(whole.Criteria, one)
	}
	raw, _ := json.Marshal(whole)
	return string(raw)
}

func tidesDone() string {
	return say("done", "", [4]string{"cause", "met", "E1", "The moon raises two bulges of water"}, [4]string{"sources", "met", "E1", "[1] Harbour office, tables of 2025"})
}

func tidesOpen() string {
	return say("continue", "Name the page of the tables.", [4]string{"cause", "met", "E1", "The moon raises two bulges of water"}, [4]string{"sources", "not_met", "E1", "[1] Harbour office"})
}

func replies(texts ...string) []loopstest.Reply {
	var all []loopstest.Reply
	for _, text := range texts {
		all = append(all, loopstest.Says(text))
	}
	return all
}

// mark is what an error means to the engine: permanent, limited, transient or
// nothing. The marks are private to package loops.
func mark(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.ValueOf(err)
		if v.Type() != reflect.TypeOf(loops.Permanent(errCrash)) {
			continue
		}
		switch v = v.Elem(); {
		case v.FieldByName("permanent").Bool():
			return "permanent"
		case v.FieldByName("limited").Bool():
			return "limited"
		}
		return "transient"
	}
	return ""
}
