package modeltest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"example.com/loop-mcp/loops/model"
)

// Body answers every request with the same stream, without a server.
type Body string

// RoundTrip answers.
func (b Body) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	h := http.Header{"Content-Type": {"text/event-stream"}}
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Header: h, Body: io.NopCloser(strings.NewReader(string(b))), Request: r}, nil
}

// Check tells what no stream may lead to: an answer that can't be stored, sent
// back or accounted for, or an error that is none of a model's.
func Check(t *testing.T, a model.Answer, err error) {
	t.Helper()
	if err != nil {
		e, ok := errors.AsType[*model.Error](err)
		if !ok || e.Kind == "" || e.Model == "" || e.Error() == "" || a.Stop != "" {
			t.Errorf("got %+v, %v", a, err)
		}
		return
	}
	if !json.Valid(a.Message.Native) || a.Message.Wire == "" || a.Message.Role != model.Assistant || a.Stop == "" {
		t.Errorf("got %+v", a)
	}
	for _, c := range a.Message.Calls() {
		if !json.Valid(c.Args) || c.Args[0] != '{' && c.Args[0] != '"' {
			t.Errorf("arguments %s", c.Args)
		}
	}
	u := a.Usage
	if min(u.Input, u.CacheRead, u.CacheWrite, u.CacheWrite1h, u.Output, u.Reasoning) < 0 || a.Cost != nil && *a.Cost < 0 {
		t.Errorf("usage %+v", u)
	}
}
