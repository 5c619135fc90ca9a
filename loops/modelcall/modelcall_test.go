package modelcall_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/modelcall"
)

// meter notes what it is asked and grants at most most tokens out.
type meter struct {
	most     int64 // 0: all
	refuses  error
	calls    []loops.Call
	settled  []loops.Spent
	saved    []string
	unsettle error // returned by Settle
}

func (m *meter) Reserve(_ context.Context, c loops.Call) (loops.Grant, error) {
	m.calls = append(m.calls, c)
	if m.refuses != nil {
		return loops.Grant{}, m.refuses
	}
	out := c.Output
	if m.most > 0 {
		out = min(out, m.most)
	}
	return loops.Grant{ID: fmt.Sprintf("g%d", len(m.calls)), Output: out}, nil
}

func (m *meter) Settle(_ context.Context, _ loops.Grant, sp loops.Spent, saved json.RawMessage) error {
	m.settled, m.saved = append(m.settled, sp), append(m.saved, string(saved))
	return m.unsettle
}

// rates is a price in dollars for a million tokens.
func rates(in, out int64) *model.Price {
	return &model.Price{Tiers: []model.Tier{{Rates: model.Rates{Input: in * 1_000_000, CacheRead: in * 100_000, CacheWrite: in * 1_250_000, Output: out * 1_000_000}}}, PerRun: 7}
}

func ask(text string) model.Request {
	return model.Request{System: "be brief", Messages: []model.Message{model.Text(model.User, text)}}
}

func TestCallIsReservedAtItsWorstAndSettledAtWhatItWas(t *testing.T) {
	says := loopstest.Says("yes")
	says.Answer.Usage = model.Usage{Input: 100, CacheRead: 1000, CacheWrite: 200, Output: 50}
	m := loopstest.NewModel(model.Info{ID: "a/b", Price: rates(2, 10), MaxOutput: 8000}, says)
	book := &meter{most: 3000}
	request := ask("is it so?")
	answer, info, err := modelcall.Do(t.Context(), book, modelcall.Call{Role: loops.RoleJudge, Models: []model.Model{m}, Request: request,
		Saved: func(a model.Answer) json.RawMessage { return json.RawMessage(`"` + a.Message.Text() + `"`) }})
	if err != nil || answer.Message.Text() != "yes" || info.ID != "a/b" {
		t.Fatalf("%+v, %+v, %v", answer, info, err)
	}
	want := loops.Call{Role: loops.RoleJudge, Model: "a/b", Input: modelcall.Size(request), Output: 8000, MinOutput: 256, InputRate: 2_500_000, OutputRate: 10_000_000, Fixed: 7}
	if diff := cmp.Diff(want, book.calls[0]); diff != "" {
		t.Errorf("reserved: %s", diff)
	}
	if got := m.Requests()[0].MaxTok; got != 3000 {
		t.Errorf("asked for %d tokens, granted were 3000", got)
	}
	// 100 × $2 + 1000 × $0.20 + 200 × $2.50 + 50 × $10 a million, and 7 for the call.
	spent := loops.Usage{InputTokens: 1300, OutputTokens: 50, TotalTokens: 1350, CostUSD: 200 + 200 + 500 + 500 + 7}
	if diff := cmp.Diff([]loops.Spent{{Usage: spent}}, book.settled); diff != "" || book.saved[0] != `"yes"` {
		t.Errorf("saved %s, settled: %s", book.saved[0], diff)
	}
}

func TestCostThatTheProviderReportsWins(t *testing.T) {
	says := loopstest.Says("yes")
	says.Answer.Cost, says.Answer.Usage = new(int64(42)), model.Usage{Input: 1, Output: 1}
	book := &meter{}
	if _, _, err := modelcall.Do(t.Context(), book, modelcall.Call{Models: []model.Model{loopstest.NewModel(model.Info{Price: rates(2, 10)}, says)}, Request: ask("?")}); err != nil {
		t.Fatal(err)
	}
	if got := book.settled[0].CostUSD; got != 42 {
		t.Errorf("settled at %d", got)
	}
}

// TestProviderThatDoesNotCountIsNotFree: what was set aside for the input, and
// at most a token for each byte of the answer, counts as used.
func TestProviderThatDoesNotCountIsNotFree(t *testing.T) {
	m := mute{loopstest.NewModel(model.Info{Price: rates(2, 10)})}
	book := &meter{}
	known := modelcall.Known{}
	if _, _, err := modelcall.Do(t.Context(), book, modelcall.Call{Models: []model.Model{m}, Request: ask("?"), Known: &known}); err != nil {
		t.Fatal(err)
	}
	got := book.settled[0]
	if got.InputTokens != book.calls[0].Input || got.OutputTokens < 10 || got.OutputTokens > 100 || got.CostUSD == 0 || known != (modelcall.Known{}) {
		t.Errorf("settled %+v, known %+v", got, known)
	}
}

// TestAHalfOfTheUsageThatIsMissingIsNotFree: a gateway reported what came out and
// not what went in, or a number that nothing can have, and a loop with long prompts
// went on for ever under its cap.
func TestAHalfOfTheUsageThatIsMissingIsNotFree(t *testing.T) {
	for name, test := range map[string]struct{ in, want model.Usage }{
		"no input":          {model.Usage{Output: 5}, model.Usage{Input: -1, Output: 5}},
		"negative input":    {model.Usage{Input: -1 << 40, Output: 5}, model.Usage{Input: -1, Output: 5}},
		"negative cache":    {model.Usage{Input: 10, CacheRead: -1 << 40, Output: 5}, model.Usage{Input: 10, Output: 5}},
		"no output":         {model.Usage{Input: 10}, model.Usage{Input: 10, Output: -1}},
		"all of it":         {model.Usage{Input: 10, Output: 5}, model.Usage{Input: 10, Output: 5}},
		"from the cache":    {model.Usage{CacheRead: 10, Output: 5}, model.Usage{Input: 10, Output: 5}},
		"negative in total": {model.Usage{Input: 10, Output: -1 << 40}, model.Usage{Input: 10, Output: -1}},
	} {
		says := loopstest.Says("a long answer, and more of it")
		says.Answer.Usage = test.in
		book := &meter{}
		if _, _, err := modelcall.Do(t.Context(), book, modelcall.Call{Models: []model.Model{loopstest.NewModel(model.Info{Price: rates(2, 10)}, says)}, Request: ask("?")}); err != nil {
			t.Fatal(err)
		}
		if test.want.Input < 0 {
			test.want.Input = book.calls[0].Input
		}
		got := book.settled[0]
		if got.InputTokens != test.want.Input || got.OutputTokens != test.want.Output && (test.want.Output >= 0 || got.OutputTokens < 20) || got.TotalTokens != got.InputTokens+got.OutputTokens || got.CostUSD <= 0 {
			t.Errorf("%s: settled %+v, want %+v (-1: the most it may be)", name, got.Usage, test.want)
		}
	}
}

// mute answers without saying what it used.
type mute struct{ model.Model }

func (mute) Generate(context.Context, model.Request, func(model.Live)) (model.Answer, error) {
	return model.Answer{Message: model.Text(model.Assistant, "ten bytes!"), Stop: model.StopEnd}, nil
}

// TestFailedCallIsSettled: a refused one costs nothing, one whose outcome nobody
// knows keeps what was set aside.
func TestFailedCallIsSettled(t *testing.T) {
	for kind, unknown := range map[model.Kind]bool{model.RateLimited: false, model.BadKey: false, model.Network: true, model.Incomplete: true} {
		book := &meter{}
		_, _, err := modelcall.Do(t.Context(), book, modelcall.Call{Models: []model.Model{loopstest.NewModel(model.Info{}, loopstest.Breaks(kind))}, Request: ask("?"),
			Saved: func(model.Answer) json.RawMessage { return json.RawMessage(`1`) }})
		if model.KindOf(err) != kind || len(book.settled) != 1 || book.settled[0] != (loops.Spent{Unknown: unknown}) || book.saved[0] != "" {
			t.Errorf("%s: %v, settled %+v, saved %q", kind, err, book.settled, book.saved)
		}
	}
}

// TestFallbackIsReservedAtItsOwnPrice and what was counted for the first model
// says nothing about it.
func TestFallbackIsReservedAtItsOwnPrice(t *testing.T) {
	first := loopstest.NewModel(model.Info{ID: "a/down", Price: rates(1, 2)}, loopstest.Breaks(model.Overloaded))
	second := loopstest.NewModel(model.Info{ID: "b/up", Price: rates(30, 60)})
	book, known := &meter{}, modelcall.Known{Model: "a/down", Tokens: 10, Bytes: 100}
	answer, info, err := modelcall.Do(t.Context(), book, modelcall.Call{Models: []model.Model{first, second}, Request: ask("?"), Known: &known})
	if err != nil || info.ID != "b/up" || answer.Message.Text() != "ok" {
		t.Fatalf("%+v, %+v, %v", answer, info, err)
	}
	if book.calls[0].Model != "a/down" || book.calls[1].Model != "b/up" || book.calls[1].OutputRate != 60*loops.Dollar || book.calls[1].Input <= book.calls[0].Input {
		t.Errorf("reserved %+v", book.calls)
	}
	if book.settled[0] != (loops.Spent{}) || book.settled[1].CostUSD == 0 || known.Model != "b/up" {
		t.Errorf("settled %+v, known %+v", book.settled, known)
	}
}

func TestWhichFailuresAnotherModelMayMend(t *testing.T) {
	for kind, mends := range map[model.Kind]bool{
		model.RateLimited: true, model.Overloaded: true, model.ServerError: true, model.Network: true, model.NoCredit: true, model.BadKey: true,
		model.UnknownModel: true, model.Incomplete: true, model.Malformed: true, model.BadRequest: false, model.ContextTooLong: false, model.Refused: false,
	} {
		second := loopstest.NewModel(model.Info{})
		_, _, err := modelcall.Do(t.Context(), &meter{}, modelcall.Call{Models: []model.Model{loopstest.NewModel(model.Info{}, loopstest.Breaks(kind)), second}, Request: ask("?")})
		if (err == nil) != mends || len(second.Requests()) != map[bool]int{true: 1}[mends] {
			t.Errorf("%s: %v, the other model was called %d times", kind, err, len(second.Requests()))
		}
	}
}

func TestFirstModelsErrorIsTold(t *testing.T) {
	_, _, err := modelcall.Do(t.Context(), &meter{}, modelcall.Call{Request: ask("?"), Models: []model.Model{
		loopstest.NewModel(model.Info{ID: "a/x"}, loopstest.Breaks(model.Overloaded)), loopstest.NewModel(model.Info{ID: "b/y"}, loopstest.Breaks(model.BadKey))}})
	if e, ok := errors.AsType[*model.Error](err); !ok || e.Model != "a/x" {
		t.Errorf("%v", err)
	}
	if _, _, err = modelcall.Do(t.Context(), &meter{}, modelcall.Call{Request: ask("?")}); err == nil {
		t.Error("no model and no error")
	}
}

func TestEndedContextCallsNoOtherModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		second, book := loopstest.NewModel(model.Info{}), &meter{}
		_, _, err := modelcall.Do(ctx, book, modelcall.Call{Request: ask("?"), Models: []model.Model{loopstest.NewModel(model.Info{}, loopstest.Reply{Takes: time.Hour}), second}})
		if !errors.Is(err, context.DeadlineExceeded) || len(second.Requests()) != 0 || !book.settled[0].Unknown {
			t.Errorf("%v, %d calls, settled %+v", err, len(second.Requests()), book.settled)
		}
	})
}

func TestSettlementThatFailsIsAnError(t *testing.T) {
	_, _, err := modelcall.Do(t.Context(), &meter{unsettle: loops.ErrClosed}, modelcall.Call{Request: ask("?"), Models: []model.Model{loopstest.NewModel(model.Info{})}})
	if !errors.Is(err, loops.ErrClosed) {
		t.Error(err)
	}
}

func TestReasoningIsAHeartbeatAndNotShown(t *testing.T) {
	says := loopstest.Says("yes")
	says.Live = []model.Live{{Text: "hm", Reasoning: true}, {Text: "yes"}, {Tool: "look"}}
	var live []loops.Live
	_, _, err := modelcall.Do(t.Context(), &meter{}, modelcall.Call{Request: ask("?"), Models: []model.Model{loopstest.NewModel(model.Info{}, says)}, Live: func(l loops.Live) { live = append(live, l) }})
	if diff := cmp.Diff([]loops.Live{{}, {Text: "yes"}, {Tool: "look"}}, live); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

// TestWhatEachFailureMeansForALoop: the status and the reason that a person
// sees, with a sentence that says what to do.
func TestWhatEachFailureMeansForALoop(t *testing.T) {
	for _, test := range []struct {
		kind   model.Kind
		status loops.Status
		what   string // the stop reason, or what it waits for
		says   string
	}{
		{model.BadKey, loops.Failed, "fail.provider", "check the key"},
		{model.NoCredit, loops.Failed, "fail.provider", "no credit or quota left"},
		{model.UnknownModel, loops.Failed, "fail.provider", "check the model's name"},
		{model.BadRequest, loops.Failed, "fail.provider", "refused the request"},
		{model.ContextTooLong, loops.Failed, "fail.provider", "use history: fresh"},
		{model.Refused, loops.Failed, "fail.provider", "declined to answer"},
		{model.RateLimited, loops.Waiting, "rate_limit", ""},
		{model.Overloaded, loops.Waiting, "rate_limit", ""},
		{model.ServerError, loops.Waiting, "back_off", ""},
		{model.Network, loops.Waiting, "back_off", ""},
		{model.Incomplete, loops.Waiting, "back_off", ""},
		{model.Malformed, loops.Waiting, "back_off", ""},
	} {
		t.Run(string(test.kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := loopstest.NewModel(model.Info{ID: "a/b"}, loopstest.Breaks(test.kind))
				body := loops.BodyFunc(func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
					_, _, err := modelcall.Do(ctx, turn.Meter, modelcall.Call{Role: loops.RoleWorker, Models: []model.Model{m}, Request: ask("?")})
					return loops.Result{}, err
				})
				s := run(t, body)
				reason := s.WaitingFor
				if s.Stop != nil {
					reason = string(s.Stop.Reason)
				}
				if s.Status != test.status || reason != test.what || s.Ledger.Starts != 1 {
					t.Errorf("%s (%s) after %d starts, want %s (%s)", s.Status, reason, s.Ledger.Starts, test.status, test.what)
				}
				if s.Stop != nil && !strings.Contains(s.Stop.Detail, test.says) {
					t.Errorf("it says %q", s.Stop.Detail)
				}
			})
		})
	}
}

// run starts a loop and returns it as it is when nothing moves any more.
func run(t *testing.T, body loops.Body) loops.State {
	t.Helper()
	e := loops.New(loopstest.NewMemory(), loops.Parts{Handlers: map[string]loops.Body{"calls": body}}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	out, err := e.Start(ctx, loops.StartRequest{Spec: loops.Spec{Name: "calls", Goal: "go", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "calls"}}})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	s, err := e.Get(ctx, out.ID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
