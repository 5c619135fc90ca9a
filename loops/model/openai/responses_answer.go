package openai

import (
	"encoding/json"
	"errors"
	"strings"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

// responsesAnswer is an answer of the Responses API as it grows.
type responsesAnswer struct {
	live  func(model.Live)
	done  []json.RawMessage // items, as each was finished
	some  bool
	final *response
}

type response struct {
	ID         string            `json:"id"`
	Model      string            `json:"model"`
	Output     []json.RawMessage `json:"output"`
	Usage      json.RawMessage   `json:"usage"`
	Error      json.RawMessage   `json:"error"`
	Incomplete struct {
		Reason string `json:"reason"`
	} `json:"incomplete_details"`
}

type event struct {
	Type     string          `json:"type"`
	Delta    json.RawMessage `json:"delta"` // a text, but for events that are none of ours
	Item     json.RawMessage `json:"item"`
	Response *response       `json:"response"`
	Error    json.RawMessage `json:"error"`
}

// item has what is read of the items of an output.
type item struct {
	Type      string `json:"type"`
	ID        string `json:"id"`
	Content   []part `json:"content"`
	Summary   []part `json:"summary"`
	CallID    string `json:"call_id"`
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
	Encrypted string `json:"encrypted_content"`
}

type part struct {
	Type    string `json:"type"`
	Text    string `json:"text"`
	Refusal string `json:"refusal"`
}

func (a *responsesAnswer) begun() bool { return a.some }

func (a *responsesAnswer) ended() bool { return a.final != nil }

func (a *responsesAnswer) closed() error {
	return errors.New("the stream closed without response.completed")
}

func (a *responsesAnswer) add(raw []byte) error {
	var e event
	if err := json.Unmarshal(raw, &e); err != nil {
		return malformed(err)
	}
	switch e.Type {
	case "response.output_text.delta", "response.refusal.delta":
		a.say(e.Delta, false)
	case "response.reasoning_summary_text.delta", "response.reasoning_text.delta":
		a.say(e.Delta, true)
	case "response.output_item.added":
		return a.added(e.Item)
	case "response.output_item.done":
		a.some = true
		a.done = append(a.done, e.Item)
	case "response.completed", "response.incomplete":
		if e.Response == nil {
			return malformed(errors.New(e.Type + " without a response"))
		}
		a.final = e.Response
		return a.check(e.Type)
	case "response.failed", "response.cancelled", "error":
		return problem(why(e, raw))
	case "":
		if len(e.Error) > 0 {
			return problem(raw)
		}
	}
	return nil
}

// why is where an event of failure says why.
func why(e event, raw []byte) []byte {
	if e.Response != nil && len(e.Response.Error) > 0 && string(e.Response.Error) != "null" {
		return e.Response.Error
	}
	if e.Response != nil {
		return []byte(`{"message":"the response failed without a reason"}`)
	}
	return raw
}

// check refuses an end that is none.
func (a *responsesAnswer) check(kind string) error {
	for _, raw := range a.output() {
		var i item
		if err := json.Unmarshal(raw, &i); err != nil {
			return malformed(err)
		}
	}
	reason := a.final.Incomplete.Reason
	if kind == "response.incomplete" && reason != "max_output_tokens" && reason != "content_filter" {
		return &fault{wire.Fault{Kind: model.Incomplete, Err: errors.New("the response is incomplete: " + reason)}}
	}
	return nil
}

func (a *responsesAnswer) added(raw json.RawMessage) error {
	var i item
	if err := json.Unmarshal(raw, &i); err != nil {
		return malformed(err)
	}
	if i.Type == kindFunction {
		a.some = true
		a.live(model.Live{Tool: i.Name})
	}
	return nil
}

func (a *responsesAnswer) say(delta json.RawMessage, reasoning bool) {
	var text string
	if json.Unmarshal(delta, &text) == nil && text != "" {
		a.some = true
		a.live(model.Live{Text: text, Reasoning: reasoning})
	}
}

// output is the items of the answer: of the last event, or, from servers that
// leave them out there, as each was finished.
func (a *responsesAnswer) output() []json.RawMessage {
	if len(a.final.Output) >= len(a.done) {
		return a.final.Output
	}
	return a.done
}

func (a *responsesAnswer) answer(info model.Info, requestID string) model.Answer {
	msg := model.Message{Role: model.Assistant, Wire: Responses}
	stop := model.StopEnd
	output := a.output()
	var native []json.RawMessage
	whole := 0 // reasoning without what it led to is refused
	for n, raw := range output {
		cut := a.final.Incomplete.Reason == "max_output_tokens" && n == len(output)-1
		var i item
		if json.Unmarshal(raw, &i) != nil {
			continue
		}
		blocks, refused := i.blocks(cut)
		msg.Blocks = append(msg.Blocks, blocks...)
		if refused {
			stop = model.StopRefusal
		}
		if back := i.native(raw, cut); back != nil {
			native = append(native, back)
			if i.Type != "reasoning" {
				whole = len(native)
			}
		}
	}
	raw, _ := wire.JSON(native[:whole])
	msg.Native = wire.Keep(info.ID, raw)
	u, cost := count(a.final.Usage)
	if requestID == "" {
		requestID = a.final.ID
	}
	return model.Answer{Message: msg, Stop: a.reason(stop, msg), Usage: u, Cost: cost, Model: a.final.Model, RequestID: requestID}
}

func (a *responsesAnswer) reason(stop model.Stop, msg model.Message) model.Stop {
	switch {
	case a.final.Incomplete.Reason == "max_output_tokens":
		return model.StopLength
	case a.final.Incomplete.Reason == "content_filter":
		return model.StopRefusal
	case stop == model.StopEnd && len(msg.Calls()) > 0:
		return model.StopTools
	}
	return stop
}

func (i item) blocks(cut bool) (blocks []model.Block, refused bool) {
	switch i.Type {
	case "message":
		var text strings.Builder
		for _, p := range i.Content {
			text.WriteString(p.Text + p.Refusal)
			refused = refused || p.Type == "refusal"
		}
		if text.Len() > 0 {
			blocks = append(blocks, model.Block{Text: text.String()})
		}
	case "reasoning":
		var texts []string
		for _, p := range append(i.Summary, i.Content...) {
			texts = append(texts, p.Text)
		}
		if text := strings.Join(texts, "\n\n"); text != "" {
			blocks = append(blocks, model.Block{Reasoning: text})
		}
	case kindFunction:
		id := i.CallID
		if id == "" {
			id = i.ID
		}
		blocks = append(blocks, model.Block{Call: &model.ToolCall{ID: id, Name: i.Name, Args: wire.Args(i.Arguments, cut)}})
	}
	return blocks, refused
}

// native is the item as the API takes it back: as it came, but for what would be
// refused. Reasoning that is neither encrypted nor written out only points to
// what the provider did not store.
func (i item) native(raw json.RawMessage, cut bool) json.RawMessage {
	switch {
	case i.Type == "reasoning" && i.Encrypted == "" && len(i.Content) == 0:
		return nil
	case i.Type == kindFunction:
		args := wire.Args(i.Arguments, cut)
		if len(args) > 0 && args[0] == '{' && i.Arguments != "" {
			return raw
		}
		fields := map[string]json.RawMessage{}
		if json.Unmarshal(raw, &fields) != nil {
			return nil
		}
		fields["arguments"], _ = wire.JSON(string(wire.Object(args)))
		raw, _ = wire.JSON(fields)
	}
	return raw
}
