package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/kvstate/cluster/clustertest"
)

// TestCredentialsOfEachKindAreTaken, those of a user of an operator's account and
// the seed of an NKey, also when the first of the servers is away; others are not.
func TestCredentialsOfEachKindAreTaken(t *testing.T) {
	t.Run("a file of nsc", func(t *testing.T) {
		config, creds := operated(t)
		c := clustertest.Start(t, clustertest.Options{Nodes: 1, Config: config, Who: nats.UserCredentials(creds)})
		_, others := operated(t)
		takes(t, c, creds, others)
	})
	t.Run("the seed of an NKey", func(t *testing.T) {
		user, creds := seed(t)
		c := clustertest.Start(t, clustertest.Options{Nodes: 1, Config: fmt.Sprintf("authorization { users: [{nkey: %s}, {user: a, password: b}] }", user), URLs: "a:b@"})
		_, others := seed(t)
		takes(t, c, creds, others)
	})
}

// takes uses servers with credentials, and tries others.
func takes(t *testing.T, c *clustertest.Cluster, creds, others string) {
	t.Helper()
	urls := "nats://127.0.0.1:1," + c.URL()
	if err := use(t, cluster.Options{URL: urls, CredsFile: creds}); err != nil {
		t.Error(err)
	}
	for name, file := range map[string]string{"none": "", "those of somebody else": others} {
		if err := use(t, cluster.Options{URL: c.URL(), CredsFile: file}); err == nil || !strings.Contains(err.Error(), "refuses this user: check nats.creds_file") {
			t.Errorf("with %s: %v", name, err)
		}
	}
}

// seed returns the public key of a new user, and a file with its seed.
func seed(t *testing.T) (public, file string) {
	t.Helper()
	user := pair(t, nkeys.PrefixByteUser)
	return must[string](t)(user.PublicKey()), save(t, must[[]byte](t)(user.Seed()))
}

// operated is the configuration of a server with an operator and an account that
// has JetStream, and a file with the credentials of a user of it.
func operated(t *testing.T) (config, file string) {
	t.Helper()
	operator, system, account, user := pair(t, nkeys.PrefixByteOperator), pair(t, nkeys.PrefixByteAccount), pair(t, nkeys.PrefixByteAccount), pair(t, nkeys.PrefixByteUser)
	public := func(k nkeys.KeyPair) string { return must[string](t)(k.PublicKey()) }
	top := jwt.NewOperatorClaims(public(operator))
	top.SystemAccount = public(system)
	whole := jwt.NewAccountClaims(public(account))
	whole.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
	signed := func(c jwt.Claims) string { return must[string](t)(c.Encode(operator)) }
	config = fmt.Sprintf("operator: %s\nresolver: MEMORY\nresolver_preload { %s: %s, %s: %s }\n",
		signed(top), public(system), signed(jwt.NewAccountClaims(public(system))), public(account), signed(whole))
	who := must[string](t)(jwt.NewUserClaims(public(user)).Encode(account))
	return config, save(t, must[[]byte](t)(jwt.FormatUserConfig(who, must[[]byte](t)(user.Seed()))))
}

func pair(t *testing.T, prefix nkeys.PrefixByte) nkeys.KeyPair {
	t.Helper()
	return must[nkeys.KeyPair](t)(nkeys.CreatePair(prefix))
}

func save(t *testing.T, data []byte) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "loop.creds")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
