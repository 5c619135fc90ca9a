package gemini

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genai"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/internal/modeltest"
)

// refusal is an error in Google's words.
func refusal(code int, status, message string, details ...string) string {
	return fmt.Sprintf(`{"error":{"code":%d,"message":%q,"status":%q,"details":[%s]}}`, code, message, status, strings.Join(details, ","))
}

const (
	badKeyInfo = `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}`
	retryInfo  = `{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.07s"}`
	minute     = `{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m","quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}`
	day        = `{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}`
)

func TestRefusals(t *testing.T) {
	quota := "You exceeded your current quota, please check your plan and billing details."
	for name, test := range map[string]struct {
		status int
		body   string
		header []string
		kind   model.Kind
		wait   time.Duration
		billed bool // may be
	}{
		"a wrong key":          {400, refusal(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", badKeyInfo), nil, model.BadKey, 0, false},
		"a wrong key, in text": {400, refusal(400, "INVALID_ARGUMENT", "API Key not found. Please pass a valid API key."), nil, model.BadKey, 0, false},
		"no right":             {403, refusal(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."), nil, model.BadKey, 0, false},
		"no such model": {404, refusal(404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta, or is not supported for generateContent."),
			nil, model.UnknownModel, 0, false},
		"a mistake":          {400, refusal(400, "INVALID_ARGUMENT", "Please ensure that function call turn comes immediately after a user turn."), nil, model.BadRequest, 0, false},
		"an unserved place":  {400, refusal(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), nil, model.BadRequest, 0, false},
		"too long":           {400, refusal(400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."), nil, model.ContextTooLong, 0, false},
		"too large":          {400, refusal(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."), nil, model.ContextTooLong, 0, false},
		"no billing":         {403, refusal(403, "PERMISSION_DENIED", "This API method requires billing to be enabled.", `{"@type":"x.ErrorInfo","reason":"BILLING_DISABLED"}`), nil, model.NoCredit, 0, false},
		"no credit":          {429, refusal(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."), nil, model.NoCredit, 0, false},
		"no free tier":       {429, refusal(429, "RESOURCE_EXHAUSTED", quota+" limit: 0, model: gemini-3-pro", minute, retryInfo), nil, model.NoCredit, 0, false},
		"the day's quota":    {429, refusal(429, "RESOURCE_EXHAUSTED", quota, day, retryInfo), nil, model.NoCredit, 0, false},
		"the minute's quota": {429, refusal(429, "RESOURCE_EXHAUSTED", quota+" Please retry in 34.07s.", minute, retryInfo), nil, model.RateLimited, 34*time.Second + 70*time.Millisecond, false},
		"a header to wait":   {429, refusal(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."), []string{"Retry-After", "7"}, model.RateLimited, 7 * time.Second, false},
		"the longer wait":    {429, refusal(429, "RESOURCE_EXHAUSTED", quota, retryInfo), []string{"Retry-After", "60"}, model.RateLimited, time.Minute, false},
		"overloaded":         {503, refusal(503, "UNAVAILABLE", "The model is overloaded. Please try again later.", retryInfo), nil, model.Overloaded, 34*time.Second + 70*time.Millisecond, false},
		"an inner error":     {500, refusal(500, "INTERNAL", "An internal error has occurred."), nil, model.ServerError, 0, false},
		"too slow":           {504, refusal(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."), nil, model.ServerError, 0, true},
		"given up":           {499, refusal(499, "CANCELLED", "The operation was cancelled."), nil, model.ServerError, 0, false},
		"a proxy's page":     {502, "<html>Bad Gateway</html>", nil, model.ServerError, 0, true},
		"details of any sort": {429, refusal(429, "RESOURCE_EXHAUSTED", "slow down", `{}`, `{"@type":7}`, `{"@type":"x.RetryInfo","retryDelay":"-5s"}`, `{"@type":"x.QuotaFailure","violations":[3]}`),
			nil, model.RateLimited, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := modeltest.New(t, modeltest.Refuse(test.status, test.body, test.header...))
			_, err := open(t, p).Generate(t.Context(), modeltest.Ask("hi"), nil)
			e, ok := errors.AsType[*model.Error](err)
			if !ok {
				t.Fatalf("the error is %v", err)
			}
			if e.Kind != test.kind || e.RetryAfter != test.wait || e.Unbilled == test.billed || e.Status != test.status || e.Model != "gemini/"+modelName {
				t.Errorf("the error is %+v; want %s, %s, billed %t", e, test.kind, test.wait, test.billed)
			}
		})
	}
}

func TestBrokenStreams(t *testing.T) {
	begun := said(`{"text":"half"}`)
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		kind   model.Kind
		says   string
	}{
		"closed without a finish reason": {modeltest.Stream(begun), model.Incomplete, "without a finish reason"},
		"closed at once":                 {modeltest.Stream(""), model.Incomplete, "without a finish reason"},
		"closed in the middle":           {modeltest.Stream(begun + `data: {"candidates":[{"cont`), model.Incomplete, "in the middle"},
		"broken":                         {modeltest.Cut(begun), model.Incomplete, "unexpected EOF"},
		"broken in the middle":           {modeltest.Cut(begun + `data: {"candidates":[{"cont`), model.Incomplete, "unexpected EOF"},
		"wants to be continued":          {modeltest.Stream(begun + event(`{"candidates":[{"finishReason":"CONTINUATION","continuationToken":"AAAA"}]}`)), model.Incomplete, "in the middle"},
		"not JSON":                       {modeltest.Stream(begun + "data: {oops}\n\n"), model.Malformed, "not JSON"},
		"not an event":                   {modeltest.Stream(begun + "what: ever\n\n"), model.Malformed, "no event"},
		"a number where a text belongs":  {modeltest.Stream(said(`{"text":7}`)), model.Malformed, "string"},
		"a text where a list belongs":    {modeltest.Stream(event(`{"candidates":"x"}`)), model.Malformed, "not what the Gemini API sends"},
		"nothing where an object is":     {modeltest.Stream(event(`{"candidates":[null]}`)), model.Malformed, "not what the Gemini API sends"},
		"no object at all":               {modeltest.Stream(event(`null`)), model.Incomplete, "without a finish reason"},
		"a list":                         {modeltest.Stream(event(`[1]`)), model.Malformed, "not what the Gemini API sends"},
		"a call without a name":          {modeltest.Stream(said(`{"functionCall":{"args":{}}}`) + over("STOP")), model.Malformed, "without a name"},
		"too many tokens to count":       {modeltest.Stream(event(`{"usageMetadata":{"promptTokenCount":9999999999}}`)), model.Malformed, "int32"},
		"a signature that is none":       {modeltest.Stream(said(`{"text":"x","thoughtSignature":"%%"}`)), model.Malformed, ""},
		"a call that can't be read":      {modeltest.Stream(over("MALFORMED_FUNCTION_CALL")), model.Malformed, "MALFORMED_FUNCTION_CALL"},
		"a reason nobody knows":          {modeltest.Stream(begun + over("TIRED")), model.Malformed, "TIRED"},
		"a web page":                     {page, model.Malformed, "text/html"},
	} {
		t.Run(name, func(t *testing.T) {
			printed := captured(t)
			_, err := open(t, modeltest.New(t, test.answer)).Generate(t.Context(), modeltest.Ask("hi"), nil)
			e, ok := errors.AsType[*model.Error](err)
			if !ok || e.Kind != test.kind || e.Unbilled || !strings.Contains(e.Error(), test.says) || len(e.Error()) > 600 {
				t.Errorf("the error is %+v (%v)", e, err)
			}
			if printed.Len() > 0 {
				t.Errorf("the library printed %s", printed)
			}
		})
	}
}

func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, "<html>"+strings.Repeat("sign in ", 1000))
}

// captured is what is printed to the standard log until the test ends.
func captured(t *testing.T) *bytes.Buffer {
	t.Helper()
	var buf bytes.Buffer
	before := log.Writer()
	log.SetOutput(&buf)
	t.Cleanup(func() { log.SetOutput(before) })
	return &buf
}

func TestErrorsWithinAStream(t *testing.T) {
	for name, test := range map[string]struct {
		stream   string
		kind     model.Kind
		wait     time.Duration
		unbilled bool
	}{
		"overloaded before a word": {event(refusal(503, "UNAVAILABLE", "The model is overloaded.", retryInfo)), model.Overloaded, 34*time.Second + 70*time.Millisecond, true},
		"the quota, half way":      {said(`{"text":"half"}`) + event(refusal(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted", retryInfo)), model.RateLimited, 34*time.Second + 70*time.Millisecond, false},
		"an inner error":           {event(refusal(500, "INTERNAL", "Internal error encountered.")), model.ServerError, 0, false},
		"without data:":            {strings.TrimPrefix(event(refusal(503, "UNAVAILABLE", "The model is overloaded.")), "data: "), model.Overloaded, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, modeltest.New(t, modeltest.Stream(test.stream))).Generate(t.Context(), modeltest.Ask("hi"), nil)
			e, ok := errors.AsType[*model.Error](err)
			if !ok || e.Kind != test.kind || e.RetryAfter != test.wait || e.Unbilled != test.unbilled {
				t.Errorf("the error is %+v", e)
			}
		})
	}
}

// TestACompleteAnswerBeforeABreak is an answer: all of it had come.
func TestACompleteAnswerBeforeABreak(t *testing.T) {
	got, err := open(t, modeltest.New(t, modeltest.Cut(said(`{"text":"all"}`)+over("STOP")))).Generate(t.Context(), modeltest.Ask("hi"), nil)
	if err != nil || got.Message.Text() != "all" || got.Usage.Output != 5 {
		t.Errorf("the answer is %+v, %v", got, err)
	}
}

func TestNoKey(t *testing.T) {
	p := modeltest.New(t)
	for _, change := range []func(*Config){
		func(c *Config) { c.APIKey = " " },
		func(c *Config) { c.APIKey, c.KeyEnv = "", "" },
		func(c *Config) { c.APIKey, c.BaseURL = "", "http://proxy" },
	} {
		_, err := open(t, p, change).Generate(t.Context(), modeltest.Ask("hi"), nil)
		if e, ok := errors.AsType[*model.Error](err); !ok || e.Kind != model.BadKey || !e.Unbilled {
			t.Errorf("the error is %v", err)
		}
	}
	if len(p.Sent()) > 0 {
		t.Error("a request was made")
	}
}

func TestNothingIsListening(t *testing.T) {
	p := modeltest.New(t)
	p.URL = "http://127.0.0.1:1"
	_, err := open(t, p).Generate(t.Context(), modeltest.Ask("hi"), nil)
	if e, ok := errors.AsType[*model.Error](err); !ok || e.Kind != model.Network || !e.Unbilled || strings.Contains(err.Error(), "doRequest") {
		t.Errorf("the error is %v", err)
	}
}

func TestASchemaThatIsNoJSON(t *testing.T) {
	r := modeltest.Ask("hi")
	r.Schema = []byte(`{"type":`)
	_, err := open(t, modeltest.New(t)).Generate(t.Context(), r, nil)
	if e, ok := errors.AsType[*model.Error](err); !ok || e.Kind != model.BadRequest || !e.Unbilled {
		t.Errorf("the error is %v", err)
	}
}

func TestOneRequestForEachCall(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"overloaded":     modeltest.Refuse(503, refusal(503, "UNAVAILABLE", "busy")),
		"a rate limit":   modeltest.Refuse(429, refusal(429, "RESOURCE_EXHAUSTED", "slow"), "Retry-After", "0"),
		"cut":            modeltest.Cut(said(`{"text":"half"}`)),
		"to continue":    modeltest.Stream(event(`{"candidates":[{"finishReason":"CONTINUATION","continuationToken":"AAAA"}]}`)),
		"closed at once": modeltest.Stream(event(`{"candidates":[{"continuationToken":"AAAA"}]}`)),
	} {
		p := modeltest.New(t, answer)
		if _, err := open(t, p).Generate(t.Context(), modeltest.Ask("hi"), nil); err == nil || len(p.Sent()) != 1 {
			t.Errorf("%s: %d requests, %v", name, len(p.Sent()), err)
		}
	}
}

func TestKeyIsNotRepeated(t *testing.T) {
	p := modeltest.New(t, modeltest.Refuse(403, refusal(403, "PERMISSION_DENIED", "the key "+secret+" is blocked")))
	_, err := open(t, p).Generate(t.Context(), modeltest.Ask("hi"), nil)
	if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "is blocked") {
		t.Errorf("the error is %v", err)
	}
}

func TestAContextThatEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the loop was cancelled")
	printed := captured(t)
	p := modeltest.New(t, func(w http.ResponseWriter, r *http.Request) {
		modeltest.Stream(said(`{"text":"half"}`))(w, r)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	_, err := open(t, p).Generate(ctx, modeltest.Ask("hi"), func(model.Live) { cancel(why) })
	if e, ok := errors.AsType[*model.Error](err); !ok || !errors.Is(err, context.Canceled) || !errors.Is(err, why) || e.Unbilled {
		t.Errorf("the error is %v", err)
	}
	if printed.Len() > 0 {
		t.Errorf("the library printed %s", printed)
	}
}

// TestAStreamThatFallsSilent is given up.
func TestAStreamThatFallsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := func(r *http.Request) (*http.Response, error) {
			body, w := io.Pipe()
			context.AfterFunc(r.Context(), func() { w.CloseWithError(r.Context().Err()) })
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: body, Request: r}, nil
		}
		m, err := New(t.Context(), Config{Model: modelName, APIKey: secret, HTTPClient: &http.Client{Transport: roundTrip(silent)}, Idle: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Generate(t.Context(), modeltest.Ask("hi"), nil)
		if e, ok := errors.AsType[*model.Error](err); !ok || e.Kind != model.Network || e.Unbilled {
			t.Errorf("the error is %v", err)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzStream: no stream, however odd, ends the program or is an answer without
// an end.
func FuzzStream(f *testing.F) {
	f.Add(golden(f, "text.sse"))
	f.Add(golden(f, "tools.sse"))
	for _, chunk := range []string{`null`, `{"candidates":[null]}`, `{"candidates":[{"content":{"parts":[null]}}]}`, `{"candidates":[{"citationMetadata":3}]}`, `{"promptFeedback":[]}`, `{"error":{}}`, `{"error":"x"}`} {
		f.Add(event(chunk))
	}
	log.SetOutput(io.Discard)
	f.Fuzz(func(t *testing.T, stream string) {
		answer := func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(strings.NewReader(stream)), Request: r}, nil
		}
		m, err := New(t.Context(), Config{Model: modelName, APIKey: secret, HTTPClient: &http.Client{Transport: roundTrip(answer)}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Generate(t.Context(), modeltest.Ask("hi"), nil)
		if _, ok := errors.AsType[*model.Error](err); err != nil && !ok {
			t.Fatalf("the error is %v", err)
		}
		if err == nil && (got.Stop == "" || got.Usage.Input < 0 || got.Usage.Output < 0 || got.Usage.CacheRead < 0 || !strings.Contains(stream, "finishReason") && !strings.Contains(stream, "blockReason")) {
			t.Fatalf("the answer is %+v", got)
		}
	})
}

func TestEveryFinishReasonIsKnown(t *testing.T) {
	for _, reason := range []genai.FinishReason{genai.FinishReasonOther, genai.FinishReasonUnexpectedToolCall, genai.FinishReasonTooManyToolCalls, genai.FinishReasonNoImage, genai.FinishReasonImageOther} {
		a := &assembly{finish: reason}
		if stop, err := a.stop(false); err == nil {
			t.Errorf("%s is an answer that stopped for %s", reason, stop)
		}
	}
}
