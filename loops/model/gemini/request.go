package gemini

import (
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/genai"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

// efforts are what Config.Effort can be.
var efforts = []string{"", "none", "minimal", "low", "medium", "high"}

// budgets are the efforts in tokens, for models before Gemini 3; Google's own
// figures for its OpenAI-compatible API.
var budgets = map[string]int32{"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}

// levels are the efforts for Gemini 3 and later, which always think.
var levels = map[string]genai.ThinkingLevel{
	"none": genai.ThinkingLevelMinimal, "minimal": genai.ThinkingLevelMinimal, "low": genai.ThinkingLevelLow,
	"medium": genai.ThinkingLevelMedium, "high": genai.ThinkingLevelHigh,
}

// older are the models that neither know levels nor ask for signatures.
var older = regexp.MustCompile(`(?i)gemini-(1|2)(\.|-|$)|gemini-pro|gemma|learnlm`)

// config is everything of r but the messages, in the library's words.
func (m *Model) config(r model.Request) (*genai.GenerateContentConfig, error) {
	contents, err := m.contents(r.Messages)
	if err != nil {
		return nil, err
	}
	c := &genai.GenerateContentConfig{
		AutomaticContinuation: new(false), // it would make requests of its own
		HTTPOptions: &genai.HTTPOptions{ExtrasRequestProvider: func(body map[string]any) map[string]any {
			body["contents"] = contents // verbatim; the library would drop what it does not know
			return body
		}},
		MaxOutputTokens: int32(min(max(0, r.MaxTok), math.MaxInt32)),
		ThinkingConfig:  m.thinking(),
	}
	if strings.TrimSpace(r.System) != "" {
		c.SystemInstruction = genai.NewContentFromText(r.System, genai.RoleUser)
	}
	if len(r.Tools) > 0 {
		c.Tools = []*genai.Tool{{FunctionDeclarations: declarations(r.Tools)}}
	}
	if len(r.Schema) > 0 {
		if !json.Valid(r.Schema) {
			return nil, errors.New("the schema of the answer is not JSON")
		}
		c.ResponseMIMEType, c.ResponseJsonSchema = "application/json", r.Schema
	}
	return c, nil
}

func (m *Model) thinking() *genai.ThinkingConfig {
	if m.cfg.Effort == "" {
		return nil
	}
	c := &genai.ThinkingConfig{IncludeThoughts: m.cfg.Effort != "none"} // a sign of life while it thinks
	if older.MatchString(m.cfg.Model) {
		c.ThinkingBudget = new(budgets[m.cfg.Effort])
	} else {
		c.ThinkingLevel = levels[m.cfg.Effort]
	}
	return c
}

func declarations(tools []model.Tool) []*genai.FunctionDeclaration {
	out := make([]*genai.FunctionDeclaration, len(tools))
	for i, t := range tools {
		out[i] = &genai.FunctionDeclaration{Name: toolName(t.Name), Description: t.Description}
		if schema := wire.Schema(t.Schema); string(schema) != `{"type":"object","properties":{}}` && json.Valid(schema) {
			out[i].ParametersJsonSchema = schema
		}
	}
	return out
}

// toolName is a name that the API accepts: it begins with a letter or _.
func toolName(name string) string {
	if name != "" && (name[0] == '-' || name[0] >= '0' && name[0] <= '9') {
		return "_" + name
	}
	return name
}

// toolNames leads back from what the API was told.
func toolNames(tools []model.Tool) map[string]string {
	names := map[string]string{}
	for _, t := range tools {
		names[toolName(t.Name)] = t.Name
	}
	return names
}

// content is a message in the API's words.
type content struct {
	Role  string            `json:"role"`
	Parts []json.RawMessage `json:"parts"`
}

// contents translates a conversation.
func (m *Model) contents(all []model.Message) ([]content, error) {
	var out []content
	known := map[string]bool{} // ids that the API gave
	for _, msg := range joined(all) {
		c, err := m.content(msg, known)
		if err != nil {
			return nil, err
		}
		if len(c.Parts) > 0 { // the API takes no empty message
			out = append(out, c)
		}
	}
	return out, nil
}

// joined makes messages of the user that follow each other one: the API wants
// all results of a turn's calls together.
func joined(all []model.Message) []model.Message {
	var out []model.Message
	for _, msg := range all {
		n := len(out) - 1
		if n >= 0 && msg.Role != model.Assistant && out[n].Role != model.Assistant {
			out[n].Blocks = append(slices.Clip(out[n].Blocks), msg.Blocks...)
			continue
		}
		out = append(out, msg)
	}
	return out
}

func (m *Model) content(msg model.Message, known map[string]bool) (content, error) {
	if msg.Role != model.Assistant {
		parts, err := results(msg.Blocks, known)
		return content{Role: "user", Parts: parts}, err
	}
	if raw, ok := wire.Kept(m.info.ID, msg.Native); ok && msg.Wire == wireName {
		var parts []json.RawMessage
		if json.Unmarshal(raw, &parts) == nil {
			return content{Role: "model", Parts: m.signed(parts, known)}, nil
		}
	}
	parts, err := m.calls(msg.Blocks)
	return content{Role: "model", Parts: parts}, err
}

// foreign stands for the signature of a call that has none; Google's own word.
const foreign = `"thoughtSignature":"skip_thought_signature_validator"`

// signed returns the parts of this model's own turn, notes the ids of its calls
// and sees to it that the first of them has a signature.
func (m *Model) signed(parts []json.RawMessage, known map[string]bool) []json.RawMessage {
	first := true
	for i, raw := range parts {
		var p struct {
			FunctionCall *struct {
				ID string `json:"id"`
			} `json:"functionCall"`
			ThoughtSignature string `json:"thoughtSignature"`
		}
		if json.Unmarshal(raw, &p) != nil || p.FunctionCall == nil {
			continue
		}
		if p.FunctionCall.ID != "" {
			known[p.FunctionCall.ID] = true
		}
		if first && p.ThoughtSignature == "" && !older.MatchString(m.cfg.Model) {
			parts[i] = json.RawMessage(strings.TrimSuffix(string(raw), "}") + "," + foreign + "}")
		}
		first = false
	}
	return parts
}

// part is what a message is built anew from.
type part struct {
	Text             string    `json:"text,omitempty"`
	FunctionCall     *function `json:"functionCall,omitempty"`
	FunctionResponse *function `json:"functionResponse,omitempty"`
}

type function struct {
	ID       string            `json:"id,omitempty"`
	Name     string            `json:"name"`
	Args     json.RawMessage   `json:"args,omitempty"`
	Response map[string]string `json:"response,omitempty"`
}

// calls are the parts of a turn that another model made, without its reasoning.
func (m *Model) calls(blocks []model.Block) ([]json.RawMessage, error) {
	var parts []part
	for _, b := range blocks {
		switch {
		case b.Call != nil:
			parts = append(parts, part{FunctionCall: &function{Name: toolName(b.Call.Name), Args: wire.Object(b.Call.Args)}})
		case strings.TrimSpace(b.Text) != "":
			parts = append(parts, part{Text: b.Text})
		}
	}
	out, err := marshalled(parts)
	return m.signed(out, map[string]bool{}), err
}

// results are the parts of a turn of the user: results of tools come first, as
// the API wants them right after the calls.
func results(blocks []model.Block, known map[string]bool) ([]json.RawMessage, error) {
	var first, rest []part
	for _, b := range blocks {
		switch {
		case b.Result != nil:
			f := &function{Name: toolName(b.Result.Name), Response: map[string]string{"output": b.Result.Text}}
			if b.Result.Error {
				f.Response = map[string]string{"error": b.Result.Text}
			}
			if known[b.Result.ID] {
				f.ID = b.Result.ID
			}
			first = append(first, part{FunctionResponse: f})
		case strings.TrimSpace(b.Text) != "": // the API takes no blank text
			rest = append(rest, part{Text: b.Text})
		}
	}
	return marshalled(append(first, rest...))
}

func marshalled(parts []part) ([]json.RawMessage, error) {
	out := make([]json.RawMessage, len(parts))
	for i, p := range parts {
		raw, err := wire.JSON(p)
		if err != nil {
			return nil, err
		}
		out[i] = raw
	}
	return out, nil
}
