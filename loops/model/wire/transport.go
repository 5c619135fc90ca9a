package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"
)

const (
	maxBody      = 64 << 20 // bytes of an answer
	maxErrorBody = 1 << 20  // bytes of a refusal that a library gets to read
	maxRefusal   = 64 << 10 // bytes of a refusal that are kept
)

var errTooLarge = errors.New("the answer is larger than 64 MiB")

// Client returns a copy of base whose requests are watched as parts of a
// [Call]. It follows no redirects. A nil base has time limits for connecting
// and none for the whole: an answer may take long, and [Begin] limits silence.
func Client(base *http.Client) *http.Client {
	c := http.Client{}
	if base != nil {
		c = *base
	}
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	c.Transport = &transport{base: c.Transport, max: maxBody}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		// A connection that died without a word is noticed before the limit on silence.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// redirectError is an answer that names another address. Following it would
// hand the conversation to a server that nobody configured.
type redirectError struct{ status, to string }

func (e *redirectError) Error() string {
	return fmt.Sprintf("the server answered %s and points to %q; set base_url to where the API is", e.status, clip(e.to, 200))
}

type transport struct {
	base http.RoundTripper
	max  int64
}

// RoundTrip makes the one request of a call and never repeats it.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	c, _ := req.Context().Value(callKey{}).(*Call)
	err := req.Context().Err()
	switch {
	case c == nil:
		err = errors.New("a request outside of a call")
	case err == nil && !c.begin():
		err = errSecond
	}
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	resp, err := t.base.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), c.trace())))
	if err != nil {
		return nil, err
	}
	c.answered(resp)
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp.Body.Close()
		return nil, &redirectError{status: resp.Status, to: resp.Header.Get("Location")}
	}
	b := &body{ReadCloser: resp.Body, call: c, left: t.max}
	if resp.StatusCode >= 400 {
		b.left, b.cut = min(t.max, maxErrorBody), true
	}
	resp.Body = b
	return resp, nil
}

// body counts what is read and stops at a bound.
type body struct {
	io.ReadCloser
	call *Call
	left int64
	cut  bool // at the bound the body simply ends
}

func (b *body) Read(p []byte) (int, error) {
	if b.left <= 0 {
		if b.cut {
			return 0, io.EOF
		}
		n, err := b.ReadCloser.Read(make([]byte, 1))
		if n > 0 {
			err = errTooLarge
		}
		return 0, err
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if n > 0 {
		b.call.arrived(p[:n])
	}
	return n, err
}
