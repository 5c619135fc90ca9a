package stdio

import "sync/atomic"

// spare is how many goroutines stay for the next call when theirs is done. Their stacks have grown
// to what a call needs; a new one's growth is a sixth of a short call's time.
const spare = 4

// crew are the goroutines that serve calls, one each.
type crew struct {
	jobs chan func()
	quit chan struct{} // closed when nobody is to stay
	idle atomic.Int32
}

func newCrew() *crew { return &crew{jobs: make(chan func()), quit: make(chan struct{})} }

// do runs job on a goroutine of its own. It does not wait.
func (c *crew) do(job func()) {
	select {
	case c.jobs <- job:
	default:
		go c.work(job)
	}
}

func (c *crew) work(job func()) {
	for job != nil {
		job()
		job = c.next()
	}
}

// next waits for the next job; nil: this goroutine is not needed.
func (c *crew) next() func() {
	defer c.idle.Add(-1)
	if c.idle.Add(1) > spare {
		return nil
	}
	select {
	case job := <-c.jobs:
		return job
	case <-c.quit:
		return nil
	}
}
