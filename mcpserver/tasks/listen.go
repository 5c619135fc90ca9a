package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

const methodNotification = "notifications/tasks"

// listen serves a stream that may watch tasks.
func (l *Layer) listen(ctx context.Context, r request, msg json.RawMessage, next Next) mcp.JSONRPCMessage {
	ids, asked, err := r.taskIDs(l.opts.MaxTasks)
	switch {
	case asked && !r.declared:
		return r.undeclared()
	case err != nil:
		return l.refuse(ctx, string(mcp.MethodSubscriptionsListen), r, err)
	}
	session := server.ClientSessionFromContext(ctx)
	agreed, err := l.agree(ctx, ids)
	if err != nil {
		return l.refuse(ctx, string(mcp.MethodSubscriptionsListen), r, err)
	}
	if len(agreed) == 0 || session == nil {
		return next(ctx, msg)
	}
	return l.serve(ctx, newStream(session, r.id, agreed), r, msg, next)
}

// agree leaves out the tasks that the client can't watch.
func (l *Layer) agree(ctx context.Context, ids []string) ([]string, error) {
	var agreed []string
	for _, id := range ids {
		switch _, err := l.backend.Get(ctx, id); {
		case err == nil:
			agreed = append(agreed, id)
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
	}
	return agreed, nil
}

// serve lets mcp-go serve the stream until its end, with pushes on it.
func (l *Layer) serve(ctx context.Context, s *stream, r request, msg json.RawMessage, next Next) mcp.JSONRPCMessage {
	pushing, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { s.forward(pushing) })
	for _, id := range s.ids {
		running.Go(func() { l.push(pushing, s, r, id) })
	}
	resp := next((&server.MCPServer{}).WithContext(ctx, s), msg)
	if _, ok := resp.(mcp.JSONRPCResponse); ok {
		<-ctx.Done() // mcp-go ends a stream at once that has nothing but tasks
	}
	return resp
}

// again is how long a push waits before it looks for a task that it lost sight of.
const again = time.Second

// push tells the stream about one task until its end.
func (l *Layer) push(ctx context.Context, s *stream, r request, id string) {
	select {
	case <-s.acknowledged:
	case <-ctx.Done():
		return
	}
	for told := false; ; {
		ended, err := l.follow(ctx, s, r, id)
		if ended || errors.Is(err, ErrNotFound) || ctx.Err() != nil {
			return
		}
		if err != nil && !told {
			l.opts.Logger.WarnContext(ctx, "a task that is listened to is out of sight", "task", id, "error", err)
			told = true
		}
		if !pause(ctx, again) {
			return
		}
	}
}

// follow pushes what the backend shows of a task. ended: nothing will change any more.
func (l *Layer) follow(ctx context.Context, s *stream, r request, id string) (ended bool, err error) {
	for t, err := range l.backend.Watch(ctx, id) {
		if err != nil {
			return false, err
		}
		if err := s.send(ctx, t.shownTo(r.caps)); err != nil {
			return false, err
		}
		if t.Status.Terminal() {
			return true, nil
		}
		if !pause(ctx, l.opts.Interval) {
			return true, nil
		}
	}
	return false, nil
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
