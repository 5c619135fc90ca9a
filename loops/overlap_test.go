package loops

import (
	"slices"
	"testing"
	"testing/synctest"
)

// kept is a body that keeps something for its loop; its Rest waits for a channel.
type kept struct {
	BodyFunc
	rested []Status
	until  chan struct{}
}

func (k *kept) Rest(_ ID, s Status) {
	if k.until != nil {
		<-k.until
	}
	k.rested = append(k.rested, s)
}

func overlapping(t *testing.T) (e *Engine, k *kept, next func() *run) {
	t.Helper()
	k = &kept{}
	e = New(nil, Parts{Handlers: map[string]Body{"worker": k}}, nil)
	s := State{ID: "demo-aaaa", Origin: Origin{Spec: Spec{Body: BodySpec{Kind: BodyHandler, Name: "worker"}}}}
	return e, k, func() *run { return &run{e: e, s: s, claimed: s.ID} }
}

// Of runs that overlap the last one to end has the body rest, once, as the last one
// that worked left the loop.
func TestRestComesWithTheLastRun(t *testing.T) {
	for name, test := range map[string]struct {
		story func(e *Engine, one, two *run)
		want  []Status
	}{
		"one after the other": {func(e *Engine, one, two *run) {
			e.register(one)
			e.layDown(one, Waiting)
			e.deregister(one)
			e.register(two)
			e.layDown(two, Completed)
			e.deregister(two)
		}, []Status{Waiting, Completed}},
		"the first returns while the second works": {func(e *Engine, one, two *run) {
			e.register(one)
			e.register(two)
			e.layDown(one, Waiting)
			e.deregister(one)
			e.layDown(two, Completed)
			e.deregister(two)
		}, []Status{Completed}},
		"the second does not get the loop": {func(e *Engine, one, two *run) {
			e.register(one)
			e.register(two)
			e.layDown(one, Waiting)
			e.deregister(one)
			e.deregister(two)
		}, []Status{Waiting}},
		"the second comes while the first has rested and not returned": {func(e *Engine, one, two *run) {
			e.register(one)
			e.layDown(one, Waiting)
			e.register(two)
			e.layDown(two, Completed)
			e.deregister(two)
			e.deregister(one)
		}, []Status{Waiting, Completed}},
		"neither worked": {func(e *Engine, one, two *run) {
			e.register(one)
			e.register(two)
			e.deregister(two)
			e.deregister(one)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e, k, next := overlapping(t)
			test.story(e, next(), next())
			if !slices.Equal(k.rested, test.want) || e.worksOn("demo-aaaa") {
				t.Errorf("rested as %v, want %v; still known: %t", k.rested, test.want, e.worksOn("demo-aaaa"))
			}
		})
	}
}

func TestARunBeginsWhenTheBodyHasRested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, k, next := overlapping(t)
		k.until = make(chan struct{})
		one, began := next(), make(chan struct{})
		e.register(one)
		go e.layDown(one, Waiting)
		synctest.Wait()
		go func() { e.register(next()); close(began) }()
		synctest.Wait()
		select {
		case <-began:
			t.Error("a run began while the body laid down what it keeps")
		default:
		}
		close(k.until)
		<-began
	})
}
