// Package modeltest serves providers' streams to the tests of their adapters and
// shows the bytes that go out.
package modeltest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"example.com/loop-mcp/loops/model"
)

// Provider is a server that answers each request with the next of its answers.
type Provider struct {
	URL string

	mu      sync.Mutex
	answers []http.HandlerFunc
	sent    []Sent
}

// Sent is a request as it went out.
type Sent struct {
	URL    string
	Header http.Header
	Body   []byte
}

// New starts a provider that ends with the test. A request beyond the last
// answer fails the test.
func New(t testing.TB, answers ...http.HandlerFunc) *Provider {
	t.Helper()
	p := &Provider{answers: answers}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		if len(p.answers) == 0 {
			p.mu.Unlock()
			t.Errorf("a request too many: %s %s", r.Method, r.URL)
			return
		}
		next := p.answers[0]
		p.answers = p.answers[1:]
		p.mu.Unlock()
		next(w, r)
	}))
	t.Cleanup(srv.Close)
	p.URL = srv.URL
	return p
}

// Client is a client whose requests all come here, wherever they are addressed
// to, and are kept as they went out.
func (p *Provider) Client() *http.Client { return &http.Client{Transport: p} }

// RoundTrip keeps the request and hands it to the server.
func (p *Provider) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.sent = append(p.sent, Sent{URL: r.URL.String(), Header: r.Header.Clone(), Body: body})
	p.mu.Unlock()
	here, err := url.Parse(p.URL)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.Host = here.Scheme, here.Host, ""
	r.Body = io.NopCloser(bytes.NewReader(body))
	return http.DefaultTransport.RoundTrip(r)
}

// Sent returns the requests so far.
func (p *Provider) Sent() []Sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Sent(nil), p.sent...)
}

// Stream answers with events and ends cleanly.
func Stream(events string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		set(w, header)
		io.WriteString(w, events) //nolint:errcheck // the client may be gone
	}
}

// Cut answers with events and breaks the connection.
func Cut(events string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		Stream(events)(w, r)
		http.NewResponseController(w).Flush() //nolint:errcheck // the client may be gone
		panic(http.ErrAbortHandler)
	}
}

// Refuse answers with a status.
func Refuse(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		set(w, header)
		w.WriteHeader(status)
		io.WriteString(w, body) //nolint:errcheck // the client may be gone
	}
}

func set(w http.ResponseWriter, header []string) {
	for i := 0; i+1 < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
}

// Ask is a request of one sentence.
func Ask(text string) model.Request {
	return model.Request{Messages: []model.Message{model.Text(model.User, text)}}
}
