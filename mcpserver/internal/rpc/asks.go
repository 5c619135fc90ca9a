package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
)

const (
	// asksLimit is how many requests to one client may wait for its response.
	asksLimit = 64
	// responseLimit is how many bytes a response may have: far more than a person writes into a form.
	responseLimit = 256 << 10
)

var (
	// ErrGone is returned when no response can come any more.
	ErrGone        = errors.New("the client has ended its side of the connection")
	errTooManyAsks = fmt.Errorf("%d requests wait for this client's responses already", asksLimit)
	errTooLarge    = fmt.Errorf("the client's response is longer than %d bytes", responseLimit)
)

// ResponseError is a client's refusal of a request.
type ResponseError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Error returns what the client said.
func (e *ResponseError) Error() string {
	return fmt.Sprintf("the client answered with error %d: %.200s", e.Code, e.Message)
}

// Asks are the requests to one client of the era before 2026-07-28 that wait for its response. The
// zero value is ready. The ids are texts of our own, so whatever else a client sends back answers
// nothing.
type Asks struct {
	mu      sync.Mutex // held for a few lines, never while calling out
	last    uint64
	waiting map[string]chan []byte // by the id's key; each has room for its response
	ended   bool
}

// Send writes a line to the client. When there is no room it waits until stop is closed. It returns
// an error when the line will not be written.
type Send func(line []byte, stop <-chan struct{}) error

// Ask sends a request and waits for the result. When ctx ends first, the client is told that the
// request is cancelled, with the cause as reason, and the cause is returned. A client's refusal is a
// [ResponseError]; after Close it is [ErrGone].
func (a *Asks) Ask(ctx context.Context, method string, params any, send Send) (json.RawMessage, error) {
	id, response, err := a.open()
	if err != nil {
		return nil, err
	}
	defer a.drop(id)
	line, err := Encode(map[string]any{"jsonrpc": mcp.JSONRPC_VERSION, "id": id, "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	if err := send(line, ctx.Done()); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	select {
	case data, ok := <-response:
		if !ok {
			return nil, ErrGone
		}
		return resultOf(data)
	case <-ctx.Done():
		a.drop(id)
	}
	select {
	case data, ok := <-response: // it came in the same moment
		if ok {
			return resultOf(data)
		}
	default:
	}
	return nil, cancel(id, context.Cause(ctx), send)
}

// cancel tells the client that the request is over, if it can be told at once, and returns the cause.
func cancel(id string, cause error, send Send) error {
	line, err := Encode(map[string]any{
		"jsonrpc": mcp.JSONRPC_VERSION, "method": MethodCancelled,
		"params": map[string]any{"requestId": id, "reason": cause.Error()},
	})
	if err == nil {
		now := make(chan struct{})
		close(now)
		_ = send(line, now) // a client that reads nothing shows nobody the question
	}
	return cause
}

// Resolve hands a response to whoever waits for it and says whether somebody did. It never blocks
// and keeps data. Key is the key of the response's id.
func (a *Asks) Resolve(key string, data []byte) bool {
	a.mu.Lock()
	response := a.waiting[key]
	delete(a.waiting, key) // the first response counts
	a.mu.Unlock()
	if response == nil {
		return false
	}
	response <- data
	return true
}

// Close ends all waits: the client can't answer any more.
func (a *Asks) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	for _, response := range a.waiting {
		close(response)
	}
	clear(a.waiting)
}

func (a *Asks) open() (id string, response <-chan []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.ended:
		return "", nil, ErrGone
	case len(a.waiting) >= asksLimit:
		return "", nil, errTooManyAsks
	case a.waiting == nil:
		a.waiting = make(map[string]chan []byte)
	}
	a.last++
	id = "ask-" + strconv.FormatUint(a.last, 10)
	c := make(chan []byte, 1)
	a.waiting["s"+id] = c
	return id, c, nil
}

func (a *Asks) drop(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, "s"+id)
}

// resultOf takes the result out of a response.
func resultOf(data []byte) (json.RawMessage, error) {
	if len(data) > responseLimit {
		return nil, errTooLarge
	}
	var r struct {
		Result json.RawMessage `json:"result"`
		Error  *ResponseError  `json:"error"`
	}
	switch err := json.Unmarshal(data, &r); {
	case err != nil:
		return nil, fmt.Errorf("the client's response can't be read: %w", err)
	case r.Error != nil:
		return nil, r.Error
	case r.Result == nil:
		return nil, errors.New("the client's response has no result")
	}
	return r.Result, nil
}
