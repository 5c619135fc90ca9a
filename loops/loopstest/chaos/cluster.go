package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"example.com/loop-mcp/kvstate/cluster/clustertest"
	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// longest is longer than a lease: after it others may have taken the loops.
const longest = 17 * time.Second

// nodes are NATS servers, each a process, and ways to them that can be cut.
type nodes struct {
	bench   *bench
	cluster *clustertest.Cluster
	nc      *nats.Conn
	ways    []*clustertest.Proxy
}

// startNodes starts three servers and makes them the store of the run.
func (w *world) startNodes(ctx context.Context) error {
	n := &nodes{bench: &bench{ctx: ctx, dir: w.dir}}
	w.nodes = n
	return guarded(func() {
		n.cluster = clustertest.Start(n.bench, clustertest.Options{})
		n.nc = n.cluster.Connect()
		for i := range n.cluster.Nodes() {
			n.ways = append(n.ways, clustertest.NewProxy(n.bench, n.cluster.Addr(i)))
		}
		w.opts.Config += fmt.Sprintf("\nnats: {url: %q, replicas: 3}", n.cluster.URL())
	})
}

// byWays is the cluster, through the ways that can be cut.
func (n *nodes) byWays() string {
	var urls []string
	for _, way := range n.ways {
		urls = append(urls, way.URL())
	}
	return strings.Join(urls, ",")
}

// clusterSlots are MCP servers, and workers of which the first is reached by ways
// that can be cut.
func (w *world) clusterSlots() {
	for range w.opts.Servers {
		w.slots = append(w.slots, &slot{w: w})
	}
	for n := range w.opts.Workers {
		s := &slot{w: w, worker: true}
		if n == 0 {
			s.env = []string{"LOOP_MCP_NATS_URL=" + w.nodes.byWays()}
		}
		w.slots = append(w.slots, s)
	}
}

// clusterFaults hit nodes, processes and the ways between them, all at the same
// time, until enough were killed.
func (w *world) clusterFaults(ctx context.Context) error {
	var (
		parties sync.WaitGroup
		errs    [3]error
	)
	parties.Go(func() { errs[0] = w.nodeFaults(ctx) })
	parties.Go(func() { errs[1] = w.processFaults(ctx) })
	parties.Go(func() { errs[2] = w.leaseFaults(ctx) })
	parties.Wait()
	return errors.Join(errs[:]...)
}

func (w *world) enough() bool { return int(w.kills.Load()) >= w.opts.Kills }

// nodeFaults kill one node after the other. The next one is killed when the one
// before has caught up, so that there is always a majority that has everything.
func (w *world) nodeFaults(ctx context.Context) error {
	random := w.random(1<<32 + 3)
	for !w.enough() && pause(ctx, time.Duration(random.ExpFloat64()*float64(w.opts.Gap))) {
		at, lead, rest := random.IntN(w.nodes.cluster.Nodes()), random.IntN(2) == 0, time.Duration(random.IntN(3000))*time.Millisecond
		if random.IntN(4) == 0 {
			rest += 10 * time.Second
		}
		err := guarded(func() {
			if lead {
				at = w.nodes.cluster.Leader("KV_LOOPS")
			}
			pid, asked := w.nodes.cluster.PID(at), time.Now().UnixNano()
			w.nodes.cluster.Kill(at)
			w.kills.Add(1)
			w.history.add(audit.Told{Op: audit.OpNode, PID: pid, Asked: asked, Label: fmt.Sprintf("node-%d", at)})
			pause(ctx, rest)
			w.nodes.cluster.Begin(at)
			w.nodes.cluster.Ready()
		})
		if err == nil {
			err = w.nodes.whole(ctx)
		}
		if err != nil {
			return fmt.Errorf("node %d: %w", at, err)
		}
	}
	return nil
}

// whole waits until each copy of each stream is up to date.
func (n *nodes) whole(ctx context.Context) error {
	end, err := time.Now().Add(2*time.Minute), error(nil)
	for time.Now().Before(end) {
		if err = n.current(); err == nil {
			return nil
		}
		if !pause(ctx, 200*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	return err
}

// current says which copy of a stream is not up to date.
func (n *nodes) current() error {
	answer, err := n.nc.Request("$JS.API.STREAM.LIST", nil, 2*time.Second)
	if err != nil {
		return fmt.Errorf("list the streams: %w", err)
	}
	var list struct {
		Missing []string `json:"missing"`
		Streams []struct {
			Config struct {
				Name     string `json:"name"`
				Replicas int    `json:"num_replicas"`
			} `json:"config"`
			Cluster struct {
				Leader   string `json:"leader"`
				Replicas []struct {
					Name    string `json:"name"`
					Current bool   `json:"current"`
					Offline bool   `json:"offline"`
				} `json:"replicas"`
			} `json:"cluster"`
		} `json:"streams"`
	}
	if err := json.Unmarshal(answer.Data, &list); err != nil {
		return err
	}
	if len(list.Missing) > 0 {
		return fmt.Errorf("nobody answers for %v", list.Missing)
	}
	for _, s := range list.Streams {
		if s.Cluster.Leader == "" {
			return fmt.Errorf("nobody leads %s", s.Config.Name)
		}
		for _, r := range s.Cluster.Replicas {
			if r.Offline || !r.Current {
				return fmt.Errorf("%s is behind with %s", r.Name, s.Config.Name)
			}
		}
	}
	return nil
}

// processFaults kill servers and workers that run bodies, and start them again.
func (w *world) processFaults(ctx context.Context) error {
	random := w.random(1 << 32)
	for pause(ctx, time.Duration(random.ExpFloat64()*float64(w.opts.Gap))) && !w.enough() {
		rest, orderly := time.Duration(random.IntN(2000))*time.Millisecond, random.IntN(10) == 0
		s := w.victim(ctx, random)
		if s == nil {
			continue
		}
		err := w.alone(s)
		if err == nil && orderly {
			err = w.end(s.take())
		} else if err == nil {
			w.kill(s)
		}
		if err == nil {
			pause(ctx, rest)
			err = s.start(ctx)
		}
		s.busy.Store(false)
		if err != nil {
			return err
		}
		if n := w.kills.Load(); n%10 == 0 {
			w.opts.Log("%d kills, %d loops started, %d settled", n, w.started.Load(), w.settled.Load())
		}
	}
	return nil
}

// victim is a process that runs a body and that nobody else works on, marked as
// busy. nil: there was none for a while.
func (w *world) victim(ctx context.Context, random *rand.Rand) *slot {
	for range 200 {
		s := w.slots[random.IntN(len(w.slots))]
		if srv := s.get(); srv != nil && bodiesBelow(srv.pid()) > 0 && s.busy.CompareAndSwap(false, true) {
			return s
		}
		if !pause(ctx, 25*time.Millisecond) {
			return nil
		}
	}
	return nil
}

// alone says that a process ended that nobody had ended.
func (w *world) alone(s *slot) error {
	srv := s.get()
	select {
	case <-srv.gone:
		return fmt.Errorf("process %d ended by itself; see %s", srv.pid(), w.dir+"/logs")
	default:
		return nil
	}
}

// leaseFaults take the lease from a worker that lives: it is stopped, or cut off,
// for longer than others wait for a sign.
func (w *world) leaseFaults(ctx context.Context) error {
	random := w.random(1<<32 + 4)
	for n := random.IntN(2); pause(ctx, time.Duration(random.ExpFloat64()*2*float64(w.opts.Gap))) && !w.enough(); n++ {
		first := w.opts.Servers
		at := first + 1 + random.IntN(w.opts.Workers-1)
		if n%2 == 0 {
			at = first
		}
		d := longest + time.Duration(random.IntN(8000))*time.Millisecond
		s := w.slots[at]
		for !s.busy.CompareAndSwap(false, true) {
			if !pause(ctx, 50*time.Millisecond) {
				return nil
			}
		}
		srv := s.get()
		if at == first {
			w.cut(ctx, srv, d)
		} else {
			w.stop(ctx, srv, d)
		}
		err := w.alone(s)
		s.busy.Store(false)
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *world) cut(ctx context.Context, srv *server, d time.Duration) {
	t := audit.Told{Op: audit.OpCut, PID: srv.pid(), Asked: time.Now().UnixNano()}
	for _, way := range w.nodes.ways {
		way.Cut()
	}
	pause(ctx, d)
	for _, way := range w.nodes.ways {
		way.Heal()
	}
	w.history.add(t)
}

func (w *world) stop(ctx context.Context, srv *server, d time.Duration) {
	t := audit.Told{Op: audit.OpStop, PID: srv.pid(), Asked: time.Now().UnixNano()}
	_ = srv.cmd.Process.Signal(syscall.SIGSTOP)
	pause(ctx, d)
	t.At = time.Now().UnixNano()
	_ = srv.cmd.Process.Signal(syscall.SIGCONT)
	w.history.add(t)
}

// lists asks the command line for all loops from time to time.
func (w *world) lists(ctx context.Context) {
	for pause(ctx, 3*time.Second) {
		select {
		case <-w.done:
			return
		default:
		}
		w.list(ctx)
	}
}

// audited audits the run with the store as the servers show it, and stops them.
func (w *world) audited(ctx context.Context) (audit.Report, error) {
	if w.nodes == nil {
		return audit.Folder(ctx, w.dir, audit.Options{})
	}
	defer w.nodes.bench.end()
	if err := w.nodes.whole(ctx); err != nil {
		return audit.Report{}, err
	}
	names := []string{"node-0", "node-1", "node-2"}
	return audit.Servers(ctx, w.dir, w.nodes.cluster.URL(), names, audit.Options{Leases: true})
}

// clustered fills in what is left open for a run on a cluster.
func (o *Options) clustered() {
	if o.Servers == 0 {
		o.Servers = 2
	}
	if o.Workers == 0 {
		o.Workers = 3
	}
	if o.Gap == 0 {
		o.Gap = 4 * time.Second
	}
}
