package loopstest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops/model"
)

func priced() model.Info {
	return model.Info{Price: &model.Price{Tiers: []model.Tier{{Rates: model.Rates{Input: 1_000_000, Output: 2_000_000}}}}}
}

func TestModelRepliesInOrderAndBills(t *testing.T) {
	m := NewModel(priced(), Uses(Use("look", `{"a":1}`), Use("look", `{`)), Says("done"))
	var live []model.Live
	first, err := m.Generate(t.Context(), model.Request{Messages: []model.Message{model.Text(model.User, "go")}}, func(l model.Live) { live = append(live, l) })
	if err != nil {
		t.Fatal(err)
	}
	calls := first.Message.Calls()
	if len(calls) != 2 || calls[0].ID == calls[1].ID || string(calls[1].Args) != `"{"` || first.Stop != model.StopTools {
		t.Errorf("first answer: %+v", first)
	}
	for range 2 {
		if a, err := m.Generate(t.Context(), model.Request{}, nil); err != nil || a.Message.Text() != "done" {
			t.Errorf("later answer: %+v, %v", a, err)
		}
	}
	usage, cost := m.Billed()
	if len(m.Requests()) != 3 || usage.Input == 0 || usage.Output == 0 || cost < usage.Input+2*usage.Output {
		t.Errorf("%d requests, %+v for %d", len(m.Requests()), usage, cost)
	}
}

func TestModelCutsAnAnswerThatIsLongerThanAllowed(t *testing.T) {
	m := NewModel(model.Info{}, Says(strings.Repeat("word ", 1000)))
	a, err := m.Generate(t.Context(), model.Request{MaxTok: 10}, nil)
	if err != nil || a.Stop != model.StopLength || a.Usage.Output != 10 || len(a.Message.Text()) != 40 {
		t.Errorf("%q, %s, %+v, %v", a.Message.Text(), a.Stop, a.Usage, err)
	}
}

func TestModelBillsWhatMayHaveHappened(t *testing.T) {
	lost := Breaks(model.Network)
	lost.Answer.Usage.Input = 7
	m := NewModel(model.Info{ID: "a/b"}, Breaks(model.RateLimited), lost)
	_, err := m.Generate(t.Context(), model.Request{}, nil)
	if e, ok := errors.AsType[*model.Error](err); !ok || e.Kind != model.RateLimited || e.Model != "a/b" || !e.Unbilled {
		t.Errorf("%v", err)
	}
	if usage, _ := m.Billed(); usage != (model.Usage{}) {
		t.Errorf("a refused call was billed %+v", usage)
	}
	_, err = m.Generate(t.Context(), model.Request{}, nil)
	if usage, _ := m.Billed(); model.KindOf(err) != model.Network || usage.Input != 7 {
		t.Errorf("%v, billed %+v", err, usage)
	}
}

func TestModelStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewModel(model.Info{}, Reply{Takes: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := m.Generate(ctx, model.Request{System: "be brief"}, nil)
		if usage, _ := m.Billed(); !errors.Is(err, context.DeadlineExceeded) || usage.Input == 0 {
			t.Errorf("%v, billed %+v", err, usage)
		}
	})
}

func TestModelIsSafeForConcurrentUse(t *testing.T) {
	m := NewModel(priced())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := m.Generate(t.Context(), model.Request{}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := len(m.Requests()); n != 8 {
		t.Errorf("%d requests", n)
	}
}
