package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops/model"
)

// post makes the request of a call and reads its answer.
func post(ctx context.Context, c *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func fail(t *testing.T, c *Call, f Fault) *model.Error {
	t.Helper()
	e, ok := errors.AsType[*model.Error](c.Fail(f))
	if !ok {
		t.Fatal("not a *model.Error")
	}
	return e
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestARefusalKeepsWhatTheHeadersSay(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3")
		w.Header().Set("X-Request-Id", "req_7")
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"error":{"message":"slow, sk-secret-key","type":"rate_limit_error"}}`)
	})
	ctx, c := Begin(t.Context(), 0)
	defer c.End()
	if _, err := post(ctx, Client(nil), url); err != nil {
		t.Fatal(err)
	}
	e := fail(t, c, Fault{Model: "openai/x", Err: errors.New("429"), Secret: "sk-secret-key"})
	if e.Kind != model.RateLimited || e.Status != 429 || e.RetryAfter != 3*time.Second || e.RequestID != "req_7" || !e.Unbilled {
		t.Errorf("got %+v", e)
	}
	if want := "openai/x: the provider asks to wait (rate limit) (HTTP 429): rate_limit_error: slow, *** (request req_7)"; e.Error() != want {
		t.Errorf("got %q", e.Error())
	}
}

func TestWhatIsBilledAfterARefusal(t *testing.T) {
	for status, unbilled := range map[int]bool{400: true, 401: true, 408: false, 413: true, 429: true, 500: true, 502: false, 503: true, 504: false, 524: false, 529: true} {
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		ctx, c := Begin(t.Context(), 0)
		if _, err := post(ctx, Client(nil), url); err != nil {
			t.Fatal(err)
		}
		if e := fail(t, c, Fault{}); e.Unbilled != unbilled {
			t.Errorf("%d: unbilled %v", status, e.Unbilled)
		}
		c.End()
	}
}

func TestWhatIsBilledAfterAnErrorInTheStream(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: {}\n\n")
	})
	for _, tt := range []struct {
		kind     string
		content  bool
		unbilled bool
	}{
		{"overloaded_error", false, true}, {"overloaded_error", true, false},
		{"rate_limit_error", false, true}, {"api_error", false, false}, {"content_filter", false, false},
	} {
		ctx, c := Begin(t.Context(), 0)
		if _, err := post(ctx, Client(nil), url); err != nil {
			t.Fatal(err)
		}
		if e := fail(t, c, Fault{Problem: Problem{Type: tt.kind}, Content: tt.content}); e.Unbilled != tt.unbilled {
			t.Errorf("%+v: got %+v", tt, e)
		}
		c.End()
	}
}

func TestACallMakesOneRequest(t *testing.T) {
	n := 0
	url := serve(t, func(http.ResponseWriter, *http.Request) { n++ })
	ctx, c := Begin(t.Context(), 0)
	defer c.End()
	client := Client(nil)
	if _, err := post(ctx, client, url); err != nil {
		t.Fatal(err)
	}
	if _, err := post(ctx, client, url); !errors.Is(err, errSecond) || n != 1 {
		t.Errorf("%d requests, %v", n, err)
	}
	if _, err := post(t.Context(), client, url); err == nil || n != 1 {
		t.Errorf("a request outside of a call went out")
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.example/v1", http.StatusTemporaryRedirect)
	})
	ctx, c := Begin(t.Context(), 0)
	defer c.End()
	_, err := post(ctx, Client(nil), url)
	e := fail(t, c, Fault{Err: err})
	if e.Kind != model.BadRequest || !e.Unbilled || !strings.Contains(e.Error(), `points to "https://elsewhere.example/v1"; set base_url`) {
		t.Errorf("got %v", e)
	}
}

func TestAServerThatIsNotThereIsNotPaid(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	ctx, c := Begin(t.Context(), 0)
	defer c.End()
	_, err = post(ctx, Client(nil), "http://"+l.Addr().String())
	if e := fail(t, c, Fault{Err: err}); e.Kind != model.Network || !e.Unbilled || e.Status != 0 {
		t.Errorf("got %+v", e)
	}
}

func TestAServerThatHangsUpMayHaveBeenPaid(t *testing.T) {
	url := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	ctx, c := Begin(t.Context(), 0)
	defer c.End()
	_, err := post(ctx, Client(nil), url)
	if e := fail(t, c, Fault{Err: err}); e.Kind != model.Network || e.Unbilled {
		t.Errorf("got %+v", e)
	}
}

func TestACallThatNeverBeganIsNotPaid(t *testing.T) {
	_, c := Begin(t.Context(), 0)
	defer c.End()
	if e := fail(t, c, Fault{Err: errors.New("marshal: no")}); e.Kind != model.BadRequest || !e.Unbilled {
		t.Errorf("got %+v", e)
	}
	done, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("paused"))
	ctx, c := Begin(done, 0)
	defer c.End()
	_, err := post(ctx, Client(nil), "http://127.0.0.1:1")
	e := fail(t, c, Fault{Err: err})
	if !e.Unbilled || !errors.Is(e, context.Canceled) || !strings.Contains(e.Error(), "context canceled: paused") {
		t.Errorf("got %+v", e)
	}
}

func TestTheAnswersOfAWebServer(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<html>")
	})
	ctx, c := Begin(t.Context(), 0)
	defer c.End()
	if _, err := post(ctx, Client(nil), url); err != nil {
		t.Fatal(err)
	}
	if e := fail(t, c, Fault{Err: io.EOF}); e.Kind != model.Malformed || !strings.Contains(e.Error(), "check base_url") {
		t.Errorf("got %v", e)
	}
}

func TestAnAnswerIsBounded(t *testing.T) {
	for size, want := range map[int]error{100: nil, 101: errTooLarge} {
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, strings.Repeat("x", size))
		})
		ctx, c := Begin(t.Context(), 0)
		client := Client(nil)
		client.Transport.(*transport).max = 100
		got, err := post(ctx, client, url)
		if !errors.Is(err, want) || len(got) != 100 {
			t.Errorf("%d bytes: read %d, %v", size, len(got), err)
		}
		if want != nil {
			if e := fail(t, c, Fault{Err: err}); e.Kind != model.Malformed || e.Unbilled {
				t.Errorf("got %+v", e)
			}
		}
		c.End()
	}
}

func TestARefusalIsReadInPart(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, strings.Repeat("x", maxErrorBody+10))
	})
	ctx, c := Begin(t.Context(), 0)
	defer c.End()
	got, err := post(ctx, Client(nil), url)
	if err != nil || len(got) != maxErrorBody || len(c.refusal) != maxRefusal {
		t.Errorf("read %d, kept %d, %v", len(got), len(c.refusal), err)
	}
	if e := fail(t, c, Fault{}); e.Kind != model.ServerError || len(e.Error()) > 1000 {
		t.Errorf("got %v", e)
	}
}

// quiet is a server that sends a byte each time it is told to and stops with the
// request's context.
type quiet struct{ next chan struct{} }

func (q quiet) RoundTrip(r *http.Request) (*http.Response, error) {
	h := http.Header{"Content-Type": {"text/event-stream"}}
	return &http.Response{StatusCode: http.StatusOK, Header: h, Body: &quietBody{q, r.Context()}}, nil
}

type quietBody struct {
	quiet
	ctx context.Context
}

func (b *quietBody) Read(p []byte) (int, error) {
	select {
	case <-b.next:
		p[0] = 'x'
		return 1, nil
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
}

func (b *quietBody) Close() error { return nil }

func TestSilenceEndsACallAndSlownessDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := quiet{next: make(chan struct{})}
		ctx, c := Begin(t.Context(), time.Minute)
		defer c.End()
		go func() {
			for range 10 {
				time.Sleep(59 * time.Second)
				q.next <- struct{}{}
			}
		}()
		start := time.Now()
		got, err := post(ctx, Client(&http.Client{Transport: q}), "http://x")
		if len(got) != 10 || time.Since(start) != 10*59*time.Second+time.Minute {
			t.Errorf("read %q in %s", got, time.Since(start))
		}
		e := fail(t, c, Fault{Err: err})
		if e.Kind != model.Network || e.Unbilled || errors.Is(e, context.Canceled) || !strings.Contains(e.Error(), "sent nothing for 1m0s") {
			t.Errorf("got %+v", e)
		}
	})
}

func TestAContextThatEndsIsTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outer, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ctx, c := Begin(outer, 0)
		defer c.End()
		_, err := post(ctx, Client(&http.Client{Transport: quiet{}}), "http://x")
		e := fail(t, c, Fault{Err: err, Kind: model.Incomplete})
		if e.Kind != model.Network || e.Unbilled || !errors.Is(e, context.DeadlineExceeded) {
			t.Errorf("got %+v", e)
		}
	})
}
