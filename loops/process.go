package loops

import (
	"context"
	"time"
)

// commitPatience is how long one call of the store may take, and how long a
// finished result waits for a store that does not answer when the process is
// told to stop meanwhile.
const commitPatience = 10 * time.Second

// process is the time of one call of [Engine.Run]. Commits are many and their
// contexts cost as much as their rules, so that most share those of the process.
type process struct {
	ctx   context.Context // ends when Run is to return
	late  context.Context // ends commitPatience later
	never context.Context // does not end
	close func()          // ends late now, and waits for what watches over it
}

func newProcess(ctx context.Context) *process {
	p := &process{ctx: ctx, never: context.WithoutCancel(ctx)}
	late, end := context.WithCancel(p.never)
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-ctx.Done():
			sleep(late, commitPatience)
			end()
		case <-late.Done():
		}
	}()
	p.late, p.close = late, func() { end(); <-over }
	return p
}

// lasting returns a context that outlives ctx by commitPatience, or lasts as long
// from now when the process has ended before.
func (p *process) lasting() (context.Context, context.CancelFunc) {
	if p.ctx.Err() == nil {
		return p.late, func() {}
	}
	return context.WithTimeout(p.never, commitPatience)
}

// once bounds one call of the store.
func (p *process) once(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx == p.late && p.ctx.Err() == nil {
		ctx = p.never // late can't end before the call's own time is over
	}
	return context.WithTimeout(ctx, commitPatience)
}
