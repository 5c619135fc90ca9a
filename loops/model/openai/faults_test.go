package openai

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

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

const (
	created = `data: {"type":"response.created","response":{"id":"r","status":"in_progress"}}` + "\n\n"
	piece   = `data: {"type":"response.output_text.delta","delta":"Hel"}` + "\n\n"
	chatBit = `data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}` + "\n\n"
)

func TestStreamsThatFail(t *testing.T) {
	tests := []struct {
		name, wire string
		answer     http.HandlerFunc
		kind       model.Kind
		unbilled   bool
		text       string // part of the error
	}{
		{"cut", Responses, modeltest.Cut(created + piece), model.Incomplete, false, "unexpected EOF"},
		{"cut", Chat, modeltest.Cut(chatBit), model.Incomplete, false, "unexpected EOF"},
		{"cut within a line", Chat, modeltest.Cut(chatBit + `data: {"id":"c","cho`), model.Incomplete, false, "unexpected EOF"},
		{"closed within a line", Chat, modeltest.Stream(chatBit + `data: {"id":"c","cho`), model.Incomplete, false, "without a finish_reason"},
		{"closed without its end", Responses, modeltest.Stream(created + piece), model.Incomplete, false, "without response.completed"},
		{"closed without its end", Chat, modeltest.Stream(chatBit), model.Incomplete, false, "without a finish_reason"},
		{"done without a finish", Chat, modeltest.Stream(chatBit + "data: [DONE]\n\n"), model.Incomplete, false, "without a finish_reason"},
		{"nothing", Responses, modeltest.Stream(""), model.Incomplete, false, "without response.completed"},
		{"incomplete for another reason", Responses, modeltest.Stream(`data: {"type":"response.incomplete","response":{"incomplete_details":{"reason":"odd"}}}` + "\n\n"), model.Incomplete, false, "odd"},
		{"malformed", Responses, modeltest.Stream(created + "data: {\"type\": nope}\n\n"), model.Malformed, false, "read an event"},
		{"malformed", Chat, modeltest.Stream("data: {broken\n\n"), model.Malformed, false, "read an event"},
		{"another shape", Chat, modeltest.Stream("data: {\"choices\":\"none\"}\n\n"), model.Malformed, false, "read an event"},
		{"another shape", Responses, modeltest.Stream("data: {\"type\":\"response.completed\"}\n\n"), model.Malformed, false, "without a response"},
		{"an answer that is no stream", Chat, modeltest.Refuse(200, `{"choices":[]}`), model.Malformed, false, "application/json"},
		{"error in the middle", Responses, modeltest.Stream(created + piece + `event: error` + "\n" + `data: {"type":"error","code":"server_error","message":"Oops","param":null}` + "\n\n"), model.ServerError, false, "server_error: Oops"},
		{"error in the middle, of a proxy", Responses, modeltest.Stream("event: response.created\n" + created + piece + ": alive\n\n" + `data: {"error":{"message":"gone","code":502}}` + "\n\n"), model.ServerError, false, "gone"},
		{"error in the middle", Chat, modeltest.Stream(": alive\n\n" + chatBit + ": alive\n\n" + `data: {"error":{"message":"The server is overloaded","type":"server_error"}}` + "\n\n"), model.Overloaded, false, "server_error: The server is overloaded"},
		{"error that is a text", Chat, modeltest.Stream(chatBit + `data: {"error":"boom"}` + "\n\n"), model.ServerError, false, "boom"},
		{"error beside a finish", Chat, modeltest.Stream(chatBit + `data: {"id":"c","error":{"code":429,"message":"Provider returned error"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}` + "\n\n"), model.RateLimited, false, "Provider returned error"},
		{"a finish of error", Chat, modeltest.Stream(chatBit + `data: {"choices":[{"delta":{},"finish_reason":"error"}]}` + "\n\n"), model.ServerError, false, "gave no reason"},
		{"overloaded before it began", Responses, modeltest.Stream(created + `data: {"type":"response.failed","response":{"error":{"code":"server_is_overloaded","message":"Our servers are currently overloaded."}}}` + "\n\n"), model.Overloaded, true, "overloaded"},
		{"too long, found late", Responses, modeltest.Stream(created + `data: {"type":"response.failed","response":{"error":{"code":"context_length_exceeded","message":"Your input exceeds the context window of this model."}}}` + "\n\n"), model.ContextTooLong, true, "context window"},
		{"failed without a word", Responses, modeltest.Stream(created + `data: {"type":"response.failed","response":{"error":null}}` + "\n\n"), model.ServerError, false, "without a reason"},
		{"refused", Chat, modeltest.Refuse(429, `{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}`, "Retry-After", "2"), model.RateLimited, true, "rate_limit_exceeded: Rate limit reached"},
		{"refused with a page", Responses, modeltest.Refuse(503, "<html>busy</html>"), model.Overloaded, true, "<html>busy</html>"},
		{"refused, the body cut", Chat, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, "{")
		}, model.BadKey, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.wire+"/"+tt.name, func(t *testing.T) {
			p := modeltest.New(t, tt.answer)
			a, err := open(t, p, tt.wire).Generate(t.Context(), modeltest.Ask("hi"), nil)
			e, ok := errors.AsType[*model.Error](err)
			if !ok {
				t.Fatalf("got %+v, %v", a, err)
			}
			if e.Kind != tt.kind || e.Unbilled != tt.unbilled || !strings.Contains(e.Error(), tt.text) || e.Model != "openai/gpt-5" {
				t.Errorf("got %s, unbilled %v: %v", e.Kind, e.Unbilled, e)
			}
		})
	}
}

func TestWhatServersAddToAStream(t *testing.T) {
	huge := strings.Repeat("long ", 1<<20)
	tests := map[string]struct{ events, want string }{
		"comments that keep it alive": {strings.Repeat(": OPENROUTER PROCESSING\n\n", 2000) + chatText, "ok"},
		"carriage returns":            {strings.ReplaceAll(chatText, "\n", "\r\n"), "ok"},
		"names, ids and times":        {"event: chunk\nid: 7\nretry: 10\n" + chatText, "ok"},
		"no space after the colon":    {strings.ReplaceAll(chatText, "data: ", "data:"), "ok"},
		"data of several lines":       {"data: {\"choices\":[\ndata: {\"delta\":{\"content\":\"ok\"},\ndata: \"finish_reason\":\"stop\"}]}\n\n", "ok"},
		"no empty lines":              {strings.ReplaceAll(chatText, "\n\n", "\n"), "ok"},
		"no line end at the end":      {strings.TrimSpace(strings.TrimSuffix(chatText, "data: [DONE]\n\n")), "ok"},
		"a line of 5 MiB":             {`data: {"choices":[{"delta":{"content":"` + huge + `"},"finish_reason":"stop"}]}` + "\n\n", huge},
		"an error that is null":       {strings.ReplaceAll(chatText, `{"id"`, `{"error":null,"id"`), "ok"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := modeltest.New(t, modeltest.Stream(tt.events))
			got, _ := generate(t, open(t, p, Chat), modeltest.Ask("hi"))
			if got.Message.Text() != tt.want {
				t.Errorf("got %.100q", got.Message.Text())
			}
		})
	}
}

// slow lets the server say nothing until it is told to.
type slow struct {
	begin chan struct{}
	text  string
}

func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
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

func slowModel(t *testing.T, s slow, idle time.Duration) *Model {
	m, err := New(Config{Model: "o3", APIKey: "k", Wire: Chat, Idle: idle, HTTPClient: &http.Client{Transport: s}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestASlowFirstTokenIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := slow{begin: make(chan struct{}), text: chatText}
		time.AfterFunc(4*time.Minute, func() { close(s.begin) })
		got, _ := generate(t, slowModel(t, s, 0), modeltest.Ask("hi"))
		if got.Message.Text() != "ok" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestASilentProviderIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := slowModel(t, slow{}, 0).Generate(t.Context(), modeltest.Ask("hi"), nil)
		e, _ := errors.AsType[*model.Error](err)
		if e == nil || e.Kind != model.Network || e.Unbilled || !strings.Contains(e.Error(), "sent nothing for 5m0s") {
			t.Errorf("got %v", err)
		}
	})
}

func TestACallEndsWithItsContext(t *testing.T) {
	p := modeltest.New(t, func(w http.ResponseWriter, r *http.Request) {
		modeltest.Stream(chatBit)(w, r)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := open(t, p, Chat).Generate(ctx, modeltest.Ask("hi"), func(model.Live) { cancel() })
	if !errors.Is(err, context.Canceled) || model.KindOf(err) != model.Network {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerThatIsCompleteSurvivesABreak(t *testing.T) {
	p := modeltest.New(t, modeltest.Cut(strings.Replace(chatText, "data: [DONE]\n\n", "", 1)))
	got, _ := generate(t, open(t, p, Chat), modeltest.Ask("hi"))
	if got.Message.Text() != "ok" || got.Usage.Input != 3 {
		t.Errorf("got %+v", got)
	}
}

func TestWithoutAKeyNothingIsSent(t *testing.T) {
	for _, c := range []Config{{Model: "m"}, {Model: "m", BaseURL: "http://x", KeyEnv: "MY_KEY"}} {
		m, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Generate(t.Context(), modeltest.Ask("hi"), nil)
		e, _ := errors.AsType[*model.Error](err)
		if e == nil || e.Kind != model.BadKey || !e.Unbilled || c.KeyEnv != "" && !strings.Contains(e.Error(), "MY_KEY is not set") {
			t.Errorf("got %v", err)
		}
	}
}

func TestAToolCallThatThisWireCanNotMakeIsRefusedUnsent(t *testing.T) {
	p := modeltest.New(t)
	r := modeltest.Ask("hi")
	r.Tools = twoTools
	_, err := openConfig(t, p, Config{Model: "gpt-6-sol", Wire: Chat}).Generate(t.Context(), r, nil)
	e, _ := errors.AsType[*model.Error](err)
	if e == nil || e.Kind != model.BadRequest || !e.Unbilled || !strings.Contains(e.Error(), "Responses API") {
		t.Errorf("got %v", err)
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		c    Config
		text string
	}{
		{Config{}, "model is missing"},
		{Config{Model: "m", Wire: "grpc"}, `wire is "grpc"; use responses or chat`},
		{Config{Model: "m", BaseURL: "localhost:11434"}, `base_url is "localhost:11434"`},
		{Config{Model: "m", BaseURL: "://"}, "base_url"},
		{Config{Model: "m", APIKey: "sk-1\nexport X=sk-2"}, "openai: the API key has a character"},
	} {
		if _, err := New(tt.c); err == nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%+v: %v", tt.c, err)
		}
	}
}

func TestInfoNamesTheServer(t *testing.T) {
	for _, tt := range []struct {
		c            Config
		id, provider string
	}{
		{Config{Alias: "smart", Model: "gpt-5"}, "openai/gpt-5", "openai"},
		{Config{Alias: "smart", Model: "gpt-5", BaseURL: "https://api.openai.com/v1/"}, "openai/gpt-5", "openai"},
		{Config{Alias: "smart", Model: "gpt-5", BaseURL: "https://us.api.openai.com/v1"}, "openai/gpt-5", "openai"},
		{Config{Alias: "local", Model: "qwen3", BaseURL: "http://127.0.0.1:11434/v1"}, "openai/qwen3@127.0.0.1:11434", "local"},
		{Config{Model: "gpt-5", BaseURL: "https://api.openai.com.evil.example/v1"}, "openai/gpt-5@api.openai.com.evil.example", "openai"},
	} {
		m, err := New(tt.c)
		if err != nil {
			t.Fatal(err)
		}
		if i := m.Info(); i.ID != tt.id || i.Provider != tt.provider || i.Wire != Responses {
			t.Errorf("%+v: %+v", tt.c, i)
		}
	}
}

func TestASchemaThatIsNotJSONIsRefusedUnsent(t *testing.T) {
	for _, wire := range []string{Responses, Chat} {
		p := modeltest.New(t)
		r := modeltest.Ask("hi")
		r.Tools = []model.Tool{{Name: "n", Schema: json.RawMessage(`{"type":`)}}
		_, err := open(t, p, wire).Generate(t.Context(), r, nil)
		e, _ := errors.AsType[*model.Error](err)
		if e == nil || e.Kind != model.BadRequest || !e.Unbilled {
			t.Errorf("got %v", err)
		}
	}
}
