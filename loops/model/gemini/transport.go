package gemini

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"

	"google.golang.org/genai"
)

// exchange is what the transport knows of one request.
type exchange struct {
	sent   int64 // bytes of the request's body
	broken error // why the answer's body ended, unless it ended well
}

type exchangeKey struct{}

// transport keeps from the library what it can't deal with: it prints errors of
// a body to the standard log.
type transport struct {
	next    http.RoundTripper
	keyless bool
}

// RoundTrip makes the request.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.keyless {
		req = req.Clone(req.Context())
		req.Header.Del("X-Goog-Api-Key")
	}
	resp, err := t.next.RoundTrip(req)
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if err != nil || !ok {
		return resp, err
	}
	x.sent = max(0, req.ContentLength)
	resp.Body = &body{ReadCloser: resp.Body, exchange: x}
	return resp, nil
}

// body ends where it breaks, and keeps the reason.
type body struct {
	io.ReadCloser
	exchange *exchange
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.exchange.broken, err = err, io.EOF
	}
	return n, err
}

// Close can't fail in a way that matters to anybody.
func (b *body) Close() error {
	b.ReadCloser.Close()
	return nil
}

// errUnreadable is an answer on which the library gave up with a panic: it takes
// the shape of what it reads for granted.
var errUnreadable = errors.New("the answer is not what the Gemini API sends")

// pull makes a function of a stream, and an error of a panic in it.
func pull(stream iter.Seq2[*genai.GenerateContentResponse, error]) (next func() (*genai.GenerateContentResponse, bool, error), stop func()) {
	pulled, stop := iter.Pull2(stream)
	next = func() (chunk *genai.GenerateContentResponse, ok bool, err error) {
		defer func() {
			if p := recover(); p != nil {
				chunk, ok, err = nil, false, fmt.Errorf("%w: %v", errUnreadable, p)
			}
		}()
		chunk, err, ok = pulled()
		return chunk, ok, err
	}
	return next, stop
}
