package modelcall_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/modelcall"
)

// TestBoundIsNeverBelowWhatAProviderCounts, however a conversation grows, with
// and without what was counted before.
func TestBoundIsNeverBelowWhatAProviderCounts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string { return strings.Repeat("é word ", random.IntN(200)) }
	for range 50 {
		r := model.Request{System: text(), Tools: []model.Tool{{Name: "look", Description: text(), Schema: json.RawMessage(`{"type":"object"}`)}}}
		dense := 1 + random.IntN(4) // bytes a token
		var known modelcall.Known
		for range 10 {
			r.Messages = append(r.Messages, model.Message{Role: model.User, Blocks: []model.Block{{Text: text()}, {Result: &model.ToolResult{ID: "c1", Name: "look", Text: text()}}}})
			reply := loopstest.Says(text() + "x")
			reply.Answer.Message.Blocks = append(reply.Answer.Message.Blocks, model.Block{Call: &model.ToolCall{ID: "c1", Name: "look", Args: json.RawMessage(`{"a":"b"}`)}})
			reply.Answer.Usage = model.Usage{Input: content(r) / int64(dense), Output: contentOf(reply.Answer.Message) / int64(dense)}
			book := &meter{}
			answer, _, err := modelcall.Do(t.Context(), book, modelcall.Call{Models: []model.Model{loopstest.NewModel(model.Info{ID: "a/b"}, reply)}, Request: r, Known: &known})
			if err != nil {
				t.Fatal(err)
			}
			if got := book.calls[0].Input; got < reply.Answer.Usage.Input || got > modelcall.Size(r) {
				t.Fatalf("reserved %d tokens in, the provider counted %d in %d bytes", got, reply.Answer.Usage.Input, modelcall.Size(r))
			}
			r.Messages = append(r.Messages, answer.Message)
		}
	}
}

// content is the bytes of what a request says.
func content(r model.Request) int64 {
	n := int64(len(r.System))
	for _, t := range r.Tools {
		n += int64(len(t.Name) + len(t.Description) + len(t.Schema))
	}
	for _, m := range r.Messages {
		n += contentOf(m)
	}
	return n
}

func contentOf(m model.Message) int64 {
	n := 0
	for _, b := range m.Blocks {
		n += len(b.Text)
		if b.Call != nil {
			n += len(b.Call.Args) + len(b.Call.Name)
		}
		if b.Result != nil {
			n += len(b.Result.Text)
		}
	}
	return int64(n)
}

// TestWhatWasCountedIsUsedForTheSameModelOnly and only as long as the
// conversation grows.
func TestWhatWasCountedIsUsedForTheSameModelOnly(t *testing.T) {
	long := ask(strings.Repeat("word ", 10_000))
	counted := modelcall.Known{Model: "a/b", Tokens: 10_000, Bytes: modelcall.Size(long) - 500}
	for _, test := range []struct {
		name  string
		known *modelcall.Known
		want  int64
	}{
		{"nothing", nil, modelcall.Size(long)},
		{"of this model", &counted, 10_000 + 500 + 64},
		{"of another model", &modelcall.Known{Model: "a/c", Tokens: 10_000, Bytes: counted.Bytes}, modelcall.Size(long)},
		{"of a longer conversation", &modelcall.Known{Model: "a/b", Tokens: 10_000, Bytes: modelcall.Size(long) + 1}, modelcall.Size(long)},
	} {
		t.Run(test.name, func(t *testing.T) {
			book := &meter{}
			if _, _, err := modelcall.Do(t.Context(), book, modelcall.Call{Models: []model.Model{loopstest.NewModel(model.Info{ID: "a/b"})}, Request: long, Known: test.known}); err != nil {
				t.Fatal(err)
			}
			if got := book.calls[0].Input; got != test.want {
				t.Errorf("reserved %d tokens in, want %d", got, test.want)
			}
		})
	}
}

func TestOutputThatIsWanted(t *testing.T) {
	for _, test := range []struct{ asked, most, want int64 }{
		{0, 0, 16 << 10}, {0, 4096, 4096}, {0, 200_000, 32 << 10}, {100_000, 200_000, 100_000}, {100_000, 4096, 4096}, {500, 0, 500},
	} {
		book, r := &meter{}, ask("?")
		r.MaxTok = test.asked
		if _, _, err := modelcall.Do(t.Context(), book, modelcall.Call{Models: []model.Model{loopstest.NewModel(model.Info{MaxOutput: test.most})}, Request: r}); err != nil {
			t.Fatal(err)
		}
		if got := book.calls[0].Output; got != test.want {
			t.Errorf("asked for %d of at most %d: reserved %d, want %d", test.asked, test.most, got, test.want)
		}
	}
}

func TestLimitWithoutRoomIsReturnedAsItIs(t *testing.T) {
	full := &loops.CapError{Reason: loops.CapCost, Detail: "max_cost_usd: used"}
	m, second := loopstest.NewModel(model.Info{}), loopstest.NewModel(model.Info{})
	_, _, err := modelcall.Do(t.Context(), &meter{refuses: full}, modelcall.Call{Models: []model.Model{m, second}, Request: ask("?")})
	if got, ok := errors.AsType[*loops.CapError](err); !ok || got != full || len(m.Requests())+len(second.Requests()) != 0 {
		t.Errorf("%v, %d calls", err, len(m.Requests())+len(second.Requests()))
	}
}
