package anthropic

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

// events writes a stream of events, each named by the type of its data.
func events(data ...string) string {
	var b strings.Builder
	for _, d := range data {
		kind := typeOf(json.RawMessage(d))
		if kind == "" {
			kind = "content_block_delta"
		}
		b.WriteString("event: " + kind + "\ndata: " + d + "\n\n")
	}
	return b.String()
}

const (
	start   = `{"type":"message_start","message":{"model":"m","content":[],"usage":{"input_tokens":5,"output_tokens":1}}}`
	text    = `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`
	piece   = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"ok"}}`
	end     = `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}`
	stopped = `{"type":"message_stop"}`
)

func TestStreamsThatFail(t *testing.T) {
	overloaded := `{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"}}`
	tests := map[string]struct {
		answer   http.HandlerFunc
		kind     model.Kind
		unbilled bool
		text     string // part of the error
	}{
		"cut":                         {modeltest.Cut(events(start, text, piece)), model.Incomplete, false, "unexpected EOF"},
		"cut after its reason":        {modeltest.Cut(events(start, text, piece, end)), model.Incomplete, false, "unexpected EOF"},
		"closed without its end":      {modeltest.Stream(events(start, text, piece)), model.Incomplete, false, "without message_stop"},
		"closed after its reason":     {modeltest.Stream(events(start, text, piece, end)), model.Incomplete, false, "without message_stop"},
		"nothing":                     {modeltest.Stream(""), model.Incomplete, false, "without message_stop"},
		"stopped without a reason":    {modeltest.Stream(events(start, text, piece, stopped)), model.Malformed, false, "without a stop_reason"},
		"malformed":                   {modeltest.Stream(events(start, text, `{"type": nope}`)), model.Malformed, false, "invalid character"},
		"a piece of nothing":          {modeltest.Stream(events(start, piece)), model.Malformed, false, "never began"},
		"a block out of order":        {modeltest.Stream(events(start, strings.Replace(text, `"index":0`, `"index":3`, 1))), model.Malformed, false, "content block 3"},
		"an answer that is no stream": {modeltest.Refuse(200, `{"type":"message"}`), model.Malformed, false, "application/json"},
		"overloaded in the middle":    {modeltest.Stream(events(start, text, piece, overloaded)), model.Overloaded, false, "overloaded_error: Overloaded"},
		"overloaded before a word":    {modeltest.Stream(events(start, overloaded)), model.Overloaded, true, "overloaded_error: Overloaded"},
		"an error in the middle":      {modeltest.Stream(events(start, text, piece, `{"type":"error","error":{"type":"api_error","message":"Internal server error"},"request_id":"req_5"}`)), model.ServerError, false, "(request req_5)"},
		"an error that is not JSON":   {modeltest.Stream("event: error\ndata: upstream gone\n\n"), model.ServerError, false, "upstream gone"},
		"refused, rate":               {modeltest.Refuse(429, `{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}`, "Retry-After", "2", "Request-Id", "req_6"), model.RateLimited, true, "rate_limit_error: slow (request req_6)"},
		"refused, to be tried again":  {modeltest.Refuse(529, overloaded, "X-Should-Retry", "true"), model.Overloaded, true, "overloaded_error: Overloaded"},
		"refused with a page":         {modeltest.Refuse(502, "<html>Bad Gateway</html>"), model.ServerError, false, "<html>Bad Gateway</html>"},
		"refused with the key in it":  {modeltest.Refuse(401, `{"error":{"type":"authentication_error","message":"no: sk-ant-secret"}}`), model.BadKey, true, "no: ***"},
		"refused, the conversation":   {modeltest.Refuse(400, `{"error":{"type":"invalid_request_error","message":"prompt is too long: 2 tokens > 1 maximum"}}`), model.ContextTooLong, true, "prompt is too long"},
		"refused, the account":        {modeltest.Refuse(400, `{"error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}`), model.NoCredit, true, "credit balance"},
		"refused, its body is cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			w.WriteHeader(http.StatusForbidden)
		}, model.BadKey, true, "forbidden"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := modeltest.New(t, tt.answer)
			a, err := open(t, p).Generate(t.Context(), modeltest.Ask("hi"), nil)
			e, ok := errors.AsType[*model.Error](err)
			if !ok {
				t.Fatalf("got %+v, %v", a, err)
			}
			if e.Kind != tt.kind || e.Unbilled != tt.unbilled || !strings.Contains(e.Error(), tt.text) || e.Model != "anthropic/claude-sonnet-4-5" || strings.Contains(e.Error(), "sk-ant-secret") {
				t.Errorf("got %s, unbilled %v: %v", e.Kind, e.Unbilled, e)
			}
			if n := len(p.Sent()); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestHowAnAnswerEnds(t *testing.T) {
	stop := func(reason string) string { return strings.Replace(end, "end_turn", reason, 1) }
	tool := `{"type":"content_block_start","index":%,"content_block":{"type":"tool_use","id":"t%","name":"n","input":{}}}`
	tool0, tool1 := strings.ReplaceAll(tool, "%", "0"), strings.ReplaceAll(tool, "%", "1")
	args := `{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"a\": <"}}`
	call := func(id, args string) model.Block {
		return model.Block{Call: &model.ToolCall{ID: id, Name: "n", Args: json.RawMessage(args)}}
	}
	tests := map[string]struct {
		events []string
		stop   model.Stop
		blocks []model.Block
		native string
	}{
		"end":     {[]string{start, text, piece, end}, model.StopEnd, []model.Block{{Text: "ok"}}, `[{"text":"ok","type":"text"}]`},
		"nothing": {[]string{start, end}, model.StopEnd, nil, `null`},
		"blank":   {[]string{start, text, strings.Replace(piece, "ok", `\n`, 1), end}, model.StopEnd, []model.Block{{Text: "\n"}}, `null`},
		"length":  {[]string{start, text, piece, stop("max_tokens")}, model.StopLength, []model.Block{{Text: "ok"}}, `[{"text":"ok","type":"text"}]`},
		"window":  {[]string{start, text, piece, stop("model_context_window_exceeded")}, model.StopLength, []model.Block{{Text: "ok"}}, `[{"text":"ok","type":"text"}]`},
		"refusal": {[]string{start, text, piece, stop("refusal")}, model.StopRefusal, []model.Block{{Text: "ok"}}, `[{"text":"ok","type":"text"}]`},
		"refusal that is explained": {
			[]string{start, `{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"type":"refusal","category":"cyber","explanation":"Not this."}},"usage":{"output_tokens":2}}`},
			model.StopRefusal, []model.Block{{Text: "Not this."}}, `null`,
		},
		"arguments that are not JSON": {
			[]string{start, tool0, args, stop("tool_use")}, model.StopTools, []model.Block{call("t0", `"{\"a\": <"`)},
			`[{"id":"t0","input":{"INVALID_JSON":"{\"a\": <"},"name":"n","type":"tool_use"}]`,
		},
		"length within the second of two calls without arguments": {
			[]string{start, tool0, tool1, stop("max_tokens")}, model.StopLength, []model.Block{call("t0", `{}`), call("t1", `""`)},
			`[{"id":"t0","input":{},"name":"n","type":"tool_use"},{"id":"t1","input":{"INVALID_JSON":""},"name":"n","type":"tool_use"}]`,
		},
		"arguments at once": {
			[]string{start, strings.Replace(tool0, `"input":{}`, `"input":{"b":"<"}`, 1), stop("tool_use")}, model.StopTools, []model.Block{call("t0", `{"b":"<"}`)},
			`[{"id":"t0","input":{"b":"<"},"name":"n","type":"tool_use"}]`,
		},
		"a reason and a block of tomorrow": {
			[]string{start, `{"type":"content_block_start","index":0,"content_block":{"type":"hologram","beam":1}}`, stop("satisfied")},
			model.StopEnd, nil, `[{"beam":1,"type":"hologram"}]`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := modeltest.New(t, modeltest.Stream(events(append(tt.events, stopped)...)))
			got, _ := generate(t, open(t, p), modeltest.Ask("hi"))
			if got.Stop != tt.stop || got.Usage != (model.Usage{Input: 5, Output: 2}) {
				t.Errorf("stop %q, want %q; usage %+v", got.Stop, tt.stop, got.Usage)
			}
			if diff := cmp.Diff(tt.blocks, got.Message.Blocks); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(`{"by":"anthropic/claude-sonnet-4-5","turn":`+tt.native+`}`, string(got.Message.Native)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheCostThatARouterNames(t *testing.T) {
	p := modeltest.New(t, modeltest.Stream(events(start, text, piece, strings.Replace(end, `"output_tokens":2`, `"output_tokens":2,"cost":0.0021`, 1), stopped)))
	if got, _ := generate(t, open(t, p), modeltest.Ask("hi")); got.Cost == nil || *got.Cost != 2100 {
		t.Errorf("got %v", got.Cost)
	}
}

func TestWhatServersAddToAStream(t *testing.T) {
	huge := strings.Repeat("long ", 1<<20)
	ok := events(start, text, piece, end, stopped)
	for name, tt := range map[string]struct{ events, want string }{
		"pings and comments": {strings.Repeat(": alive\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n", 2000) + ok, "ok"},
		"carriage returns":   {strings.ReplaceAll(ok, "\n", "\r\n"), "ok"},
		"a line of 5 MiB":    {events(start, text, strings.Replace(piece, "ok", huge, 1), end, stopped), huge},
	} {
		p := modeltest.New(t, modeltest.Stream(tt.events))
		if got, _ := generate(t, open(t, p), modeltest.Ask("hi")); got.Message.Text() != tt.want {
			t.Errorf("%s: got %.100q", name, got.Message.Text())
		}
	}
}

// silent is a server that answers with headers and waits for the request's end,
// or sends text once it may.
type silent struct {
	begin chan struct{}
	text  string
}

func (s silent) RoundTrip(r *http.Request) (*http.Response, error) {
	pr, pw := io.Pipe()
	go func() {
		select {
		case <-s.begin:
			io.WriteString(pw, s.text)
			pw.Close()
		case <-r.Context().Done():
			pw.CloseWithError(r.Context().Err())
		}
	}()
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: pr}, nil
}

func TestSilenceAndSlowness(t *testing.T) {
	for name, wait := range map[string]time.Duration{"slow": 4 * time.Minute, "silent": 6 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := silent{begin: make(chan struct{}), text: events(start, text, piece, end, stopped)}
				timer := time.AfterFunc(wait, func() { close(s.begin) })
				defer timer.Stop()
				m, err := New(Config{Model: "m", APIKey: "k", HTTPClient: &http.Client{Transport: s}})
				if err != nil {
					t.Fatal(err)
				}
				got, err := m.Generate(t.Context(), modeltest.Ask("hi"), nil)
				if name == "slow" && (err != nil || got.Message.Text() != "ok") {
					t.Errorf("got %+v, %v", got, err)
				}
				e, _ := errors.AsType[*model.Error](err)
				if name == "silent" && (e == nil || e.Kind != model.Network || e.Unbilled || !strings.Contains(e.Error(), "sent nothing for 5m0s")) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	p := modeltest.New(t, func(w http.ResponseWriter, r *http.Request) {
		modeltest.Stream(events(start, text, piece))(w, r)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := open(t, p).Generate(ctx, modeltest.Ask("hi"), func(model.Live) { cancel() })
	if !errors.Is(err, context.Canceled) || model.KindOf(err) != model.Network {
		t.Errorf("got %v", err)
	}
}

func TestWithoutAKeyNothingIsSent(t *testing.T) {
	t.Setenv("ANTHROPIC_API_KEY", "of somebody else")
	t.Setenv("ANTHROPIC_BASE_URL", "http://elsewhere.example")
	for _, c := range []Config{{Model: "m"}, {Model: "m", BaseURL: "http://x", KeyEnv: "MY_KEY"}} {
		m, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Generate(t.Context(), modeltest.Ask("hi"), nil)
		e, _ := errors.AsType[*model.Error](err)
		if e == nil || e.Kind != model.BadKey || !e.Unbilled {
			t.Errorf("got %v", err)
		}
	}
}

func TestNothingIsReadFromTheEnvironment(t *testing.T) {
	t.Setenv("ANTHROPIC_API_KEY", "of somebody else")
	t.Setenv("ANTHROPIC_BASE_URL", "http://elsewhere.example")
	t.Setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Else: where")
	p := modeltest.New(t, modeltest.Stream(golden(t, "text.sse")))
	generate(t, open(t, p), modeltest.Ask("hi"))
	s := p.Sent()[0]
	if s.URL != "https://api.anthropic.com/v1/messages" || s.Header.Get("X-Api-Key") != "sk-ant-secret" || s.Header.Get("X-Else") != "" {
		t.Errorf("sent to %s with %v", s.URL, s.Header)
	}
}

func TestConfigurations(t *testing.T) {
	for _, tt := range []struct {
		c                Config
		id, provider, no string
	}{
		{Config{Alias: "smart", Model: "claude-x"}, "anthropic/claude-x", "anthropic", ""},
		{Config{Alias: "smart", Model: "claude-x", BaseURL: "https://api.anthropic.com/v1"}, "anthropic/claude-x", "anthropic", ""},
		{Config{Alias: "local", Model: "qwen3", BaseURL: "http://127.0.0.1:11434/v1/"}, "anthropic/qwen3@127.0.0.1:11434", "local", ""},
		{Config{}, "", "", "model is missing"},
		{Config{Model: "m", APIKey: "“sk”"}, "", "", "the API key has a character"},
		{Config{Model: "m", BaseURL: "localhost:1"}, "", "", "base_url is"},
	} {
		m, err := New(tt.c)
		if tt.no != "" {
			if err == nil || !strings.Contains(err.Error(), tt.no) {
				t.Errorf("%+v: %v", tt.c, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if i := m.Info(); i.ID != tt.id || i.Provider != tt.provider {
			t.Errorf("%+v: %+v", tt.c, i)
		}
	}
}

func TestASchemaThatIsNotJSONIsRefusedUnsent(t *testing.T) {
	p := modeltest.New(t)
	r := modeltest.Ask("hi")
	r.Tools = []model.Tool{{Name: "n", Schema: json.RawMessage(`{"type":`)}}
	_, err := open(t, p).Generate(t.Context(), r, nil)
	e, _ := errors.AsType[*model.Error](err)
	if e == nil || e.Kind != model.BadRequest || !e.Unbilled {
		t.Errorf("got %v", err)
	}
}
