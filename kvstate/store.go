package kvstate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/mark"
	"example.com/loop-mcp/loops"
)

var (
	_ loops.Store     = (*Store)(nil)
	_ loops.Leased    = (*Store)(nil)
	_ loops.Counter   = (*Store)(nil)
	_ loops.Ordered   = (*Store)(nil)
	_ loops.Recaller  = (*Store)(nil)
	_ loops.Committer = (*Store)(nil)
)

// DefaultRetention is how long a settled loop is kept unless Options say
// otherwise.
const DefaultRetention = 30 * 24 * time.Hour

// Options of a store. The zero value is useful.
type Options struct {
	Runner    string                  // name of this process in claims; empty: a random one
	Alive     func(owner string) bool // whether another process with that name lives; nil: none does, which is right for a process that has the store alone
	Trouble   func() error            // why the store can't be reached now, for errors; nil: nobody knows
	Disk      Disk                    // what the server writes to, when it is on this machine; nil: not known
	Recheck   time.Duration           // how often Alive is asked again about owners of loops that want a worker; 0: 300 ms
	Retention time.Duration           // how long settled loops are kept; at least a minute; 0: DefaultRetention; negative: for ever
	Sweep     time.Duration           // how often what gone loops left behind is removed; 0: hourly
	Replicas  int                     // copies of each record in a cluster; 0: 1
	Group     bool                    // commits that wait are sent together: for one server that syncs each message before it acknowledges it; else many go at once, each on its own
	Mark      string                  // folder beside the store for its high-water mark; for a store of this machine alone; empty: none
	ReadOnly  bool                    // for looking only: nothing that gone loops left behind is removed, no mark is begun
	Logger    *slog.Logger            // nil: discards

	// Loading is called before the heads are read, with the number of messages of
	// which they are a part, and what it returns when they have been; nil: nothing is.
	Loading func(messages uint64) (loaded func())

	// Rush is called when many loops begin to commit at once, and what it returns
	// when they no longer do; nil: nothing is.
	Rush func() (over func())

	// Try writes something that means nothing to the servers, which shows whether they
	// have room; nil: only what they refuse of this store's own shows that. It is asked
	// for by [Store.Trouble] alone.
	Try func(context.Context) error

	// Lease says under which name this process may claim loops, and until when;
	// nil: Runner, for ever. See [loops.Leased].
	Lease func(context.Context) (owner string, held context.Context, err error)
}

// Store keeps loops in JetStream. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	nc     *nats.Conn
	prefix string // of the JetStream API

	replicated bool // several servers have each record

	opts      Options
	log       *slog.Logger
	seed      maphash.Seed
	blobs     blobs
	kept      stream // small blobs
	request   stream
	records   stream        // of Update
	updates   chan struct{} // full while an Update is under way
	liveLog   stream
	live      speakers
	origins   originCache
	journals  journals
	line      line
	posts     posts
	leftovers leftovers
	rush      rush
	refusal   refusal
	swept     chan struct{} // closed when what earlier processes left behind has been removed
	turns     chan struct{} // full while as many other messages are under way as there may be
	boxes     chan *box     // those that are free; nil: the client library waits for answers

	projection projection
	latest     latest
	marks      *mark.File // nil: none are kept

	ctx    context.Context // ends when the store is closed
	cancel context.CancelFunc
	tasks  sync.WaitGroup // of this store

	mu     sync.Mutex
	calls  sync.WaitGroup // of its users
	closed bool
}

// How many commits wait for the server at once. One that syncs acknowledges what it
// took together when the last of it is synced, so that loops side by side would all
// wait for each other, over and over again. One that does not sync takes what comes
// together with fewer changes between goroutines. Several servers together sync what
// they take at once in one go.
const (
	maxUnderWay         = 2
	maxUnderWayUnsynced = 64
	maxUnderWayCluster  = 512
)

// underWay returns how many commits go at once, and how many other messages.
func (o *Options) underWay() (commits, others int) {
	switch {
	case o.Replicas > 1:
		return maxUnderWayCluster, maxUnderWayCluster
	case o.Group:
		return maxUnderWay, maxUnderWay
	}
	return maxUnderWayUnsynced, maxUnderWay
}

// Open opens the store on js, creates what is missing there and reads the heads
// of all loops. ctx bounds Open alone. opts may be nil. A damaged loop does not
// keep Open from working. The caller closes the store, then the connection.
func Open(ctx context.Context, js jetstream.JetStream, opts *Options) (*Store, error) {
	s := &Store{js: js, nc: js.Conn(), prefix: apiPrefix(js), seed: maphash.MakeSeed(), updates: make(chan struct{}, 1)}
	if opts != nil {
		s.opts = *opts
	}
	s.defaults()
	s.request = stream{js: js, config: s.requestsConfig()}
	s.records = stream{js: js, config: s.recordsConfig()}
	s.kept = stream{js: js, config: s.keptConfig()}
	s.liveLog = stream{js: js, config: s.liveConfig()}
	s.live = speakers{all: map[loops.ID]*speaker{}, wake: make(chan struct{}, 1)}
	s.blobs.stream, s.blobs.js = stream{js: js, config: s.blobsConfig()}, js
	s.projection = projection{
		entries: map[loops.ID]*entry{},
		ready: queue{
			alive: s.alive, waiting: map[loops.ID]want{}, claimed: map[loops.ID]*entry{}, handed: map[loops.ID]uint64{},
		},
		watch: watchers{all: map[*watcher]bool{}, one: map[loops.ID]map[*watcher]bool{}},
	}
	most, others := s.opts.underWay()
	s.posts.most, s.turns = most, make(chan struct{}, others)
	s.latest.turn = make(chan struct{}, 1)
	s.line.renew()
	s.rush.begin = s.opts.Rush
	s.leftovers.wake, s.swept = make(chan struct{}, 1), make(chan struct{})
	heads := stream{js: js, config: s.loopsConfig()}
	for _, one := range []*stream{&s.request, &s.records, &s.kept, &s.blobs.stream, &heads} {
		one.store = s
	}
	s.blobs.publish, s.blobs.batch, s.blobs.direct = s.insist, s.batch, s.direct
	if err := s.openMarks(); err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	marks := s.marks.All() // before the store is read: it is as new as these or newer
	if err := heads.ensure(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store: %w", err), s.marks.Close())
	}
	if s.replicated = heads.found.Replicas > 1; s.replicated {
		s.blobs.doubt = triesOften / 2
	}
	if !s.replicated {
		s.rush.begin = s.hurry
	}
	s.allowGroups(ctx, &heads)
	if err := errors.Join(s.makeAll(ctx), s.openBoxes()); err != nil {
		s.closeBoxes()
		return nil, errors.Join(fmt.Errorf("open the store: %w", err), s.marks.Close())
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if s.opts.Loading != nil {
		defer s.opts.Loading(heads.size)()
	}
	changes := s.nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	s.tasks.Go(func() { s.watchLine(s.ctx, changes) })
	s.tasks.Go(func() { s.follow(s.ctx) })
	// gofail: var beforeCatchUp struct{}
	err := s.catchUp(ctx)
	if err == nil {
		// A snapshot that was written meanwhile may have taken away the record of its
		// loop before it was read, and comes after the others.
		err = s.catchUp(ctx)
	}
	// gofail: var afterCatchUp struct{}
	if err == nil {
		err = s.compare(ctx, marks)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the store: %w", err), s.Close())
	}
	if s.opts.Alive != nil {
		s.tasks.Go(func() { s.every(s.opts.Recheck, s.projection.recheck) })
	}
	if !s.opts.ReadOnly {
		s.tasks.Go(s.keepClean)
		s.tasks.Go(s.tidy)
	}
	s.tasks.Go(s.speak)
	return s, nil
}

// makeAll makes the other streams now, in a cluster: what an account does not
// allow is noticed at once, and not with the first large output, and servers that
// have just lost one of them are asked for no new stream.
func (s *Store) makeAll(ctx context.Context) error {
	if s.opts.Replicas <= 1 || s.opts.ReadOnly {
		return nil
	}
	for _, one := range []*stream{&s.request, &s.records, &s.kept, &s.blobs.stream} {
		if err := one.ensure(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) defaults() {
	o := &s.opts
	if o.Runner == "" {
		o.Runner = "run-" + strings.ToLower(rand.Text()[:8])
	}
	if o.Recheck <= 0 {
		o.Recheck = 300 * time.Millisecond
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.Retention > 0 {
		o.Retention = max(o.Retention, markerTTL)
	}
	if o.Sweep <= 0 {
		o.Sweep = time.Hour
	}
	if s.log = o.Logger; s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
}

// alive reports whether the process with the name owner has its claims.
func (s *Store) alive(owner string) bool {
	return owner == s.opts.Runner || s.opts.Alive != nil && s.opts.Alive(owner)
}

// Alive implements [loops.Aliver].
func (s *Store) Alive(owner string) bool { return s.alive(owner) }

// Runner implements [loops.Store].
func (s *Store) Runner() string { return s.opts.Runner }

// Lease implements [loops.Leased].
func (s *Store) Lease(ctx context.Context) (owner string, held context.Context, err error) {
	if s.opts.Lease == nil {
		return s.opts.Runner, context.Background(), nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	owner, held, err = s.opts.Lease(ctx)
	if err != nil && s.ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", loops.ErrClosed, err)
	}
	return owner, held, err
}

// Close ends every wait, lets calls that are under way finish and returns when
// nothing of the store runs any more. What was acknowledged is stored already.
// A second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.projection.close()
	s.cancel()
	s.calls.Wait()
	s.posts.batches.Wait()
	s.tasks.Wait()
	s.rush.end()
	s.closeBoxes()
	return s.marks.Close()
}

// begin counts a call that Close waits for; the caller calls end.
func (s *Store) begin(ctx context.Context) (end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed { // asked first: the end of the store ends contexts, too
		return nil, loops.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.calls.Add(1)
	return s.calls.Done, nil
}

// every calls do at intervals until the store is closed.
func (s *Store) every(interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}
