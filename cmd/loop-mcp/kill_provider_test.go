package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// outside is the world beyond the program that is killed: a provider of models,
// which bills, and what the tools did. It tells worker from judge by the model's
// name, loops by their goals, and the processes that ask by the path.
type outside struct {
	t      *testing.T
	server *httptest.Server
	jobs   []*job

	mu     sync.Mutex // guards what follows
	gate   func(context.Context, point)
	random *rand.Rand
	events []event
	passed int // stages
	given  int // answers of workers
	killed map[int]bool
}

// job is what a loop is about, and what its models cost.
type job struct {
	worker, judge rates
	dense         int64 // bytes that make a token
	drafts        int   // the last one is what the judge wants; 0: no judge, and no draft is good enough
	script        func(pass, turn int) []string
	padding       int // bytes that a call or a result may have beyond what it needs
	trouble       int // one request in so many fails; 0: none
}

// rates are in micro-dollars for a million tokens.
type rates struct{ input, cached, output int64 }

// point is a stage of a request to the outside.
type point struct {
	gen   int    // the process that asks
	kind  string // worker, judge or tool
	nth   int    // of its kind
	stage string
	n     int // of all stages
}

// The stages of a request.
const (
	accepted = "accepted" // nothing has been answered
	middle   = "middle"   // half of the answer is out
	answered = "answered" // all of it is
	begun    = "begun"    // the tool has its effect
	done     = "done"     // the tool is about to answer
)

// event is what happened outside. The provider bills what it accepts, whether
// or not anybody hears the end of it.
type event struct {
	gen, job int
	kind     string
	what     string // may happen once, unless a kill cut it off
	tool     string
	fault    bool // the provider failed, so that it is asked again
	tokens   int64
	cost     int64 // millionths of a micro-dollar
}

func newOutside(t *testing.T, seed uint64, jobs ...*job) *outside {
	o := &outside{t: t, jobs: jobs, random: rand.New(rand.NewPCG(seed, 2)), killed: map[int]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{gen}/v1/chat/completions", o.chat)
	mux.HandleFunc("POST /{gen}/tool/{name}", o.tool)
	o.server = httptest.NewServer(mux)
	t.Cleanup(o.server.Close)
	return o
}

// watch calls gate at each stage of each request from now on; nil: nothing.
func (o *outside) watch(gate func(context.Context, point)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gate = gate
}

// pass is one stage of a request.
func (o *outside) pass(ctx context.Context, p point) {
	o.mu.Lock()
	o.passed++
	p.n = o.passed
	gate := o.gate
	o.mu.Unlock()
	if gate != nil {
		gate(ctx, p)
	}
}

func (o *outside) happened(e event) (nth int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
	for _, other := range o.events {
		if other.kind == e.kind {
			nth++
		}
	}
	return nth
}

func (o *outside) below(n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.random.IntN(max(1, n))
}

// asked is what the provider reads of a request.
type asked struct {
	Model     string
	MaxTokens int64 `json:"max_tokens"`
	Messages  []struct {
		Role    string
		Content string
		Calls   []struct {
			ID       string
			Function struct{ Name, Arguments string }
		} `json:"tool_calls"`
		CallID string `json:"tool_call_id"`
	}
	Tools []struct {
		Function struct {
			Name, Description string
			Parameters        json.RawMessage
		}
	}
	Format json.RawMessage `json:"response_format"`
}

var (
	jobNumber  = regexp.MustCompile(`job-(\d+)\b`)
	passNumber = regexp.MustCompile(`\[pass (\d+) of`)
	answerID   = regexp.MustCompile(`call_(\d+)_|\[answer (\d+)\]`)
	draftText  = regexp.MustCompile(`Draft (\d+) of job-\d+ has the line number \d+`)
)

// tokens are what the input comes to.
func (a asked) tokens(dense int64) int64 {
	sum := count(string(a.Format), dense)
	for _, m := range a.Messages {
		sum += 3 + count(m.Content+m.CallID, dense)
		for _, c := range m.Calls {
			sum += count(c.ID+c.Function.Name+c.Function.Arguments, dense)
		}
	}
	for _, t := range a.Tools {
		sum += count(t.Function.Name+t.Function.Description+string(t.Function.Parameters), dense)
	}
	return sum
}

func count(text string, dense int64) int64 { return (int64(len(text)) + dense - 1) / dense }

// chain names the answers that the conversation holds, and counts them.
func (a asked) chain() (answers string, n int) {
	for _, m := range a.Messages {
		if m.Role != "assistant" {
			continue
		}
		n++
		for _, c := range m.Calls {
			m.Content += " " + c.ID
		}
		answers += " " + answerID.FindString(m.Content)
	}
	return answers, n
}

// reply is an answer of the provider.
type reply struct {
	text  string
	calls []toolCall
}

type toolCall struct{ id, name, args string }

func (r reply) tokens(dense int64) int64 {
	sum := 3 + count(r.text, dense)
	for _, c := range r.calls {
		sum += count(c.id+c.name+c.args, dense)
	}
	return sum
}

func (o *outside) chat(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var a asked
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	found := jobNumber.FindSubmatch(raw)
	if err != nil || found == nil || len(a.Messages) == 0 {
		http.Error(w, fmt.Sprintf(`{"error":{"message":"bad request: %v"}}`, err), http.StatusBadRequest)
		return
	}
	e := event{kind: "worker"}
	e.gen, _ = strconv.Atoi(r.PathValue("gen"))
	e.job, _ = strconv.Atoi(string(found[1]))
	j := o.jobs[e.job]
	price := j.worker
	if strings.HasPrefix(a.Model, "judge") {
		e.kind, price = "judge", j.judge
	}
	if j.trouble > 0 && o.below(2*j.trouble) == 0 { // refused, and not billed
		w.Header().Set("Retry-After", "0")
		http.Error(w, `{"error":{"message":"slow down","type":"rate_limit_exceeded"}}`, http.StatusTooManyRequests)
		return
	}
	var answer reply
	if e.kind == "judge" {
		e.what, answer = j.verdict(a)
	} else {
		e.what, answer = o.work(e.job, j, a)
	}
	finish := "stop"
	if len(answer.calls) > 0 {
		finish = "tool_calls"
	}
	output := answer.tokens(j.dense)
	if output > a.MaxTokens {
		answer = reply{text: strings.Repeat("x", int(max(0, a.MaxTokens-3)*j.dense))}
		finish, output = "length", a.MaxTokens
	}
	if output < a.MaxTokens { // thoughts that nobody is shown, often as many as are allowed
		output = min(a.MaxTokens, output+int64(o.below(2*int(a.MaxTokens-output))))
	}
	input := a.tokens(j.dense)
	cached := int64(o.below(int(input)))
	e.tokens = input + output
	e.cost = (input-cached)*price.input + cached*price.cached + output*price.output
	e.fault = j.trouble > 0 && o.below(2*j.trouble) == 0
	nth := o.happened(e)
	o.pass(r.Context(), point{gen: e.gen, kind: e.kind, nth: nth, stage: accepted})
	if r.Context().Err() != nil {
		return
	}
	stream(w, answer, finish, input, cached, output, func(stage string) bool {
		o.pass(r.Context(), point{gen: e.gen, kind: e.kind, nth: nth, stage: stage})
		return r.Context().Err() != nil || stage == middle && e.fault
	})
}

// stream sends an answer in pieces. stop is asked between them.
func stream(w http.ResponseWriter, r reply, finish string, input, cached, output int64, stop func(stage string) bool) {
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(v any) {
		data, _ := json.Marshal(v)
		fmt.Fprintf(w, "data: %s\n\n", data)
		_ = http.NewResponseController(w).Flush() // fails when nobody listens any more
	}
	delta := func(d map[string]any) {
		send(map[string]any{"id": "chat", "choices": []any{map[string]any{"index": 0, "delta": d}}})
	}
	delta(map[string]any{"role": "assistant", "content": r.text[:len(r.text)/2]})
	for i, c := range r.calls {
		delta(map[string]any{"tool_calls": []any{map[string]any{"index": i, "id": c.id, "type": "function", "function": map[string]any{"name": c.name, "arguments": c.args[:len(c.args)/2]}}}})
	}
	if stop(middle) {
		return
	}
	delta(map[string]any{"content": r.text[len(r.text)/2:]})
	for i, c := range r.calls {
		delta(map[string]any{"tool_calls": []any{map[string]any{"index": i, "function": map[string]any{"arguments": c.args[len(c.args)/2:]}}}})
	}
	send(map[string]any{"id": "chat", "choices": []any{map[string]any{"index": 0, "delta": map[string]any{}, "finish_reason": finish}}})
	send(map[string]any{"id": "chat", "choices": []any{}, "usage": map[string]any{"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
		"prompt_tokens_details": map[string]any{"cached_tokens": cached}}})
	fmt.Fprint(w, "data: [DONE]\n\n")
	_ = http.NewResponseController(w).Flush()
	stop(answered)
}

// work answers as the agent's model: the tools of the script, then the draft.
func (o *outside) work(number int, j *job, a asked) (what string, r reply) {
	chain, turn := a.chain()
	pass := 0
	for _, m := range a.Messages {
		for _, found := range passNumber.FindAllStringSubmatch(m.Content, -1) {
			pass, _ = strconv.Atoi(found[1])
		}
	}
	o.mu.Lock()
	o.given++
	id := o.given
	o.mu.Unlock()
	draft := fmt.Sprintf("Draft %d of job-%02d has the line number %d", pass, number, 100+pass)
	for i, name := range j.script(pass, turn) {
		args := map[string]any{"answer": id, "call": i, "job": number, "padding": strings.Repeat("p", o.below(j.padding))}
		if name == "finish" {
			args = map[string]any{"result": draft, "summary": "wrote it"}
		}
		raw, _ := json.Marshal(args)
		r.calls = append(r.calls, toolCall{fmt.Sprintf("call_%d_%d", id, i), name, string(raw)})
	}
	if r.text = fmt.Sprintf("[answer %d]", id); len(r.calls) == 0 {
		r.text += " " + draft
	}
	return fmt.Sprintf("answer of job %d in pass %d after%s", number, pass, chain), r
}

// verdict answers as the judge's model: the last draft is what is wanted.
func (j *job) verdict(a asked) (what string, r reply) {
	quote, draft, status, says, missing, next := "no draft at all", 0, "not_met", "continue", "the next draft", "Write the next draft."
	if found := draftText.FindStringSubmatch(a.Messages[len(a.Messages)-1].Content); found != nil {
		quote = found[0]
		draft, _ = strconv.Atoi(found[1])
	}
	if draft >= j.drafts {
		status, says, missing, next = "met", "done", "", ""
	}
	raw, _ := json.Marshal(map[string]any{"criteria": []any{map[string]any{"id": "last", "quotes": []any{map[string]any{"item": "E1", "text": quote}}, "status": status, "missing": missing}},
		"verdict": says, "feedback": next})
	return fmt.Sprintf("%s about %q", says, quote), reply{text: string(raw)}
}
