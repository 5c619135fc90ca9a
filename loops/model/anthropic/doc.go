// Package anthropic calls models over the Messages API: Anthropic's own, and
// servers that speak the same (Ollama, vLLM, LM Studio, OpenRouter).
//
// What the package adds to the vendor's library: a stream without message_stop
// is an error; thinking blocks with their signatures go back as they came, to the
// model that made them; cache marks stand on the last tool, the system text and
// the messages that ask for one, at most four together; nothing is read from the
// environment, and nothing is retried.
package anthropic
