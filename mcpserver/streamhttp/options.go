package streamhttp

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

const (
	defaultPath          = "/mcp"
	defaultMaxBody       = 8 << 20
	defaultMaxHeader     = 32 << 10
	defaultMaxInFlight   = 256
	defaultMaxStreams    = 256
	defaultMaxSessions   = 1024
	defaultMaxEventBytes = 32 << 20
	defaultSessionIdle   = 12 * time.Hour
	defaultKeepAlive     = 15 * time.Second
	defaultWriteTimeout  = 30 * time.Second
	defaultGrace         = 1500 * time.Millisecond

	// lastWords is how long a handler has to answer once its context is cancelled at the end.
	lastWords = 250 * time.Millisecond

	// headerTimeout and bodyTimeout are how long a request's header and body may take to arrive.
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
)

// Options are the choices New leaves open. Nil and the zero value are useful.
type Options struct {
	// Path is where the MCP endpoint is. Default: "/mcp".
	Path string

	// Before replaces the context and the message of a request just before it is dispatched, on the
	// request's own goroutine; the context carries the request's session. The message may hold
	// invalid UTF-8. A panic is answered as an internal error. Default: nothing is replaced.
	Before func(ctx context.Context, method string, msg json.RawMessage) (context.Context, json.RawMessage)

	// Around replaces the dispatch of a request: it may answer itself or call next, which is what it
	// would be without. It runs after Before, on the request's own goroutine; a panic is answered as
	// an internal error. Default: next.
	Around func(ctx context.Context, method string, msg json.RawMessage, next func(context.Context, json.RawMessage) mcp.JSONRPCMessage) mcp.JSONRPCMessage

	// Context adds to the context of every request what the rest of the program wants to know of its
	// owner: the name of the token that it came with, "" without one. Default: nothing is added.
	Context func(ctx context.Context, owner string) context.Context

	// FirstMessage is called once, on a goroutine of the server, when the first valid message
	// arrived. It must not block. Default: not called.
	FirstMessage func()

	// Tokens are the bearer tokens that open the door, by the name of their owner. Every request
	// then needs one. Without any, only connections to a loopback address are served.
	Tokens map[string]string

	// AllowedOrigins are the origins ("https://app.example") whose pages may call, besides the
	// server's own. Their hosts count as AllowedHosts.
	AllowedOrigins []string

	// AllowedHosts are the names, without port, under which the server may be addressed on a
	// loopback connection, besides the loopback ones: those that a proxy on this machine passes on.
	AllowedHosts []string

	// MaxBody is the longest accepted message in bytes; eight times as much is held at a time.
	// Default: 8 MiB.
	MaxBody int

	// MaxHeader is the longest accepted header in bytes; Serve sees to it. Default: 32 KiB.
	MaxHeader int

	// MaxInFlight is how many requests and notifications of one owner are served at a time, and
	// MaxStreams how many GET and subscriptions/listen streams. Default: 256 each.
	MaxInFlight, MaxStreams int

	// MaxSessions is how many sessions of the older era one owner has. One more ends the one that
	// was unused longest, or is refused when all are in use. Default: 1024.
	MaxSessions int

	// SessionIdle is how long a session lives without request and stream. Default: 12h.
	SessionIdle time.Duration

	// MaxEventBytes is how many bytes of events are kept for clients of the older era that come back
	// for what they missed; the oldest go first. Negative: none. Default: 32 MiB.
	MaxEventBytes int

	// KeepAlive is how often something is written to a response that is silent. Default: 15s.
	KeepAlive time.Duration

	// WriteTimeout is how long a client may take to read 64 KiB. Default: 30s.
	WriteTimeout time.Duration

	// Grace is how long running requests may go on after Serve's context ended. Negative: not at
	// all. Default: 1.5s.
	Grace time.Duration

	// Logger gets panics, abandoned handlers and what net/http complains about. Default: discarded.
	Logger *slog.Logger
}

// withDefaults returns a copy of o with every zero replaced by its default.
func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Path == "" {
		d.Path = defaultPath
	}
	for field, value := range map[*int]int{
		&d.MaxBody: defaultMaxBody, &d.MaxHeader: defaultMaxHeader, &d.MaxInFlight: defaultMaxInFlight,
		&d.MaxStreams: defaultMaxStreams, &d.MaxSessions: defaultMaxSessions,
	} {
		if *field <= 0 {
			*field = value
		}
	}
	if d.MaxEventBytes == 0 {
		d.MaxEventBytes = defaultMaxEventBytes
	}
	for field, value := range map[*time.Duration]time.Duration{
		&d.SessionIdle: defaultSessionIdle, &d.KeepAlive: defaultKeepAlive, &d.WriteTimeout: defaultWriteTimeout,
	} {
		if *field <= 0 {
			*field = value
		}
	}
	if d.Grace == 0 {
		d.Grace = defaultGrace
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}
