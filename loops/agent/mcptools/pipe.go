package mcptools

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// pipe is mcp-go's transport over the input and output of a process. mcp-go's
// own blocks on a server that does not read, keeps lines of any length in
// memory, and can't tell whether a request went out.
type pipe struct {
	in     io.Writer
	out    io.Reader
	frames chan *frame
	closed chan struct{}
	once   sync.Once
	fault  error // why it was closed; written before closed is
	work   sync.WaitGroup

	mu      sync.Mutex
	waiting map[string]*frame
	notify  func(mcp.JSONRPCNotification)
	request transport.RequestHandler
	garbage []byte // the last of what was no message
}

const (
	maxMessage = 32 << 20 // bytes of one message
	maxGarbage = 2 << 10
	maxQueued  = 64 // answers to a server that does not read them
)

var (
	errClosed  = errors.New("the connection was closed")
	errEnded   = errors.New("it closed its output")
	errTooLong = fmt.Errorf("it sent a message of more than %d MiB", maxMessage>>20)
)

// frame is a message on its way out.
type frame struct {
	data     []byte
	state    atomic.Int32
	response chan *transport.JSONRPCResponse // gets the answer to a request; has room for it
}

func newFrame(message any) (*frame, error) {
	data, err := json.Marshal(message)
	return &frame{data: append(data, '\n'), response: make(chan *transport.JSONRPCResponse, 1)}, err
}

const (
	frameQueued int32 = iota
	frameTaken        // it is being written, or has been
	frameUnsent       // it will not be written, or no byte of it was
)

// withdraw keeps a frame that is still queued from going out. It reports
// whether the server may have seen it.
func (f *frame) withdraw() (sent bool) {
	f.state.CompareAndSwap(frameQueued, frameUnsent)
	return f.state.Load() == frameTaken
}

func newPipe(in io.Writer, out io.Reader) *pipe {
	return &pipe{in: in, out: out, frames: make(chan *frame, maxQueued), closed: make(chan struct{}),
		waiting: make(map[string]*frame)}
}

// Start starts the goroutines; Close ends and awaits them.
func (p *pipe) Start(context.Context) error {
	p.work.Go(p.write)
	p.work.Go(p.read)
	return nil
}

// Close fails what waits for an answer. The reader ends with the process.
func (p *pipe) Close() error {
	p.fail(errClosed)
	return nil
}

func (p *pipe) fail(err error) {
	p.once.Do(func() {
		p.fault = err
		close(p.closed)
	})
}

// GetSessionId is part of the interface; a pipe has none.
func (p *pipe) GetSessionId() string { return "" }

// SetNotificationHandler sets who is told what the server says unasked.
func (p *pipe) SetNotificationHandler(f func(mcp.JSONRPCNotification)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notify = f
}

// SetRequestHandler sets who answers the server's requests.
func (p *pipe) SetRequestHandler(f transport.RequestHandler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.request = f
}

// SendRequest sends a request and waits for its answer.
func (p *pipe) SendRequest(ctx context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	noteRequest(ctx)
	f, err := newFrame(r)
	if err != nil {
		return nil, err
	}
	key := r.ID.String()
	p.mu.Lock()
	p.waiting[key] = f
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, key)
	}()
	if err := p.send(ctx, f); err != nil {
		return nil, err
	}
	select {
	case got := <-f.response:
		noteResponse(ctx, got)
		return got, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.closed:
		err = p.fault
	}
	noteSent(ctx, f.withdraw())
	select {
	case got := <-f.response: // it came together with the end
		noteResponse(ctx, got)
		return got, nil
	default:
		return nil, err
	}
}

// SendNotification hands a notification to the writer.
func (p *pipe) SendNotification(ctx context.Context, n mcp.JSONRPCNotification) error {
	f, err := newFrame(n)
	if err != nil {
		return err
	}
	return p.send(ctx, f)
}

func (p *pipe) send(ctx context.Context, f *frame) error {
	select {
	case <-p.closed:
		return p.fault
	default:
	}
	select {
	case p.frames <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.closed:
		return p.fault
	}
}

func (p *pipe) write() {
	for {
		select {
		case <-p.closed:
			return
		case f := <-p.frames:
			if !f.state.CompareAndSwap(frameQueued, frameTaken) {
				continue
			}
			if n, err := p.in.Write(f.data); err != nil {
				if n == 0 {
					f.state.Store(frameUnsent)
				}
				p.fail(errEnded)
				return
			}
		}
	}
}

func (p *pipe) read() {
	r := bufio.NewReaderSize(p.out, 64<<10)
	for {
		line, err := readLine(r)
		if err != nil {
			if err != errTooLong {
				err = errEnded
			}
			p.fail(err)
			_, _ = io.Copy(io.Discard, r) // until its process has been ended
			return
		}
		p.take(line)
	}
}

// readLine returns the next line without its end. What comes after the last
// line end is a line too.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxMessage {
			return nil, errTooLong
		}
		line = append(line, part...)
		switch {
		case err == nil || err == io.EOF && len(line) > 0:
			return bytes.TrimSpace(line), nil
		case err != bufio.ErrBufferFull:
			return nil, err
		}
	}
}

// take handles one line of the server.
func (p *pipe) take(line []byte) {
	var message struct {
		ID     *mcp.RequestId `json:"id"`
		Method string         `json:"method"`
	}
	if len(line) == 0 {
		return
	}
	if json.Unmarshal(line, &message) != nil || message.ID == nil && message.Method == "" {
		p.keepGarbage(line)
		return
	}
	switch {
	case message.ID == nil:
		var n mcp.JSONRPCNotification
		if f := p.handlers().notify; f != nil && json.Unmarshal(line, &n) == nil {
			f(n)
		}
	case message.Method != "":
		p.serve(line)
	default:
		p.deliver(line)
	}
}

type handlers struct {
	notify  func(mcp.JSONRPCNotification)
	request transport.RequestHandler
}

func (p *pipe) handlers() handlers {
	p.mu.Lock()
	defer p.mu.Unlock()
	return handlers{p.notify, p.request}
}

// deliver hands an answer to who waits for it.
func (p *pipe) deliver(line []byte) {
	var r transport.JSONRPCResponse
	if json.Unmarshal(line, &r) != nil {
		p.keepGarbage(line)
		return
	}
	p.mu.Lock()
	f := p.waiting[r.ID.String()]
	delete(p.waiting, r.ID.String())
	p.mu.Unlock()
	if f != nil {
		f.response <- &r
	}
}

// serve answers a request of the server. We offer it nothing that would take
// time. An answer that finds the queue full is dropped: the server does not
// read.
func (p *pipe) serve(line []byte) {
	var r transport.JSONRPCRequest
	if json.Unmarshal(line, &r) != nil {
		return
	}
	response := transport.NewJSONRPCErrorResponse(r.ID, mcp.METHOD_NOT_FOUND, "this client offers nothing", nil)
	if f := p.handlers().request; f != nil {
		if got, err := f(context.Background(), r); err == nil && got != nil {
			response = got
		}
	}
	answer, err := newFrame(response)
	if err != nil {
		return
	}
	select {
	case p.frames <- answer:
	default:
	}
}

// keepGarbage keeps the tail of what is no message: servers that don't start
// often say why on the wrong stream.
func (p *pipe) keepGarbage(line []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.garbage = append(append(p.garbage, line[max(0, len(line)-maxGarbage):]...), '\n')
	p.garbage = p.garbage[max(0, len(p.garbage)-maxGarbage):]
}

func (p *pipe) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.garbage)
}
