package wire

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"example.com/loop-mcp/loops/model"
)

func TestHowLongTheProviderAsksToWait(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		kind   model.Kind
		text   string
		header []string
		want   time.Duration
	}{
		"nothing":                  {model.RateLimited, "", nil, 0},
		"seconds":                  {model.RateLimited, "", []string{"Retry-After", "7"}, 7 * time.Second},
		"parts of seconds":         {model.Overloaded, "", []string{"Retry-After", "1.5"}, 1500 * time.Millisecond},
		"a date":                   {model.Overloaded, "", []string{"Retry-After", "Fri, 20 Nov 2026 12:01:30 GMT"}, 90 * time.Second},
		"a date that is past":      {model.Overloaded, "", []string{"Retry-After", "Fri, 20 Nov 2026 11:01:30 GMT"}, 0},
		"milliseconds win":         {model.RateLimited, "", []string{"Retry-After", "2", "Retry-After-Ms", "1250"}, 1250 * time.Millisecond},
		"negative":                 {model.RateLimited, "", []string{"Retry-After", "-4"}, 0},
		"not a number":             {model.RateLimited, "", []string{"Retry-After", "NaN"}, 0},
		"for ever":                 {model.RateLimited, "", []string{"Retry-After", "1e300"}, longestWait},
		"nonsense":                 {model.RateLimited, "", []string{"Retry-After", "soon"}, 0},
		"used up (OpenAI)":         {model.RateLimited, "", []string{"X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "6m0s", "X-Ratelimit-Remaining-Requests", "9", "X-Ratelimit-Reset-Requests", "1h"}, 6 * time.Minute},
		"used up (Anthropic)":      {model.RateLimited, "", []string{"Anthropic-Ratelimit-Input-Tokens-Remaining", "0", "Anthropic-Ratelimit-Input-Tokens-Reset", "2026-11-20T12:00:20Z"}, 20 * time.Second},
		"used up (OpenRouter)":     {model.RateLimited, "", []string{"X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", "1795176060000"}, time.Minute},
		"used up, another failure": {model.ServerError, "", []string{"X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "6m0s"}, 0},
		"in words":                 {model.RateLimited, "Rate limit reached. Please try again in 1m2.5s. Visit", nil, 62*time.Second + 500*time.Millisecond},
		"in words, milliseconds":   {model.RateLimited, "Please try again in 28ms.", nil, 28 * time.Millisecond},
	}
	for name, tt := range tests {
		h := http.Header{}
		for i := 0; i < len(tt.header); i += 2 {
			h.Set(tt.header[i], tt.header[i+1])
		}
		if got := retryAfter(&model.Error{Kind: tt.kind, Err: errors.New(tt.text)}, h, now); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}
