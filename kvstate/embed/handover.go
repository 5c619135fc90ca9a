package embed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// handoverSubject, wish and promise are what versions of every protocol
// understand: how a process asks the host to let another one host.
const handoverSubject = "loop.host.stepdown"

// wish is a request to the host.
type wish struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
	PID      int    `json:"pid"`
	Runner   string `json:"runner,omitempty"` // who wants to host; empty: anybody but the host
}

// promise is the host's answer. No other process answers.
type promise struct {
	Problem string `json:"problem,omitempty"` // why it does not hand over; empty: it does
}

const (
	holdBack     = 2 * time.Second       // for which a process leaves hosting to whoever was promised it
	askPatience  = 2 * time.Second       // for the host's answer
	answerTime   = 10 * time.Millisecond // for the answer to arrive before the server ends
	handPatience = 5 * time.Second       // for the next host
)

// ReplacedError says that a newer program hosts a store, which this one can't use
// any more.
type ReplacedError struct {
	Dir           string
	PID           int
	Version, Mine string // of the programs
	Protocol      int    // of the newer one
	Own           int    // protocol of this one
}

// Error names both versions and says what to do.
func (e *ReplacedError) Error() string {
	return fmt.Sprintf("a newer loop-mcp hosts the loops in %s (process %d, version %s, protocol %d; this one has version %s, protocol %d): restart this client, with the newer program",
		e.Dir, e.PID, e.Version, e.Protocol, e.Mine, e.Own)
}

// asked is called when somebody wants another process to host. All members hear
// it; the host answers.
func (m *Member) asked(msg *nats.Msg) {
	var w wish
	if json.Unmarshal(msg.Data, &w) != nil || w.Runner == m.runner.name {
		return
	}
	m.mu.Lock()
	hosts := m.host != nil && !m.closed
	if !hosts && w.Runner != "" && m.older(w) {
		m.restful = time.Now().Add(holdBack)
	}
	m.mu.Unlock()
	if !hosts {
		return
	}
	var p promise
	if err := m.mayHandOver(w); err != nil {
		p.Problem = err.Error()
	}
	data, _ := json.Marshal(p) // a text: cannot fail
	if err := errors.Join(msg.Respond(data), m.conn.FlushTimeout(askPatience)); err != nil {
		m.log.Debugf("the answer to who wants to host was not sent: %v", err)
	}
	if p.Problem == "" {
		m.log.Warnf("process %d (version %s) asked this process to hand over the store", w.PID, w.Version)
		timer := time.NewTimer(answerTime)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-m.ctx.Done():
		}
		m.handOver()
	}
}

// older reports whether this process leaves hosting to whoever wishes it.
func (m *Member) older(w wish) bool {
	if w.Protocol != m.opts.protocol {
		return w.Protocol > m.opts.protocol
	}
	return olderVersion(m.opts.Version, w.Version)
}

// mayHandOver says why this host stays.
func (m *Member) mayHandOver(w wish) error {
	if w.Runner != "" {
		if !m.older(w) {
			return fmt.Errorf("version %s is not newer than version %s, which hosts", w.Version, m.opts.Version)
		}
		return nil
	}
	peers, err := m.Peers()
	if err != nil {
		return err
	}
	for _, p := range peers {
		if p.Runner != m.runner.name {
			return nil
		}
	}
	return errors.New("it is the only one that has them open, so there is nobody to hand over to; to close the store, end it")
}

// handOver ends the server, lets go of the lock and leaves it to others for a
// while. The connection goes on with the next host.
func (m *Member) handOver() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.host == nil {
		return
	}
	host := m.host
	m.host, m.restful = nil, time.Now().Add(holdBack)
	if err := host.Close(); err != nil {
		m.log.Errorf("handing over the store: %v", err)
	}
}

// takeOver asks an older host to hand over, once for each: one that comes back
// because this process can't host is left in peace.
func (m *Member) takeOver() {
	m.mu.Lock()
	e, ok := readEndpoint(m.opts.Dir)
	ask := ok && m.host == nil && !m.closed && e.Protocol == m.opts.protocol && olderVersion(e.Version, m.opts.Version)
	if _, known := m.asks[e.Runner]; ask && known {
		ask = false
	} else if ask {
		m.asks[e.Runner] = time.Now()
	}
	m.mu.Unlock()
	if !ask {
		return
	}
	if err := m.ask(m.ctx, m.conn); err != nil {
		m.log.Warnf("process %d (version %s) goes on hosting the store: %v", e.PID, e.Version, err)
		return
	}
	ctx, cancel := context.WithTimeout(m.ctx, holdBack)
	defer cancel()
	until(ctx, func() bool { return m.Hosts() && m.conn.IsConnected() })
}

// ask sends a wish to host and returns nil when that was promised.
func (m *Member) ask(ctx context.Context, conn *nats.Conn) error {
	return request(ctx, conn, wish{Protocol: m.opts.protocol, Version: m.opts.Version, PID: os.Getpid(), Runner: m.runner.name})
}

func request(ctx context.Context, conn *nats.Conn, w wish) error {
	data, _ := json.Marshal(w) // numbers and texts: cannot fail
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	answer, err := conn.RequestWithContext(ctx, handoverSubject, data)
	if errors.Is(err, nats.ErrNoResponders) {
		return errors.New("it is of a version that can't hand over: end it, and another process takes over")
	}
	if err != nil {
		return fmt.Errorf("it did not answer: %w", err)
	}
	var p promise
	if err := json.Unmarshal(answer.Data, &p); err != nil {
		return fmt.Errorf("its answer can't be read: %w", err)
	}
	if p.Problem != "" {
		return errors.New(p.Problem)
	}
	return nil
}

// displace asks a host of an older protocol to hand over. mu is held.
func (m *Member) displace(e endpoint) error {
	incompatible := &IncompatibleError{Dir: m.opts.Dir, PID: e.PID, Version: e.Version, Mine: m.opts.Version, Protocol: e.Protocol, Own: m.opts.protocol}
	soon := m.notYet(errors.New("an older program is about to hand over the store"))
	if promised, known := m.asks[e.Runner]; known && time.Since(promised) < handPatience {
		return soon
	} else if known || e.Alone || e.Address == "" {
		return incompatible
	}
	m.asks[e.Runner] = time.Time{}
	conn, err := dialFor(e)
	if err == nil {
		defer conn.Close()
		err = m.ask(m.ctx, conn)
	}
	if err != nil && (conn == nil || conn.IsConnected()) { // else its answer may have been lost when it ended its server
		m.log.Warnf("process %d, of an older protocol, goes on hosting the store: %v", e.PID, err)
		return incompatible
	}
	m.asks[e.Runner] = time.Now()
	return soon
}

// replacedBy gives the store up to a newer program: no request can work any more.
// mu is held.
func (m *Member) replacedBy(e endpoint) error {
	err := &ReplacedError{Dir: m.opts.Dir, PID: e.PID, Version: e.Version, Mine: m.opts.Version, Protocol: e.Protocol, Own: m.opts.protocol}
	m.end(err)
	return err
}

// Replaced returns a channel that closes when this process has given the store up:
// a newer program has taken it over, with another protocol, or its folder is gone.
// [Member.Trouble] says which then, a [*ReplacedError] or a [*DiskError]; nothing
// but Close works any more.
func (m *Member) Replaced() <-chan struct{} { return m.over }

// dialFor connects to a host without taking part.
func dialFor(e endpoint) (*nats.Conn, error) {
	return nats.Connect(storeURL, nats.SetCustomDialer(fixed(e)), nats.SkipHostLookup(), nats.Token(e.Token), nats.Name("loop-mcp"),
		nats.Timeout(dialTimeout), nats.NoReconnect(), nats.IgnoreDiscoveredServers(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// fixed dials one host only.
type fixed endpoint

// Dial implements [nats.CustomDialer].
func (f fixed) Dial(string, string) (net.Conn, error) { return dialHost(endpoint(f)) }

// SkipTLSHandshake tells the client that connections never leave the machine.
func (fixed) SkipTLSHandshake() bool { return true }

// StepDown asks the host of the store in a directory to let another process
// host, and returns who does then. An error says why that has not happened; when
// no other process has the store open the host goes on. It takes no part.
func StepDown(ctx context.Context, dir, version string) (Hosting, error) {
	e, ok := readEndpoint(dir)
	if !ok || !lives(e.PID) || e.Address == "" {
		return Hosting{}, fmt.Errorf("no process hosts the loops in %s", dir)
	}
	stopped := &InUseError{Dir: dir, PID: e.PID, Command: e.Command, Since: e.Started, Silent: true, Suspended: suspended(e.PID)}
	if stopped.Suspended {
		return Hosting{}, stopped
	}
	stays := func(err error) (Hosting, error) {
		return Hosting{}, fmt.Errorf("process %d goes on hosting the loops in %s: %w", e.PID, dir, err)
	}
	conn, err := dialFor(e)
	if err != nil {
		return Hosting{}, fmt.Errorf("%w (%w)", stopped, err)
	}
	defer conn.Close()
	err = request(ctx, conn, wish{Protocol: Protocol, Version: version, PID: os.Getpid()})
	if err != nil && conn.IsConnected() {
		return stays(err)
	} // else its answer may have been lost when it ended its server
	ctx, cancel := context.WithTimeout(ctx, handPatience)
	defer cancel()
	var next Hosting
	until(ctx, func() bool {
		now, ok := readEndpoint(dir)
		if !ok || now.Address == "" || now.Address == e.Address {
			return false
		}
		next, ok = Look(dir)
		return ok && next.Answers
	})
	if !next.Answers {
		return Hosting{}, fmt.Errorf("process %d was asked to hand over the loops in %s, and no process hosts them after %s", e.PID, dir, handPatience)
	}
	return next, nil
}

// until waits for something to be so, or for the end of ctx.
func until(ctx context.Context, so func() bool) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// olderVersion reports whether release a came before release b. What is no plain
// release, such as a build from a working folder, is neither older nor newer
// than anything, so that two of them never take the store from each other.
func olderVersion(a, b string) bool {
	x, ok := release(a)
	y, also := release(b)
	if !ok || !also {
		return false
	}
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

// release reads a version such as v1.2.3.
func release(version string) (numbers [3]int, ok bool) {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) != len(numbers) {
		return numbers, false
	}
	for i, part := range parts {
		if part == "" || len(part) > 9 {
			return numbers, false
		}
		for _, c := range []byte(part) {
			if c < '0' || c > '9' {
				return numbers, false
			}
			numbers[i] = numbers[i]*10 + int(c-'0')
		}
	}
	return numbers, true
}
