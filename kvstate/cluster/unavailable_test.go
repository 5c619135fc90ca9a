package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"

	"example.com/loop-mcp/kvstate/cluster"
)

// TestACommandInTheMomentServersChooseALeaderWaits: they are asked again while
// they say that they are unavailable, and their next answer counts. A server
// without JetStream leaves the answers to the test.
func TestACommandInTheMomentServersChooseALeaderWaits(t *testing.T) {
	ats.Register() // outside the bubble: else its clock never moves
	defer ats.Unregister()
	synctest.Test(t, func(t *testing.T) {
		srv := must[*server.Server](t)(server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true}))
		srv.Start()
		defer srv.WaitForShutdown()
		defer srv.Shutdown()
		if !srv.ReadyForConnections(10 * time.Second) {
			t.Fatal("the server does not start")
		}
		asked := 0
		fake := must[*nats.Conn](t)(nats.Connect("", nats.InProcessServer(srv)))
		defer fake.Close()
		_ = must[*nats.Subscription](t)(fake.Subscribe("$JS.API.INFO", func(m *nats.Msg) {
			asked++
			code := 10008
			if asked > 5 {
				code = 10039
			}
			_ = m.Respond(fmt.Appendf(nil, `{"type":"io.nats.jetstream.api.v1.account_info_response","error":{"code":503,"err_code":%d,"description":"from the test"}}`, code))
		}))
		_, err := cluster.ConnectWith(t.Context(), cluster.Options{URL: "nats://anything:4222"}, nats.InProcessServer(srv))
		if err == nil || !strings.Contains(err.Error(), "the account has no JetStream") || asked != 6 {
			t.Errorf("after %d questions: %v", asked, err)
		}
	})
}
