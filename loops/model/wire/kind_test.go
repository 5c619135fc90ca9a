package wire

import (
	"testing"

	"example.com/loop-mcp/loops/model"
)

// refusals are answers as the servers give them.
var refusals = []struct {
	name   string
	status int
	body   string
	kind   model.Kind
}{
	{"Anthropic: bad key", 401, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"},"request_id":"req_1"}`, model.BadKey},
	{"Anthropic: no right", 403, `{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource."}}`, model.BadKey},
	{"Anthropic: no credit", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}`, model.NoCredit},
	{"Anthropic: spend limit", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}`, model.NoCredit},
	{"Anthropic: billing", 402, `{"type":"error","error":{"type":"billing_error","message":"There's an issue with your billing."}}`, model.NoCredit},
	{"Anthropic: unknown model", 404, `{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}`, model.UnknownModel},
	{"Anthropic: too long", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 213462 tokens > 200000 maximum"}}`, model.ContextTooLong},
	{"Anthropic: too long with its answer", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"input length and ` + "`max_tokens`" + ` exceed context limit: 197202 + 21333 > 200000, decrease input length or ` + "`max_tokens`" + ` and try again"}}`, model.ContextTooLong},
	{"Anthropic: too many bytes", 413, `{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}`, model.ContextTooLong},
	{"Anthropic: too much wanted", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5"}}`, model.BadRequest},
	{"Anthropic: rate", 429, `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 50 requests per minute"}}`, model.RateLimited},
	{"Anthropic: filtered", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}`, model.Refused},
	{"Anthropic: malformed", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0: unexpected tool_use_id found in tool_result blocks"}}`, model.BadRequest},
	{"Anthropic: error", 500, `{"type":"error","error":{"type":"api_error","message":"Internal server error"}}`, model.ServerError},
	{"Anthropic: timeout", 504, `{"type":"error","error":{"type":"timeout_error","message":"Request timed out"}}`, model.ServerError},
	{"Anthropic: overloaded", 529, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, model.Overloaded},
	{"Anthropic: overloaded in a stream", 200, `{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"}}`, model.Overloaded},
	{"Anthropic: error in a stream", 200, `{"type":"error","error":{"type":"api_error","message":"Internal server error"}}`, model.ServerError},
	{"Anthropic: malformed, in a stream", 200, `{"type":"error","error":{"type":"invalid_request_error","message":"no"}}`, model.BadRequest},

	{"OpenAI: bad key", 401, `{"error":{"message":"Incorrect API key provided: sk-abc***xyz. You can find your API key at https://platform.openai.com/account/api-keys.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`, model.BadKey},
	{"OpenAI: country", 403, `{"error":{"code":"unsupported_country_region_territory","message":"Country, region, or territory not supported","param":null,"type":"request_forbidden"}}`, model.BadKey},
	{"OpenAI: no quota", 429, `{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`, model.NoCredit},
	{"OpenAI: not active", 429, `{"error":{"message":"Your account is not active, please check your billing details on our website.","type":"billing_not_active","param":null,"code":"billing_not_active"}}`, model.NoCredit},
	{"OpenAI: hard limit", 400, `{"error":{"message":"Billing hard limit has been reached","type":"invalid_request_error","code":"billing_hard_limit_reached"}}`, model.NoCredit},
	{"OpenAI: unknown model", 404, "{\"error\":{\"message\":\"The model `gpt-9` does not exist or you do not have access to it.\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"model_not_found\"}}", model.UnknownModel},
	{"OpenAI: model not in the project", 403, "{\"error\":{\"message\":\"Project `proj_1` does not have access to model `gpt-5`\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"model_not_found\"}}", model.UnknownModel},
	{"OpenAI: unknown model, Responses", 400, `{"error":{"message":"The requested model 'gpt-9' does not exist.","type":"invalid_request_error","param":"model","code":"model_not_found"}}`, model.UnknownModel},
	{"OpenAI: too long", 400, `{"error":{"message":"This model's maximum context length is 128000 tokens. However, your messages resulted in 130031 tokens. Please reduce the length of the messages.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`, model.ContextTooLong},
	{"OpenAI: too long, Responses", 400, `{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}`, model.ContextTooLong},
	{"OpenAI: rate", 429, `{"error":{"message":"Rate limit reached for gpt-5 in organization org-1 on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`, model.RateLimited},
	{"OpenAI: more than a minute's tokens", 429, `{"error":{"message":"Request too large for gpt-5 in organization org-1 on tokens per min (TPM): Limit 30000, Requested 51000. The input or output tokens must be reduced in order to run successfully.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`, model.ContextTooLong},
	{"OpenAI: policy", 400, `{"error":{"message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy.","type":"invalid_request_error","param":null,"code":"invalid_prompt"}}`, model.Refused},
	{"OpenAI: malformed", 400, `{"error":{"message":"Missing required parameter: 'messages'.","type":"invalid_request_error","param":"messages","code":"missing_required_parameter"}}`, model.BadRequest},
	{"OpenAI: reasoning of another account", 400, `{"error":{"message":"The encrypted content gAAA could not be verified.","type":"invalid_request_error","param":null,"code":"invalid_encrypted_content"}}`, model.BadRequest},
	{"OpenAI: error", 500, `{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}`, model.ServerError},
	{"OpenAI: overloaded", 503, `{"error":{"message":"The engine is currently overloaded, please try again later","type":"server_error","param":null,"code":null}}`, model.Overloaded},
	{"OpenAI: slow down", 503, `{"error":{"message":"Slow down","type":"service_unavailable_error","code":"slow_down"}}`, model.Overloaded},
	{"OpenAI: a response failed", 200, `{"code":"server_error","message":"An error occurred while processing your request."}`, model.ServerError},
	{"OpenAI: a response failed for its rate", 200, `{"code":"rate_limit_exceeded","message":"Rate limit reached. Please try again in 1.5s."}`, model.RateLimited},
	{"OpenAI: an event of error", 200, `{"type":"error","code":"context_length_exceeded","message":"Your input exceeds the context window of this model.","param":"input"}`, model.ContextTooLong},
	{"Azure: policy", 400, `{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400}}`, model.Refused},
	{"Azure: no deployment", 404, `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}`, model.UnknownModel},

	{"OpenRouter: no credit", 402, `{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 4096 tokens, but can only afford 12.","code":402}}`, model.NoCredit},
	{"OpenRouter: key limit", 403, `{"error":{"message":"Key limit exceeded (monthly limit).","code":403}}`, model.NoCredit},
	{"OpenRouter: moderation", 403, `{"error":{"message":"openai/gpt-5 requires moderation on OpenRouter. Your input was flagged for \"violence\".","code":403,"metadata":{"reasons":["violence"],"flagged_input":"x"}}}`, model.Refused},
	{"OpenRouter: unknown model", 400, `{"error":{"message":"acme/none is not a valid model ID","code":400}}`, model.UnknownModel},
	{"OpenRouter: no endpoint", 404, `{"error":{"message":"No endpoints found for acme/gone.","code":404}}`, model.UnknownModel},
	{"OpenRouter: the provider's words", 400, `{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 1 tokens > 0 maximum\"}}","provider_name":"Anthropic"}}}`, model.ContextTooLong},
	{"OpenRouter: gone in a stream", 200, `{"id":"gen","error":{"code":502,"message":"Provider disconnected"},"choices":[]}`, model.ServerError},
	{"OpenRouter: rate in a stream", 200, `{"error":{"code":429,"message":"Provider returned error"}}`, model.RateLimited},
	{"Groq: a minute's tokens", 413, `{"error":{"message":"Request too large for model x on tokens per minute (TPM): Limit 6000, Requested 7000, please reduce your message size and try again.","type":"tokens","code":"rate_limit_exceeded"}}`, model.ContextTooLong},
	{"DeepSeek: no credit", 402, `{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}`, model.NoCredit},
	{"Moonshot: busy", 429, `{"error":{"message":"The engine is currently overloaded, please try again later","type":"engine_overloaded_error"}}`, model.Overloaded},
	{"Moonshot: no credit", 429, `{"error":{"message":"Your account is suspended, please check your plan","type":"exceeded_current_quota_error"}}`, model.NoCredit},
	{"xAI: too long", 400, `{"code":"Client specified an invalid argument","error":"This model's maximum prompt length is 131072 but the request contains 537812 tokens."}`, model.ContextTooLong},
	{"Mistral: too long", 400, `{"object":"error","message":"Prompt contains 65536 tokens and 0 draft tokens, too large for model with 32768 maximum context length","type":"invalid_request_prompt","param":null,"code":"3051"}`, model.ContextTooLong},
	{"Mistral: malformed", 422, `{"detail":[{"type":"extra_forbidden","loc":["body","x"],"msg":"Extra inputs are not permitted"}]}`, model.BadRequest},
	{"Ollama: unknown model", 404, `{"error":{"message":"model \"qwen9\" not found, try pulling it first","type":"api_error","param":null,"code":null}}`, model.UnknownModel},
	{"vLLM: unknown model", 404, "{\"object\":\"error\",\"message\":\"The model `x` does not exist.\",\"type\":\"NotFoundError\",\"param\":null,\"code\":404}", model.UnknownModel},
	{"vLLM: too long", 400, `{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.","type":"BadRequestError","param":null,"code":400}`, model.ContextTooLong},
	{"llama.cpp: too long", 400, `{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}}`, model.ContextTooLong},
	{"llama.cpp: loading", 503, `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`, model.Overloaded},
	{"LM Studio: too long", 400, `{"error":"Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough."}`, model.ContextTooLong},
	{"Google: a list", 400, `[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}]`, model.BadRequest},

	{"a page of a proxy", 502, "<html>\n<head><title>502 Bad Gateway</title></head>\n</html>", model.ServerError},
	{"a page of a web server", 404, "404 page not found\n", model.BadRequest},
	{"an address that is not the API", 404, `{"detail":"Not Found"}`, model.BadRequest},
	{"nothing", 429, ``, model.RateLimited},
	{"nothing, busy", 503, ``, model.Overloaded},
	{"nothing, legal reasons", 451, ``, model.Refused},
	{"nothing, timeout", 408, ``, model.ServerError},
	{"nothing in a stream", 200, `{"error":{}}`, model.ServerError},
}

func TestEveryRefusalHasItsKind(t *testing.T) {
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			p := ParseProblem([]byte(r.body))
			if got := KindOf(r.status, p); got != r.kind {
				t.Errorf("got %s, want %s (%+v)", got, r.kind, p)
			}
		})
	}
}

func TestProblemsAreOneSentence(t *testing.T) {
	tests := map[string]struct {
		status int
		body   string
		want   string
	}{
		"type and message": {400, `{"type":"error","error":{"type":"invalid_request_error","message":"no"},"request_id":"req_1"}`, "invalid_request_error: no"},
		"code wins":        {400, `{"error":{"type":"invalid_request_error","code":"missing","message":"no"}}`, "missing: no"},
		"code is a status": {400, `{"error":{"code":400,"message":"no"}}`, "no"},
		"a text":           {400, `{"error":"no"}`, "no"},
		"both":             {400, `{"error":"Forbidden","message":"no"}`, "Forbidden: no"},
		"a page":           {502, "<html>\n  <b>Bad</b>\n</html>", "<html> <b>Bad</b> </html>"},
		"nothing":          {502, "", "bad gateway"},
		"no words":         {200, `{"error":{}}`, `{"error":{}}`},
		"detail":           {422, `{"detail":[{"msg":"x"}]}`, `[{"msg":"x"}]`},
	}
	for name, tt := range tests {
		if got := ParseProblem([]byte(tt.body)).err(tt.status).Error(); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func FuzzRefusal(f *testing.F) {
	for _, r := range refusals {
		f.Add(r.status, []byte(r.body))
	}
	known := map[model.Kind]bool{
		model.BadKey: true, model.NoCredit: true, model.UnknownModel: true, model.BadRequest: true, model.ContextTooLong: true,
		model.Refused: true, model.RateLimited: true, model.Overloaded: true, model.ServerError: true,
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		p := ParseProblem(body)
		if kind := KindOf(status, p); !known[kind] {
			t.Errorf("kind %q", kind)
		}
		if text := p.err(status).Error(); text == "" || len(text) > maxMessage+200 {
			t.Errorf("text of %d bytes", len(text))
		}
	})
}
