package kvstate_test

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// three starts three servers that form a cluster on this machine and sync before
// they acknowledge. connect returns a connection to one of them.
func three(b *testing.B) (connect func(n int) jetstream.JetStream) {
	b.Helper()
	var routes, urls []string
	for range 3 {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", freePort(b)))
	}
	for n := range 3 {
		o := &server.Options{
			ServerName: fmt.Sprint("n", n), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: filepath.Join(b.TempDir(), "store"), SyncAlways: true, MaxPayload: 8 << 20,
			Cluster: server.ClusterOpts{Name: "three", Host: "127.0.0.1", Port: portOf(routes[n])},
			Routes:  server.RoutesFromStr(routes[0] + "," + routes[1] + "," + routes[2]),
		}
		s := must[*server.Server](b)(server.NewServer(o))
		go s.Start()
		b.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(20 * time.Second) {
			b.Fatal("the server does not start")
		}
		urls = append(urls, s.ClientURL())
	}
	connect = func(n int) jetstream.JetStream {
		nc := must[*nats.Conn](b)(nats.Connect(urls[n%3]))
		b.Cleanup(nc.Close)
		return must[jetstream.JetStream](b)(jetstream.New(nc))
	}
	js := connect(0)
	for late := time.Now().Add(30 * time.Second); ; {
		_, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "elected", Subjects: []string{"elected"}, Replicas: 3})
		if err == nil {
			return connect
		}
		if time.Now().After(late) {
			b.Fatalf("the servers elect no leader: %v", err)
		}
	}
}

func freePort(b *testing.B) int {
	l := must[net.Listener](b)(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func portOf(route string) (port int) {
	_, _ = fmt.Sscanf(route, "nats://127.0.0.1:%d", &port)
	return port
}
