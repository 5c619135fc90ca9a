package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamLeases = "KV_LOOPRUN"
	operation    = "KV-Operation"
	forgetAfter  = 10 * time.Minute // nobody has asked about a lease
)

func leaseSubject(name string) string { return "$KV.LOOPRUN." + name }

// sign is what this process has seen of another lease.
type sign struct {
	rev   uint64    // 0: the servers have none
	since time.Time // when rev was seen first
	asked time.Time // when somebody asked whether it lives
	dead  bool

	process bool // somebody asked for the process, which may have no lease
}

// Alive reports whether the holder of a lease may live. It answers from memory.
// What it says of a dead one is final; of one that has died it may say that it
// lives, for about [TTL], and for as long as this process has no lease itself.
func (m *Member) Alive(name string) bool { return m.alive(name, false) }

// ProcessAlive is [Member.Alive] for a process by its [Member.Runner], which lives
// as long as one of its leases. One that works on no loop has none: it is taken for
// dead after a minute, in which it has done what it may have had to do.
func (m *Member) ProcessAlive(runner string) bool { return m.alive(runner, true) }

func (m *Member) alive(name string, process bool) bool {
	l := &m.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if name == l.name && l.held != nil && l.held.Err() == nil {
		return true
	}
	if !possible(name) {
		return false
	}
	now := time.Now()
	s := l.others[name]
	if s == nil {
		s = &sign{since: now}
		l.others[name] = s
	}
	s.asked, s.process = now, s.process || process
	return !s.dead
}

// possible reports whether a lease can have that name: whether it can be the last
// token of a subject.
func possible(name string) bool {
	return name != "" && !strings.ContainsAny(name, " .*>\t\r\n")
}

// observe looks at all leases until ctx ends.
func (l *leases) observe(ctx context.Context) {
	for ctx.Err() == nil {
		if _, _, err := l.m.Lease(ctx); err != nil {
			return
		}
		l.look(ctx)
		sleep(ctx, renewEvery)
	}
}

// look reads all leases and buries those that gave no sign for too long.
func (l *leases) look(ctx context.Context) {
	all, err := l.m.all(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.m.log.Debug("the leases of other workers can't be read", "cause", err)
		}
		return
	}
	now := time.Now()
	silent := l.silent(all, now)
	l.see(all, now)
	for name, rev := range silent {
		err := l.m.bury(ctx, name, rev)
		if err == nil {
			l.m.log.Warn("a worker is gone; its loops are free", "worker", name)
			l.buried(name)
			continue
		}
		l.m.log.Debug("a silent worker is not gone, or somebody else said so", "worker", name, "cause", err)
	}
}

// silent takes in what was read and returns the leases to bury, with the
// revision that they have.
func (l *leases) silent(all map[string]found, now time.Time) map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, f := range all {
		s := l.others[name]
		if s == nil {
			s = &sign{asked: now}
			l.others[name] = s
		}
		if f.rev > s.rev { // else a replica is behind
			s.rev, s.since, s.dead = f.rev, now, f.over
		}
		if process, ok := holder(name); ok && l.others[process] != nil && !f.over && now.Sub(s.since) < TTL {
			l.others[process].since = now
		}
	}
	silent := map[string]uint64{}
	for name, s := range l.others {
		_, there := all[name]
		switch {
		case s.dead && there || name == l.name && l.held.Err() == nil:
		case s.dead: // for ever
		case now.Sub(s.asked) > forgetAfter && !there:
			delete(l.others, name)
		case now.Sub(s.since) >= s.patience():
			if !there {
				s.rev = 0 // the servers dropped it
			}
			silent[name] = s.rev
		}
	}
	return silent
}

// holder is the process of a lease; ok is false when name is that of a process.
func holder(name string) (process string, ok bool) {
	at := strings.LastIndexByte(name, '-')
	if at < 0 || !strings.Contains(name[:at], "-") {
		return "", false
	}
	return name[:at], true
}

// patience is how long there may be no sign.
func (s *sign) patience() time.Duration {
	if s.process {
		return keptFor
	}
	return TTL
}

func (l *leases) buried(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.others[name]; s != nil {
		s.dead = true
	}
}

// ensureLeases makes the stream of the leases if it is not there.
func (m *Member) ensureLeases(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := m.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: streamLeases, Description: "loops: workers that live", Subjects: []string{leaseSubject(">")},
		MaxMsgsPerSubject: 1, AllowMsgTTL: true, AllowRollup: true, AllowDirect: true, DenyDelete: true,
		Replicas: max(m.replicas, 1),
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		_, err = m.js.Stream(ctx, streamLeases) // made by another version or the operator
	}
	if err != nil {
		m.decided(began, err)
		return fmt.Errorf("make the stream %s: %w", streamLeases, m.explain(err))
	}
	return nil
}

// found is a lease on the servers.
type found struct {
	rev    uint64
	over   bool
	worker Worker
	at     time.Time // by the clock of the server that took it
}

// newest reads one lease from where writes are decided. value is nil when there
// is none.
func (m *Member) newest(ctx context.Context, name string) (rev uint64, value []byte, over bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, renewTry)
	defer cancel()
	request, _ := json.Marshal(map[string]string{"last_by_subj": leaseSubject(name)}) // texts: cannot fail
	answer, err := m.conn.RequestWithContext(ctx, apiPrefix+"STREAM.MSG.GET."+streamLeases, request)
	if err != nil {
		return 0, nil, false, err
	}
	var got struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
			Hdrs []byte `json:"hdrs"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return 0, nil, false, err
	}
	if got.Error != nil && got.Error.Code == 404 {
		return 0, nil, false, nil
	}
	if got.Error != nil {
		return 0, nil, false, got.Error
	}
	header, err := nats.DecodeHeadersMsg(got.Message.Hdrs)
	return got.Message.Seq, got.Message.Data, header.Get(operation) != "", err
}

const apiPrefix = "$JS.API."

// maxLeases bounds what is read at once.
const maxLeases = 10_000

// all reads all leases, from any replica.
func (m *Member) all(ctx context.Context) (map[string]found, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	inbox, err := m.conn.SubscribeSync(m.conn.NewInbox())
	if err != nil {
		return nil, err
	}
	defer inbox.Unsubscribe()
	request, _ := json.Marshal(map[string]any{"seq": 1, "next_by_subj": leaseSubject(">"), "batch": maxLeases}) // cannot fail
	if err := m.conn.PublishRequest(apiPrefix+"DIRECT.GET."+streamLeases, inbox.Subject, request); err != nil {
		return nil, err
	}
	all := map[string]found{}
	for {
		msg, err := inbox.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
		case "204", "404": // the end, or nothing at all
			return all, nil
		default:
			return nil, fmt.Errorf("the server answered %s %s", status, msg.Header.Get("Description"))
		}
		name, f, err := readLease(msg)
		if err != nil {
			return nil, err
		}
		all[name] = f
	}
}

func readLease(msg *nats.Msg) (string, found, error) {
	var f found
	name := strings.TrimPrefix(msg.Header.Get("Nats-Subject"), leaseSubject(""))
	_, err := fmt.Sscan(msg.Header.Get("Nats-Sequence"), &f.rev)
	if err == nil {
		f.at, err = time.Parse(time.RFC3339Nano, msg.Header.Get("Nats-Time-Stamp"))
	}
	if err != nil {
		return "", f, fmt.Errorf("the server's answer can't be read: %w", err)
	}
	f.over = msg.Header.Get(operation) != ""
	if !f.over && json.Unmarshal(msg.Data, &f.worker) != nil {
		f.worker = Worker{} // of another version; that it is there is what counts
	}
	f.worker.Name = name
	return name, f, nil
}

// see remembers whose leases are not over.
func (l *leases) see(all map[string]found, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.seenAt = nil, now
	for name, f := range all {
		if s := l.others[name]; !f.over && !s.dead && now.Sub(s.since) < TTL {
			f.worker.Silent = now.Sub(s.since)
			l.seen = append(l.seen, f.worker)
		}
	}
	sortWorkers(l.seen)
}

// Recent is [Member.Workers] as they were a few seconds ago at most, from memory
// if this process has looked since then.
func (m *Member) Recent(ctx context.Context) ([]Worker, error) {
	l := &m.leases
	l.mu.Lock()
	seen, fresh := slices.Clone(l.seen), time.Since(l.seenAt) < 2*renewEvery
	l.mu.Unlock()
	if fresh {
		return seen, nil
	}
	seen, err := m.Workers(ctx)
	if err == nil {
		l.mu.Lock()
		l.seen, l.seenAt = slices.Clone(seen), time.Now()
		l.mu.Unlock()
	}
	return seen, err
}

// Workers returns the processes that have a lease, the oldest first.
func (m *Member) Workers(ctx context.Context) ([]Worker, error) {
	stream, err := m.js.Stream(ctx, streamLeases)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, m.explain(err)
	}
	all, err := m.all(ctx)
	if err != nil {
		return nil, m.explain(err)
	}
	var workers []Worker
	for _, f := range all {
		f.worker.Silent = max(0, stream.CachedInfo().TimeStamp.Sub(f.at))
		if !f.over && f.worker.Silent < TTL {
			workers = append(workers, f.worker)
		}
	}
	sortWorkers(workers)
	return workers, nil
}

func sortWorkers(workers []Worker) {
	slices.SortFunc(workers, func(a, b Worker) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
}
