package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.com/loop-mcp/loops/model"
)

// Fault is what an adapter knows of a failed call.
type Fault struct {
	Model   string     // Info.ID
	Err     error      // what the library returned
	Problem Problem    // what the provider said within its stream
	Kind    model.Kind // of what the adapter itself found; empty: to be told from the rest
	Content bool       // a part of the answer had come
	Secret  string     // the key, which no text may show
}

// Fail returns what the failure means, always a [*model.Error]. The error of a
// context that ended is wrapped in it.
func (c *Call) Fail(f Fault) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &model.Error{Model: f.Model, Status: c.status, Err: f.Err}
	refused := c.status >= 400
	switch {
	case refused:
		p := ParseProblem(c.refusal)
		e.Kind, e.Err, e.RequestID = KindOf(c.status, p), p.err(c.status), p.RequestID
	case c.ended() != nil:
		e.Kind, e.Err = model.Network, c.ended()
	case f.Problem != (Problem{}):
		e.Kind, e.Err, e.RequestID = KindOf(c.status, f.Problem), f.Problem.err(c.status), f.Problem.RequestID
	case f.Kind != "":
		e.Kind = f.Kind
	default:
		e.Kind, e.Err = c.broken(f.Err)
	}
	e.Unbilled = c.unbilled(e.Kind, f)
	if refused || f.Problem != (Problem{}) {
		e.RetryAfter = retryAfter(e, c.header, time.Now())
	}
	if id := requestID(c.header); id != "" {
		e.RequestID = id
	}
	e.Err = redact(e.Err, f.Secret)
	return e
}

// broken tells what it means that the library gave up without a word of the
// provider.
func (c *Call) broken(err error) (model.Kind, error) {
	redirect, redirected := errors.AsType[*redirectError](err)
	switch {
	case !c.begun:
		return model.BadRequest, err // the library refused to send it
	case redirected:
		return model.BadRequest, redirect
	case errors.Is(err, errTooLarge):
		return model.Malformed, errTooLarge
	case c.status != 0 && !c.streamed:
		return model.Malformed, fmt.Errorf("the server answered with %s and not with a stream of events; check base_url; it says: %s",
			clip(c.header.Get("Content-Type"), 60), clip(ParseProblem(c.refusal).Message, 200))
	case unreadable(err):
		return model.Malformed, err
	case c.status != 0:
		return model.Incomplete, err
	}
	return model.Network, err
}

// unreadable reports whether the library could not read an event.
func unreadable(err error) bool {
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, shape := errors.AsType[*json.UnmarshalTypeError](err)
	return syntax || shape || errors.Is(err, bufio.ErrTooLong)
}

// unbilled reports whether the provider can't have charged. A gateway that gave
// up waiting does not know what became of the request.
func (c *Call) unbilled(kind model.Kind, f Fault) bool {
	_, redirected := errors.AsType[*redirectError](f.Err)
	switch {
	case redirected || !c.sent(f.Err):
		return true
	case c.status == http.StatusRequestTimeout:
		return false
	case c.status >= 400:
		return c.status <= http.StatusInternalServerError || c.status == http.StatusServiceUnavailable || c.status == 529
	case f.Problem == (Problem{}) || f.Content:
		return false
	}
	return kind != model.ServerError && kind != model.Refused
}

// redact hides the key in what a server or library says, should it repeat it.
func redact(err error, secret string) error {
	if err == nil || len(secret) < 8 || !strings.Contains(err.Error(), secret) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), secret, "***"))
}

// Key makes a key fit for a header. The error does not show it.
func Key(key string) (string, error) {
	key = strings.TrimSpace(key)
	for _, r := range key {
		if r < '!' || r > '~' {
			return "", errors.New("the API key has a character that no key has; was it copied with something else?")
		}
	}
	return key, nil
}

// NoKey is the error of a call that can't be made for want of a key.
func NoKey(info model.Info) error {
	why := "no key is configured; name the variable that holds it in api_key_env"
	if info.KeyEnv != "" {
		why = "the environment variable " + info.KeyEnv + " is not set"
	}
	return &model.Error{Kind: model.BadKey, Model: info.ID, Unbilled: true, Err: errors.New(why)}
}
