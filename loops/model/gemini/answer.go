package gemini

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"google.golang.org/genai"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

// assembly puts an answer together from the chunks of its stream.
type assembly struct {
	live  func(model.Live)
	names map[string]string // of tools, by the name that the API was told
	turns int               // messages of the conversation so far

	parts   []*piece
	usage   *genai.GenerateContentResponseUsageMetadata
	finish  genai.FinishReason
	blocked genai.BlockedReason
	why     string // what the API says of a blocked prompt
	model   string
	id      string
}

// piece is a part that grows.
type piece struct {
	part genai.Part
	text strings.Builder
}

// add takes one chunk.
func (a *assembly) add(chunk *genai.GenerateContentResponse) error {
	if chunk == nil {
		return errUnreadable
	}
	if chunk.ModelVersion != "" {
		a.model = chunk.ModelVersion
	}
	if chunk.ResponseID != "" {
		a.id = chunk.ResponseID
	}
	a.count(chunk.UsageMetadata)
	if f := chunk.PromptFeedback; f != nil && f.BlockReason != "" {
		a.blocked, a.why = f.BlockReason, f.BlockReasonMessage
	}
	for _, c := range chunk.Candidates {
		if c == nil || c.Index != 0 {
			continue // one is asked for
		}
		if c.FinishReason != "" && c.FinishReason != genai.FinishReasonUnspecified {
			a.finish = c.FinishReason
		}
		if c.Content == nil {
			continue
		}
		for _, p := range c.Content.Parts {
			if err := a.grow(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// grow takes one part of a chunk. A part with a signature stays by itself: the
// API wants it back as it came.
func (a *assembly) grow(p *genai.Part) error {
	switch {
	case p == nil:
		return errUnreadable
	case p.FunctionCall != nil && p.FunctionCall.Name == "":
		return fmt.Errorf("%w: a tool call without a name", errUnreadable)
	case p.FunctionCall != nil:
		a.emit(model.Live{Tool: a.name(p.FunctionCall.Name)})
	case p.Text != "":
		a.emit(model.Live{Text: p.Text, Reasoning: p.Thought})
	}
	if plain(p) {
		if p.Text == "" {
			return nil
		}
		if n := len(a.parts); n > 0 && plain(&a.parts[n-1].part) && a.parts[n-1].part.Thought == p.Thought {
			a.parts[n-1].text.WriteString(p.Text)
			return nil
		}
	}
	grown := &piece{part: *p}
	grown.text.WriteString(p.Text)
	a.parts = append(a.parts, grown)
	return nil
}

// plain reports whether a part is text and nothing else.
func plain(p *genai.Part) bool {
	return reflect.DeepEqual(*p, genai.Part{Text: p.Text, Thought: p.Thought})
}

func (a *assembly) emit(l model.Live) {
	if a.live != nil {
		a.live(l)
	}
}

func (a *assembly) name(told string) string {
	if name, ok := a.names[told]; ok {
		return name
	}
	return told
}

// count takes the counts of a chunk, each the total so far; some chunks leave
// some out.
func (a *assembly) count(u *genai.GenerateContentResponseUsageMetadata) {
	if u == nil {
		return
	}
	if a.usage == nil {
		a.usage = &genai.GenerateContentResponseUsageMetadata{}
	}
	t := a.usage
	t.PromptTokenCount = max(t.PromptTokenCount, u.PromptTokenCount)
	t.CachedContentTokenCount = max(t.CachedContentTokenCount, u.CachedContentTokenCount)
	t.ToolUsePromptTokenCount = max(t.ToolUsePromptTokenCount, u.ToolUsePromptTokenCount)
	t.CandidatesTokenCount = max(t.CandidatesTokenCount, u.CandidatesTokenCount)
	t.ThoughtsTokenCount = max(t.ThoughtsTokenCount, u.ThoughtsTokenCount)
	t.TotalTokenCount = max(t.TotalTokenCount, u.TotalTokenCount)
}

// ended reports whether the answer came to its end.
func (a *assembly) ended() bool { return a.finish != "" || a.blocked != "" }

// answer is what came, to a request of that many bytes.
func (a *assembly) answer(info model.Info, sent int64) (model.Answer, error) {
	msg := model.Message{Role: model.Assistant, Wire: wireName}
	native := []json.RawMessage{}
	for i, p := range a.parts {
		raw, err := p.native()
		if err != nil {
			return model.Answer{}, err
		}
		native = append(native, raw)
		if b, ok := a.neutral(i, p); ok {
			msg.Blocks = append(msg.Blocks, b)
		}
	}
	stop, err := a.stop(len(msg.Calls()) > 0)
	if err != nil {
		return model.Answer{}, err
	}
	if stop == model.StopRefusal && strings.TrimSpace(msg.Text()) == "" {
		msg.Blocks = append(msg.Blocks, model.Block{Text: a.refusal()})
	}
	all, err := wire.JSON(native)
	if err != nil {
		return model.Answer{}, err
	}
	msg.Native = wire.Keep(info.ID, all)
	return model.Answer{Message: msg, Stop: stop, Usage: a.total(sent, int64(len(all))), Model: a.model, RequestID: a.id}, nil
}

// stop tells why the model stopped. A reason that leaves no answer to work with
// is an error.
func (a *assembly) stop(calls bool) (model.Stop, error) {
	if a.blocked != "" && a.finish == "" {
		return model.StopRefusal, nil
	}
	switch a.finish {
	case "":
		return "", errNoEnd
	case genai.FinishReasonStop, "FUNCTION_CALL": // the latter of servers that only speak like Google's
		if calls {
			return model.StopTools, nil
		}
		return model.StopEnd, nil
	case genai.FinishReasonMaxTokens:
		return model.StopLength, nil
	case genai.FinishReasonSafety, genai.FinishReasonRecitation, genai.FinishReasonLanguage, genai.FinishReasonBlocklist,
		genai.FinishReasonProhibitedContent, genai.FinishReasonSPII, genai.FinishReasonImageSafety,
		genai.FinishReasonImageProhibitedContent, genai.FinishReasonImageRecitation, "MODEL_ARMOR":
		return model.StopRefusal, nil
	case genai.FinishReasonContinuation:
		return "", errCut
	}
	return "", fmt.Errorf("%w: %s", errStopped, a.finish)
}

// refusal is the text of an answer that was refused and has none.
func (a *assembly) refusal() string {
	switch {
	case a.finish != "":
		return "the answer was blocked: " + string(a.finish)
	case a.why != "":
		return "the prompt was blocked: " + string(a.blocked) + ": " + a.why
	}
	return "the prompt was blocked: " + string(a.blocked)
}

// total splits the counts into parts that do not overlap. The prompt's count
// includes what was cached; thoughts are not part of the candidates'. An answer
// without counts is counted by its bytes, which is at most too much: it was paid
// for all the same.
func (a *assembly) total(sent, received int64) model.Usage {
	u := a.usage
	if u == nil {
		return model.Usage{Input: sent, Output: received}
	}
	prompt := int64(u.PromptTokenCount) + int64(u.ToolUsePromptTokenCount)
	cached := min(int64(u.CachedContentTokenCount), prompt)
	output := int64(u.CandidatesTokenCount) + int64(u.ThoughtsTokenCount)
	return model.Usage{
		Input: prompt - cached, CacheRead: cached,
		Output: max(output, int64(u.TotalTokenCount)-prompt), Reasoning: int64(u.ThoughtsTokenCount),
	}
}

// neutral is a part in the words of package model.
func (a *assembly) neutral(i int, p *piece) (model.Block, bool) {
	switch {
	case p.part.FunctionCall != nil:
		f := p.part.FunctionCall
		args, err := wire.JSON(f.Args)
		if err != nil || f.Args == nil {
			args = json.RawMessage(`{}`)
		}
		call := &model.ToolCall{ID: f.ID, Name: a.name(f.Name), Args: args}
		if call.ID == "" {
			call.ID = a.callID(i, f.Name, args)
		}
		return model.Block{Call: call}, true
	case p.text.Len() == 0:
		return model.Block{}, false
	case p.part.Thought:
		return model.Block{Reasoning: p.text.String()}, true
	}
	return model.Block{Text: p.text.String()}, true
}

// callID makes an id for a call that has none: the same for the same answer at
// the same place of a conversation, and another for every other.
func (a *assembly) callID(i int, name string, args json.RawMessage) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%d\n%s\n%s", a.id, a.turns, i, name, args))
	return "call_" + hex.EncodeToString(sum[:12])
}

// native is a part as the API takes it back. The library leaves out a text that
// is empty, without which the API refuses a signature.
func (p *piece) native() (json.RawMessage, error) {
	p.part.Text = p.text.String()
	raw, err := wire.JSON(p.part)
	if err != nil {
		return nil, err
	}
	bare := genai.Part{Thought: p.part.Thought, ThoughtSignature: p.part.ThoughtSignature}
	if reflect.DeepEqual(p.part, bare) {
		raw = json.RawMessage(`{"text":"",` + strings.TrimPrefix(string(raw), "{"))
	}
	return raw, nil
}
