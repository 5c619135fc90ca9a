// Package openai calls models over the Responses API and the Chat Completions
// API: OpenAI's own, and any server that speaks one of them (OpenRouter, Ollama,
// vLLM, llama.cpp, LM Studio).
//
// Responses is the better wire where it exists: it hands out reasoning encrypted,
// and takes it back, so that a model goes on thinking after a tool call although
// nothing is stored at the provider. Chat is what every compatible server has.
//
// The library types the requests and reads the lines of a stream; the events are
// decoded here, from their bytes: the library's types lose what a router adds
// (the cost of a call, reasoning of other vendors' models), and its reader takes
// a closed stream for a finished one.
package openai
