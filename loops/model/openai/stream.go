package openai

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

// assembly puts an answer together from the events of its stream.
type assembly interface {
	add(event []byte) error // an error ends the stream
	begun() bool            // a part of the answer came
	ended() bool            // nothing more is needed
	closed() error          // the stream has closed; nil: the answer is complete
	answer(info model.Info, requestID string) model.Answer
}

// rawStream is a stream of the library.
type rawStream interface {
	RecvRaw() ([]byte, error)
	Close() error
}

func read(stream rawStream, a assembly) error {
	for !a.ended() {
		event, err := stream.RecvRaw()
		if err != nil {
			missing := a.closed()
			if missing == nil {
				return nil // all that counts had come
			}
			if !errors.Is(err, io.EOF) {
				return err
			}
			return &fault{wire.Fault{Err: missing}}
		}
		if err := a.add(event); err != nil {
			return err
		}
	}
	return nil
}

type bodyKey struct{}

// doer sends a request as it was made here, where the library's types can't say
// it, and hands the library a stream that its reader understands.
type doer struct{ http *http.Client }

func (d doer) Do(req *http.Request) (*http.Response, error) {
	if body, ok := req.Context().Value(bodyKey{}).([]byte); ok {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		req.GetBody = nil
	}
	resp, err := d.http.Do(req)
	if err == nil && resp.StatusCode < http.StatusMultipleChoices {
		resp.Body = &events{Closer: resp.Body, src: bufio.NewReader(resp.Body)}
	}
	return resp, err
}

// withBody makes a request go out with that body.
func withBody(ctx context.Context, body []byte) context.Context {
	return context.WithValue(ctx, bodyKey{}, body)
}

// events passes on the data of a stream, one line an event. The library's reader
// knows no data of several lines; it keeps every other line to find an error in
// the heap, which then is none; and it swallows an error for which it kept
// anything else before.
type events struct {
	io.Closer
	src  *bufio.Reader
	data []byte // of an event that goes on
	out  []byte
	err  error
}

func (e *events) Read(p []byte) (int, error) {
	for len(e.out) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		var line []byte
		line, e.err = e.src.ReadBytes('\n')
		switch {
		case e.err == nil:
			e.line(bytes.TrimRight(line, "\r\n"))
		case e.err == io.EOF: // what was cut off in a line is not data
			e.line(line)
			if whole(e.data) {
				e.emit()
			}
		}
	}
	n := copy(p, e.out)
	e.out = e.out[n:]
	return n, nil
}

func (e *events) line(line []byte) {
	if len(line) == 0 {
		e.emit()
		return
	}
	data, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok {
		return
	}
	if len(e.data) > 0 {
		e.data = append(e.data, ' ')
	}
	e.data = append(e.data, bytes.TrimSpace(data)...)
	if whole(e.data) { // some servers forget the empty line between events
		e.emit()
	}
}

func (e *events) emit() {
	if len(e.data) == 0 {
		return
	}
	e.out = append(e.out, "data: "...)
	if bytes.HasPrefix(e.data, []byte(`{"error":`)) {
		e.out = append(e.out, "{ "...) // else the library's reader takes it for itself
		e.data = e.data[1:]
	}
	e.out = append(append(e.out, e.data...), '\n')
	e.data = nil
}

func whole(data []byte) bool { return string(data) == "[DONE]" || json.Valid(data) }
