package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
)

// Options say which servers there are and how they know this process.
type Options struct {
	URL       string // of the servers, separated by commas: nats:// or tls://, with user:password@ or token@ where they ask for it
	CredsFile string // user credentials: JWT with its key, or an NKey seed alone; empty: none
	CAFile    string // certificates of authorities that are trusted, PEM; empty: the system's
	CertFile  string // certificate of this process, PEM; empty: none
	KeyFile   string // its key, PEM; empty: none

	// Replicas is how many servers have each record, for streams that are not
	// there yet; 1, 3 or 5. 0: 3 in a cluster, 1 on a server that is alone.
	Replicas int

	// Bare is for a process that opens no store: JetStream is not asked for, so that
	// its user need not be allowed to use that.
	Bare bool

	Name    string       // by which the servers list the connection; empty: loop-mcp
	Version string       // of the program, for other processes to read
	Role    string       // what kind of process this is, for other processes to read
	Logger  *slog.Logger // nil: discards
}

// Check says what is wrong with the options, as far as no server is needed to
// know.
func (o Options) Check() error {
	switch {
	case len(o.servers()) == 0:
		return errors.New("nats.url: is empty; name at least one server, such as nats://127.0.0.1:4222")
	case o.Replicas != 0 && o.Replicas != 1 && o.Replicas != 3 && o.Replicas != 5:
		return fmt.Errorf("nats.replicas: must be 1, 3 or 5, got %d", o.Replicas)
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("nats.cert_file and nats.key_file: one needs the other")
	}
	for _, server := range o.servers() {
		u, err := url.Parse(server)
		if err != nil { // its text has the URL with the password
			return errors.New("nats.url: is no URL such as nats://127.0.0.1:4222 (a password with special characters needs them as %XX)")
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("nats.url: must begin with nats:// or tls://, got %q", u.Redacted())
		}
		if u.Hostname() == "" {
			return fmt.Errorf("nats.url: %q names no server", u.Redacted())
		}
	}
	return nil
}

// servers are the URLs; one without a scheme is nats.
func (o Options) servers() []string {
	var list []string
	for server := range strings.SplitSeq(o.URL, ",") {
		if server = strings.TrimSpace(server); server == "" {
			continue
		}
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		list = append(list, server)
	}
	return list
}

// Where names the servers, without passwords, for messages.
func (o Options) Where() string {
	var list []string
	for _, server := range o.servers() {
		u, err := url.Parse(server)
		if err != nil {
			continue
		}
		list = append(list, u.Scheme+"://"+u.Host)
	}
	return strings.Join(list, ",")
}

// connection are the options of the client.
func (m *Member) connection() ([]nats.Option, error) {
	o := m.opts
	opts := []nats.Option{
		nats.Name(o.Name), nats.Timeout(dialTimeout), nats.MaxReconnects(-1), nats.CustomReconnectDelay(reconnectDelay),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2),
		// Credentials that are refused may be good again a moment later: the
		// operator changes them while workers run.
		nats.IgnoreAuthErrorAbort(),
		// A write that was held back while there was no server must not go out
		// later: whoever sent it has found out that it failed.
		nats.ReconnectBufSize(-1),
		nats.ConnectHandler(func(*nats.Conn) { m.trouble.over() }),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			m.trouble.over()
			m.log.Info("connected to the NATS servers again", "server", nc.ConnectedUrlRedacted())
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { m.disconnected(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { m.trouble.note(m.explain(err)) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { m.heard(err) }),
	}
	if o.CAFile != "" {
		opts = append(opts, nats.RootCAs(o.CAFile))
	}
	if o.CertFile != "" {
		opts = append(opts, nats.ClientCert(o.CertFile, o.KeyFile))
	}
	if o.CredsFile == "" {
		return opts, nil
	}
	who, err := credentials(o.CredsFile)
	return append(opts, who), err
}

// credentials reads what proves who this process is: a file of nsc, or a seed.
func credentials(path string) (nats.Option, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("nats.creds_file: %w", err)
	}
	switch {
	case strings.Contains(string(text), "BEGIN NATS USER JWT"):
		return nats.UserCredentials(path), nil
	case strings.Contains(string(text), "SU"):
		option, err := nats.NkeyOptionFromSeed(path)
		if err == nil {
			return option, nil
		}
	}
	return nil, fmt.Errorf("nats.creds_file: %s has neither user credentials (nsc generate creds) nor the seed of a user's NKey", path)
}
