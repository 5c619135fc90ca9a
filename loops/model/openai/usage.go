package openai

import (
	"encoding/json"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
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
	}, wire.Cost(raw)
}
