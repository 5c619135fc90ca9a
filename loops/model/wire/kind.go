package wire

import (
	"net/http"
	"regexp"
	"strings"
	"sync"

	"example.com/loop-mcp/loops/model"
)

// phrases tell kinds apart that share a status and a type: Anthropic reports an
// empty account, a conversation that is too long and a typing mistake all as a
// 400 of the type invalid_request_error. They come first, and the first match
// counts. Vendors whose words they are: after the phrase.
var phrases = []struct {
	kind model.Kind
	text func() *regexp.Regexp
}{
	{model.NoCredit, lazy(`credit balance is too low` + // Anthropic
		`|reached your specified api usage limits` + // Anthropic
		`|account is not active|billing hard limit` + // OpenAI
		`|insufficient credits|requires more credits|key limit exceeded` + // OpenRouter
		`|insufficient balance` + // DeepSeek, Moonshot
		`|out of credits|spend(ing)? limit`)},
	{model.ContextTooLong, lazy(`prompt is too long|exceed context limit|exceeds the maximum size` + // Anthropic
		`|exceeds the context window|maximum context length|reduce the length of the messages` + // OpenAI, vLLM, DeepSeek, OpenRouter
		`|request too large` + // OpenAI, Groq: more than a minute's tokens in one request: waiting is of no use
		`|available context size|context size has been exceeded` + // llama.cpp
		`|context length of only|greater than the context length|context the overflows` + // LM Studio
		`|input length exceeds` + // Ollama
		`|maximum prompt length` + // xAI
		`|too large for model with` + // Mistral
		`|exceeds the maximum number of tokens allowed` + // Gemini
		`|input is too long`)}, // Bedrock
	{model.Refused, lazy(`content filtering policy` + // Anthropic
		`|flagged as potentially violating` + // OpenAI
		`|content management policy` + // Azure
		`|requires moderation|input was flagged`)}, // OpenRouter
	{model.UnknownModel, lazy(`model\b.{0,120}\b(does not exist|not found|not exist\b)` + // OpenAI, vLLM, Ollama
		`|not a valid model id|no endpoints found for` + // OpenRouter
		`|no such model|unknown model|does not have access to model`)},
	{model.Overloaded, lazy(`\boverloaded\b|(at|over|exceeded) capacity|experiencing high demand`)},
}

// lazy compiles an expression when the first refusal asks for it.
func lazy(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// words are types and codes that say it themselves.
var words = map[string]model.Kind{
	"authentication_error": model.BadKey, "permission_error": model.BadKey, "invalid_api_key": model.BadKey, "invalid_authentication_error": model.BadKey,
	"billing_error": model.NoCredit, "insufficient_quota": model.NoCredit, "billing_hard_limit_reached": model.NoCredit, "billing_not_active": model.NoCredit,
	"exceeded_current_quota_error": model.NoCredit,
	"not_found_error":              model.UnknownModel, "model_not_found": model.UnknownModel, "deploymentnotfound": model.UnknownModel, "model_not_available": model.UnknownModel,
	"request_too_large": model.ContextTooLong, "context_length_exceeded": model.ContextTooLong, "exceed_context_size_error": model.ContextTooLong,
	"content_filter": model.Refused, "content_policy_violation": model.Refused, "invalid_prompt": model.Refused, "cyber_policy": model.Refused,
	"rate_limit_error": model.RateLimited, "rate_limit_exceeded": model.RateLimited, "rate_limit_reached_error": model.RateLimited, "too_many_requests": model.RateLimited,
	"overloaded_error": model.Overloaded, "server_is_overloaded": model.Overloaded, "slow_down": model.Overloaded, "engine_overloaded_error": model.Overloaded,
	"service_unavailable": model.Overloaded,
	"api_error":           model.ServerError, "server_error": model.ServerError, "internal_error": model.ServerError, "internal_server_error": model.ServerError,
	"timeout_error": model.ServerError,
}

// KindOf tells what a refusal means from its status and the provider's words.
// The status is that of a good answer when the words came within a stream.
func KindOf(status int, p Problem) model.Kind {
	message := strings.ToLower(p.Message)
	for _, ph := range phrases {
		if ph.text().MatchString(message) {
			return ph.kind
		}
	}
	for _, w := range []string{p.Code, p.Type} {
		if kind := words[strings.ToLower(w)]; kind != "" {
			return kind
		}
	}
	if status < 400 {
		status = p.Status
	}
	if status == http.StatusNotFound && !strings.Contains(message, "model") {
		return model.BadRequest // nothing is served at this address
	}
	if status == 0 && p.Type == "invalid_request_error" {
		status = http.StatusBadRequest
	}
	return kindOfStatus(status)
}

func kindOfStatus(status int) model.Kind {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return model.BadKey
	case http.StatusPaymentRequired:
		return model.NoCredit
	case http.StatusNotFound:
		return model.UnknownModel
	case http.StatusRequestEntityTooLarge:
		return model.ContextTooLong
	case http.StatusTooManyRequests:
		return model.RateLimited
	case http.StatusUnavailableForLegalReasons:
		return model.Refused
	case http.StatusServiceUnavailable, 529, http.StatusTooEarly:
		return model.Overloaded
	case http.StatusRequestTimeout, http.StatusConflict:
		return model.ServerError
	}
	if status >= 400 && status < 500 {
		return model.BadRequest
	}
	return model.ServerError
}
