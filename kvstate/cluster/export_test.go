package cluster

import (
	"context"

	"github.com/nats-io/nats.go"
)

// ConnectWith is [Connect] with options of the client.
func ConnectWith(ctx context.Context, opts Options, more ...nats.Option) (*Member, error) {
	return connect(ctx, opts, more...)
}

// Bury declares the holder of a lease dead, if it has not renewed it since.
func (m *Member) Bury(ctx context.Context, name string) error {
	rev, _, _, err := m.newest(ctx, name)
	if err != nil {
		return err
	}
	return m.bury(ctx, name, rev)
}

// Drop ends the connection and nothing else, as a kill does.
func (m *Member) Drop() { m.conn.Close() }

// BuryAt declares the holder dead if rev is its newest revision.
func (m *Member) BuryAt(ctx context.Context, name string, rev uint64) error {
	return m.bury(ctx, name, rev)
}

// Denied returns what the servers last did not allow.
func (m *Member) Denied() error {
	m.trouble.mu.Lock()
	defer m.trouble.mu.Unlock()
	return m.trouble.denied
}
