package openai

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"example.com/loop-mcp/loops/model"
)

// usage has the members of both APIs and of the servers that add to them.
type usage struct {
	Input      int64 `json:"input_tokens"`
	Prompt     int64 `json:"prompt_tokens"`
	Output     int64 `json:"output_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`

	InputDetails      inputDetails  `json:"input_tokens_details"`
	PromptDetails     inputDetails  `json:"prompt_tokens_details"`
	OutputDetails     outputDetails `json:"output_tokens_details"`
	CompletionDetails outputDetails `json:"completion_tokens_details"`
	CacheHit          int64         `json:"prompt_cache_hit_tokens"` // DeepSeek

	Cost        json.RawMessage `json:"cost"` // OpenRouter: dollars
	OwnKey      bool            `json:"is_byok"`
	CostDetails struct {
		Upstream json.RawMessage `json:"upstream_inference_cost"`
	} `json:"cost_details"`
}

type inputDetails struct {
	Cached int64 `json:"cached_tokens"`
	Write  int64 `json:"cache_write_tokens"`
}

type outputDetails struct {
	Reasoning int64 `json:"reasoning_tokens"`
}

// count is what a usage comes to. One that can't be read is none: the caller
// takes an answer without tokens for one of unknown cost.
func count(raw json.RawMessage) (model.Usage, *int64) {
	var u usage
	if len(raw) == 0 || json.Unmarshal(raw, &u) != nil {
		return model.Usage{}, nil
	}
	input := max(0, u.Input, u.Prompt)
	read := max(0, u.InputDetails.Cached, u.PromptDetails.Cached, u.CacheHit)
	write := max(0, u.InputDetails.Write, u.PromptDetails.Write)
	// Some servers leave reasoning out of the output, but never out of the total.
	output := max(0, u.Output, u.Completion, u.Total-input)
	return model.Usage{
		Input: max(0, input-read-write), CacheRead: read, CacheWrite: write,
		Output: output, Reasoning: max(0, u.OutputDetails.Reasoning, u.CompletionDetails.Reasoning),
	}, u.cost()
}

// cost is what the provider says that the call cost, in micro-dollars, rounded
// up; nil: it says nothing. With a key of one's own behind a router, what the
// vendor takes comes on top.
func (u usage) cost() *int64 {
	dollars, ok := number(u.Cost)
	if !ok {
		return nil
	}
	if upstream, ok := number(u.CostDetails.Upstream); ok && u.OwnKey {
		dollars += upstream
	}
	micros := math.Ceil(dollars*1e6 - 1e-6) // less what is an error of binary fractions
	n := int64(min(max(0, micros), 1e15))
	return &n
}

func number(raw json.RawMessage) (float64, bool) {
	f, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	return f, err == nil && f >= 0 && !math.IsInf(f, 0)
}
