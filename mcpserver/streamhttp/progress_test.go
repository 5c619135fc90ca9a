package streamhttp

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNoProgressIsLostLateOrAtTheWrongCall: ten thousand messages of twenty calls at the same time,
// of one session and of modern clients.
func TestNoProgressIsLostLateOrAtTheWrongCall(t *testing.T) {
	w := live(t, nil, nil)
	w.greet()
	const calls, each = 20, 500
	var running sync.WaitGroup
	for i := range calls {
		running.Go(func() {
			args := fmt.Sprintf(`{"to":%d}`, each)
			token := fmt.Sprintf(`"call %d"`, i)
			q := request{body: callBody(fmt.Sprint(i), "count", args, `"progressToken":`+token)}
			if i%2 == 1 {
				q = modernProgress(fmt.Sprint(i), "count", args, token)
			}
			got, err := w.fetch(q)
			if err != nil {
				t.Error(err)
				return
			}
			var want []string
			for n := range each {
				want = append(want, fmt.Sprintf("call %d %d", i, n+1))
			}
			want = append(want, fmt.Sprintf("%d: %d", i, each))
			if diff := cmp.Diff(want, got.summaries()); diff != "" {
				t.Errorf("call %d:\n%.1000s", i, diff)
			}
		})
	}
	running.Wait()
}

// fetch is ask for goroutines other than the test's.
func (w *world) fetch(q request) (said, error) {
	resp, err := w.try(w.Context(), q)
	if err != nil {
		return said{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return said{resp.StatusCode, resp.Header, string(data), parseSSE(string(data))}, err
}

// TestWhoTakesNoStreamGetsADocument: without the progress, which has no place in it.
func TestWhoTakesNoStreamGetsADocument(t *testing.T) {
	w := live(t, nil, nil)
	w.greet()
	for _, q := range []request{
		{body: callBody("1", "count", `{"to":300}`, `"progressToken":1`)},
		modernProgress("1", "count", `{"to":300}`, "1"),
	} {
		got := w.ask(q.with(map[string]string{"Accept": "application/json"}))
		if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json" || !cmp.Equal(got.summaries(), []string{"1: 300"}) {
			t.Errorf("%d %s %q", got.status, got.header, got.summaries())
		}
	}
}

func TestWhoTakesOnlyAStreamGetsOne(t *testing.T) {
	w := live(t, nil, nil)
	only := map[string]string{"Accept": "text/event-stream"}
	got := w.ask(request{body: initialize, header: only})
	if w.session = got.header.Get(headerSession); w.session == "" || len(got.events) != 1 {
		t.Fatalf("initialize: %s %s", got.header, got.body)
	}
	for _, q := range []request{{body: callBody("1", "echo", `{"text":"x"}`, "")}, modernCall("1", "echo", `{"text":"x"}`)} {
		got := w.ask(q.with(only))
		if !strings.HasPrefix(got.header.Get("Content-Type"), "text/event-stream") || !cmp.Equal(got.summaries(), []string{"1: x"}) {
			t.Errorf("%s %s", got.header, got.body)
		}
	}
	if got := w.ask(modernCall("1", "echo", `{}`).with(map[string]string{"Accept": "text/html"})); got.status != http.StatusNotAcceptable {
		t.Errorf("a browser: %d %s", got.status, got.body)
	}
}

func TestAStreamSaysHowItIsToBeRead(t *testing.T) {
	w := live(t, nil, nil)
	w.greet()
	got := w.ask(request{body: callBody("1", "count", `{"to":1}`, `"progressToken":1`)})
	if got.header.Get("X-Accel-Buffering") != "no" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("header %s", got.header)
	}
	want := []sse{{id: "2-0", retry: "500", data: ""}, {id: "2-1", data: got.events[1].data}, {id: "2-2", data: got.events[2].data}}
	if diff := cmp.Diff(want, got.events, cmp.AllowUnexported(sse{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if modern := w.ask(modernProgress("1", "count", `{"to":1}`, "1")); modern.events[0].id != "" || modern.events[0].retry != "" {
		t.Errorf("a modern stream has ids: %s", modern.body)
	}
	w.version = "2025-06-18"
	got = w.ask(request{body: strings.Replace(initialize, "2025-11-25", "2025-06-18", 1), header: map[string]string{headerSession: ""}})
	w.session = got.header.Get(headerSession)
	got = w.ask(request{body: callBody("1", "count", `{"to":1}`, `"progressToken":1`)})
	if len(got.events) != 2 || got.events[0].id != "1-1" {
		t.Errorf("a client that knows no empty events: %s", got.body)
	}
}
