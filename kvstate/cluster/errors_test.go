package cluster_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/kvstate/cluster/clustertest"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// accounts of a server whose limits are each too small in another way. "loops" may
// do what docs/cluster.md says and nothing else.
const accounts = `
accounts {
  WHOLE: { jetstream: enabled, users: [
    {user: whole, password: x},
    {user: loops, password: x, permissions: {publish: [PUBLISH], subscribe: [SUBSCRIBE]}},
    {user: nothing, password: x, permissions: {publish: ["a"], subscribe: ["_INBOX.>"]}},
    {user: noheads, password: x, permissions: {publish: {allow: ">", deny: "$KV.LOOPS.>"}}},
    {user: nostream, password: x, permissions: {publish: {allow: ">", deny: "$JS.API.STREAM.CREATE.>"}}} ] }
  NONE: { users: [{user: none, password: x}] }
  STREAMS: { jetstream: {max_streams: 1}, users: [{user: streams, password: x}] }
  CONSUMERS: { jetstream: {max_consumers: 1}, users: [{user: consumers, password: x}] }
  DISK: { jetstream: {max_file: 64KB}, users: [{user: disk, password: x}] }
  BYTES: { jetstream: {max_bytes_required: true}, users: [{user: bytes, password: x}] }
}
`

// permissions are the subjects of docs/cluster.md.
func permissions(t *testing.T, list string) string {
	t.Helper()
	text := string(must[[]byte](t)(os.ReadFile(filepath.Join("..", "..", "docs", "cluster.md"))))
	_, text, found := strings.Cut(text, list+": [")
	text, _, end := strings.Cut(text, "]")
	if !found || !end {
		t.Fatalf("docs/cluster.md has no list %s", list)
	}
	return text
}

// TestServersThatRefuseSayWhatToDo: one sentence each.
func TestServersThatRefuseSayWhatToDo(t *testing.T) {
	config := strings.NewReplacer("PUBLISH", permissions(t, "publish"), "SUBSCRIBE", permissions(t, "subscribe")).Replace(accounts)
	c := clustertest.Start(t, clustertest.Options{Nodes: 1, Config: config, URLs: "whole:x@"})
	tests := []struct {
		user     string
		replicas int
		want     string
	}{
		{"nobody", 0, "refuses this user: check nats.creds_file, or user and password in nats.url"},
		{"none", 0, "the account has no JetStream"},
		{"nothing", 0, "give it the permissions of docs/cluster.md"},
		{"noheads", 0, "give it the permissions of docs/cluster.md"},
		{"nostream", 0, "give it the permissions of docs/cluster.md"},
		{"streams", 0, "has reached its number of streams"},
		{"consumers", 0, "has reached its number of consumers"},
		{"disk", 0, "limit of its storage"},
		{"bytes", 0, "allows only streams with a maximum of bytes"},
		{"whole", 3, "set nats.replicas to 1"},
	}
	for _, test := range tests {
		t.Run(test.user, func(t *testing.T) {
			t.Parallel()
			err := use(t, cluster.Options{URL: "nats://" + test.user + ":x@" + c.Addr(0), Replicas: test.replicas})
			if err == nil || strings.Count(err.Error(), test.want) != 1 || strings.Contains(err.Error(), ":x@") {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

// use does with the servers what the program does, once.
func use(t *testing.T, opts cluster.Options) error {
	m, err := cluster.Connect(t.Context(), opts)
	if err != nil {
		return err
	}
	defer m.Close()
	js := must[jetstream.JetStream](t)(jetstream.New(m.Conn()))
	open := func() (*kvstate.Store, error) {
		return kvstate.Open(t.Context(), js, &kvstate.Options{Runner: m.Runner(), Trouble: m.Trouble, Replicas: m.Replicas()})
	}
	s, err := open()
	if err != nil {
		return err
	}
	defer s.Close()
	st, err := s.Create(t.Context(), loopstest.Sample("sample-aaaa"))
	if err != nil && !errors.Is(err, loops.ErrExists) {
		return err
	}
	other, err := open() // a consumer each
	if err != nil {
		return err
	}
	defer other.Close()
	var noise strings.Builder // does not compress
	for noise.Len() < 100_000 {
		noise.WriteString(rand.Text())
	}
	_, err = s.PutBlob(t.Context(), st.ID, []byte(noise.String()))
	return err
}

// TestThePermissionsOfTheDocsSuffice for everything that a store and a worker do.
func TestThePermissionsOfTheDocsSuffice(t *testing.T) {
	config := strings.NewReplacer("PUBLISH", permissions(t, "publish"), "SUBSCRIBE", permissions(t, "subscribe")).Replace(accounts)
	c := clustertest.Start(t, clustertest.Options{Nodes: 1, Config: config, URLs: "whole:x@"})
	var ms []*cluster.Member
	loopstest.TestStore(t, func(t *testing.T) loops.Store {
		empty(t, c)
		m := member(t, cluster.Options{URL: "nats://loops:x@" + c.Addr(0)})
		ms = append(ms, m)
		lease(t, m)
		return store(t, m)
	})
	for _, m := range ms {
		if err := m.Denied(); err != nil {
			t.Fatal(err)
		}
	}
}
