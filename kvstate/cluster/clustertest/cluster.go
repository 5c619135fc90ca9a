// Package clustertest runs NATS servers as processes of their own on loopback,
// for tests that kill them: the program of the test runs itself again as each
// server. A test that uses it calls [Main] first in TestMain.
package clustertest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options of a cluster. The zero value is useful.
type Options struct {
	Nodes   int    // 0: 3; 1 is a server that is alone
	MaxFile string // what each may store; empty: 8GB
	Durable bool   // every write is synced before it is acknowledged
	Config  string // more lines for the servers' configuration: accounts, authorization, limits
	URLs    string // user:password@ for the connections of this package; empty: none

	Who nats.Option // credentials for the connections of this package; nil: none
}

// Cluster is a number of servers. Its methods are for one goroutine.
type Cluster struct {
	tb    testing.TB
	opts  Options
	nodes []*node
}

// node is one server.
type node struct {
	config string // its configuration file
	port   int
	log    string

	mu    sync.Mutex
	cmd   *exec.Cmd
	alive io.Closer // the server ends when this does
	ended chan struct{}
}

// Start runs the servers and waits until they take streams with a copy on each.
// They end with the test.
func Start(tb testing.TB, opts Options) *Cluster {
	tb.Helper()
	if opts.Nodes == 0 {
		opts.Nodes = 3
	}
	c := &Cluster{tb: tb, opts: opts}
	dir := tb.TempDir()
	ports := freePorts(tb, 2*opts.Nodes)
	for i := range opts.Nodes {
		n := &node{config: filepath.Join(dir, fmt.Sprintf("node-%d.conf", i)), port: ports[i], log: filepath.Join(dir, fmt.Sprintf("node-%d.log", i))}
		if err := os.WriteFile(n.config, []byte(c.configuration(dir, i, ports)), 0o600); err != nil {
			tb.Fatal(err)
		}
		c.nodes = append(c.nodes, n)
	}
	tb.Cleanup(c.stop)
	for i := range c.nodes {
		c.Begin(i)
	}
	c.Ready()
	return c
}

func (c *Cluster) configuration(dir string, i int, ports []int) string {
	n := c.opts.Nodes
	sync := `"2m"`
	if c.opts.Durable {
		sync = "always"
	}
	text := fmt.Sprintf("server_name: node-%d\nlisten: \"127.0.0.1:%d\"\njetstream { store_dir: %q, sync_interval: %s, max_mem: 256MB, max_file: %s }\n%s\n",
		i, ports[i], filepath.Join(dir, fmt.Sprintf("store-%d", i)), sync, cmp.Or(c.opts.MaxFile, "8GB"), c.opts.Config)
	if n == 1 {
		return text
	}
	var routes []string
	for other := range n {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[n+other]))
	}
	// Without no_advertise a client that was given the way through a [Proxy] would
	// go past it.
	return text + fmt.Sprintf("cluster { name: test, listen: \"127.0.0.1:%d\", no_advertise: true, routes: [%s] }\n", ports[n+i], strings.Join(routes, ", "))
}

// freePorts returns ports that nobody listens at.
func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	var ports []int
	for range n {
		l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		defer func() { _ = l.Close() }() // all at once, so that none comes twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// URL names all servers.
func (c *Cluster) URL() string {
	var urls []string
	for i := range c.nodes {
		urls = append(urls, "nats://"+c.Addr(i))
	}
	return strings.Join(urls, ",")
}

// Addr is where server i listens.
func (c *Cluster) Addr(i int) string { return fmt.Sprintf("127.0.0.1:%d", c.nodes[i].port) }

// Connect connects to the servers. The connection ends with the test.
func (c *Cluster) Connect(options ...nats.Option) *nats.Conn {
	c.tb.Helper()
	urls := c.URL()
	if c.opts.URLs != "" {
		urls = strings.ReplaceAll(urls, "nats://", "nats://"+c.opts.URLs)
	}
	options = append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), c.opts.Who}, options...)
	for try := 0; ; try++ {
		nc, err := nats.Connect(urls, options...)
		if err == nil {
			c.tb.Cleanup(nc.Close)
			return nc
		}
		if try == 200 {
			c.fail("connect: %v", err)
		}
		wait(100 * time.Millisecond)
	}
}

// Ready waits until the servers take a stream with a copy on each.
func (c *Cluster) Ready() {
	c.tb.Helper()
	nc := c.Connect()
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		c.tb.Fatal(err)
	}
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "READY", Subjects: []string{"ready"}, Storage: jetstream.MemoryStorage, Replicas: c.opts.Nodes})
		if err == nil {
			err = js.DeleteStream(ctx, "READY")
		}
		cancel()
		if err == nil {
			return
		}
		if try == 150 {
			c.fail("the servers are not ready: %v", err)
		}
		wait(200 * time.Millisecond)
	}
}

// Leader returns the server that leads a stream, and waits for one to.
func (c *Cluster) Leader(stream string) int {
	c.tb.Helper()
	nc := c.Connect()
	defer nc.Close()
	var err error
	for range 100 {
		var answer *nats.Msg
		if answer, err = nc.Request("$JS.API.STREAM.INFO."+stream, nil, 2*time.Second); err == nil {
			var info struct {
				Cluster struct {
					Leader string `json:"leader"`
				} `json:"cluster"`
			}
			if err = json.Unmarshal(answer.Data, &info); err == nil && info.Cluster.Leader != "" {
				var i int
				if _, err = fmt.Sscanf(info.Cluster.Leader, "node-%d", &i); err == nil {
					return i
				}
			}
		}
		wait(100 * time.Millisecond)
	}
	c.fail("nobody leads %s: %v", stream, err)
	return 0
}

// fail ends the test.
func (c *Cluster) fail(format string, args ...any) {
	c.tb.Helper()
	c.tb.Fatalf(format, args...)
}

// logs shows what the servers wrote.
func (c *Cluster) logs() {
	for i, n := range c.nodes {
		if log, err := os.ReadFile(n.log); err == nil {
			c.tb.Logf("node %d:\n%s", i, log[max(0, len(log)-6000):])
		}
	}
}

// wait lets servers in other processes do something.
func wait(d time.Duration) { <-time.After(d) }
