package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// provider is a provider of models on this machine. It bills each request before
// it answers, whether or not anybody hears the end of it.
type provider struct {
	listener net.Listener
	server   *http.Server
	effects  string // the effect log
}

// What a request to the provider costs.
const (
	inputTokens  = 50
	outputTokens = 20
)

func newProvider(ctx context.Context) (*provider, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &provider{listener: l}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: answerTime}
	return p, nil
}

// config is what loop-mcp has to know of it.
func (p *provider) config() string {
	return fmt.Sprintf("models: { paid: { provider: openai, wire: chat, model: paid, base_url: \"http://%s/v1\", context_window: 100000, max_output: 200, price: { input: 1, output: 1 } } }\ndaily_cost_usd: 50",
		p.listener.Addr())
}

// paid is the loop that asks it.
func (u *user) paid(target int) map[string]any {
	return map[string]any{"name": "paid", "goal": "go on", "stall": map[string]any{"passes": 0}, "retry": map[string]any{"initial": "10ms", "max": "50ms"},
		"body":   map[string]any{"kind": "agent", "model": "paid", "prompt": "[{{ loop_id }} {{ iteration }}]"},
		"until":  map[string]any{"all": []any{map[string]any{"kind": "predicate", "expression": fmt.Sprintf("iteration >= %d", target)}}},
		"limits": map[string]any{"max_iterations": 10 * target, "max_passes": 100, "max_total_tokens": 40_000}}
}

var asked = regexp.MustCompile(`\[(paid-[a-z0-9]+) (\d+)\]`)

// ServeHTTP implements [http.Handler].
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	found := asked.FindSubmatch(text)
	if err != nil || found == nil {
		http.Error(w, `{"error":{"message":"bad request"}}`, http.StatusBadRequest)
		return
	}
	iteration, _ := strconv.Atoi(string(found[2]))
	if err := p.bill(string(found[1]), iteration); err != nil {
		http.Error(w, fmt.Sprintf(`{"error":{"message":%q}}`, err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, event := range []any{
		map[string]any{"id": "chat", "choices": []any{map[string]any{"index": 0, "delta": map[string]any{"role": "assistant", "content": "answer " + string(found[2])}}}},
		map[string]any{"id": "chat", "choices": []any{map[string]any{"index": 0, "delta": map[string]any{}, "finish_reason": "stop"}}},
		map[string]any{"id": "chat", "choices": []any{}, "usage": map[string]any{"prompt_tokens": inputTokens, "completion_tokens": outputTokens, "total_tokens": inputTokens + outputTokens}},
	} {
		data, _ := json.Marshal(event)
		fmt.Fprintf(w, "data: %s\n\n", data)
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// bill appends a request to the effect log, in one write.
func (p *provider) bill(loop string, iteration int) error {
	line, err := json.Marshal(audit.Effect{At: time.Now().UnixNano(), What: audit.Billed, Loop: loop, Iteration: iteration, Tokens: inputTokens + outputTokens})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(p.effects, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(line, '\n'))
	return err
}
