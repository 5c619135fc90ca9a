package anthropic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

const (
	provider   = "anthropic"
	wireName   = "anthropic"
	vendorURL  = "https://api.anthropic.com"
	vendorHost = "api.anthropic.com"
)

// Config says which model to call and where.
type Config struct {
	Alias   string // Info.Provider of a compatible server; empty: "anthropic"
	Model   string // the vendor's name; required
	APIKey  string
	KeyEnv  string // the variable that APIKey came from, for messages
	BaseURL string // with or without a final /v1; empty: Anthropic's own

	ContextWindow int64 // tokens; 0: unknown
	MaxOutput     int64 // tokens of one answer; 0: unknown, and 32,000 are asked for where a request names no number
	Price         *model.Price

	HTTPClient *http.Client  // nil: one with limits for connecting and none for the whole
	Idle       time.Duration // silence after which a call is given up; 0: 5 minutes

	// Effort is "low", "medium", "high", "xhigh" or "max": the model thinks as
	// it sees fit, within that effort. "none" turns thinking off. Empty: the
	// model's own default.
	Effort string
}

// Model is one model behind the Messages API. Safe for concurrent use.
type Model struct {
	cfg    Config
	info   model.Info
	client sdk.MessageService // not sdk.Client: every service that it holds would be linked, 10 MB of them
}

var _ model.Model = (*Model)(nil)

// New returns the model that cfg names. It makes no request.
func New(cfg Config) (*Model, error) {
	base, err := baseURL(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	if cfg.Model == "" {
		return nil, errors.New("anthropic: model is missing; name one, as claude-sonnet-4-5")
	}
	if cfg.APIKey, err = wire.Key(cfg.APIKey); err != nil {
		return nil, fmt.Errorf("anthropic: %w", err)
	}
	info := model.Info{
		ID: wire.ID(provider, cfg.Model, base), Provider: provider, Model: cfg.Model, Wire: wireName,
		ContextWindow: cfg.ContextWindow, MaxOutput: cfg.MaxOutput, Price: cfg.Price, KeyEnv: cfg.KeyEnv,
	}
	if base != nil && cfg.Alias != "" {
		info.Provider = cfg.Alias
	}
	return &Model{cfg: cfg, info: info, client: sdk.NewMessageService(options(cfg, base)...)}, nil
}

// baseURL is the address of a server that is not the vendor's; nil: it is.
func baseURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("anthropic: base_url is %q; give an address such as http://127.0.0.1:11434", text)
	}
	if strings.EqualFold(u.Host, vendorHost) {
		return nil, nil
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/v1") // the library adds it
	return u, nil
}

func options(cfg Config, base *url.URL) []option.RequestOption {
	opts := []option.RequestOption{
		// A key or an address from the environment would be another server than the one pinned.
		option.WithoutEnvironmentDefaults(),
		option.WithoutOpenTelemetry(),
		option.WithMaxRetries(0),
		option.WithHTTPClient(wire.Client(cfg.HTTPClient)),
		option.WithBaseURL(vendorURL),
	}
	if cfg.APIKey != "" {
		opts = append(opts, option.WithAPIKey(cfg.APIKey))
	}
	if base != nil {
		opts = append(opts, option.WithBaseURL(base.String()))
		if cfg.APIKey != "" { // servers differ in where they look
			opts = append(opts, option.WithHeader("Authorization", "Bearer "+cfg.APIKey))
		}
	}
	return opts
}

// Info says what the model is.
func (m *Model) Info() model.Info { return m.info }

// Generate makes one call.
func (m *Model) Generate(ctx context.Context, r model.Request, live func(model.Live)) (model.Answer, error) {
	if m.cfg.APIKey == "" && (m.cfg.KeyEnv != "" || m.info.ID == wire.ID(provider, m.cfg.Model, nil)) {
		return model.Answer{}, wire.NoKey(m.info)
	}
	ctx, call := wire.Begin(ctx, m.cfg.Idle)
	defer call.End()
	a := &assembly{live: live}
	stream := m.client.NewStreaming(ctx, m.params(r))
	defer stream.Close() //nolint:errcheck // the answer is whole or an error says why not
	for !a.ended && stream.Next() {
		if err := a.add(stream.Current()); err != nil {
			return model.Answer{}, call.Fail(m.fault(wire.Fault{Kind: model.Malformed, Err: err, Content: true}))
		}
	}
	if a.ended {
		return a.answer(m.info, call.RequestID()), nil
	}
	f := wire.Fault{Err: stream.Err(), Content: len(a.blocks) > 0}
	if said, ok := errors.AsType[*sdk.Error](f.Err); ok {
		f.Problem = wire.ParseProblem([]byte(said.RawJSON()))
	} else if f.Err == nil {
		f.Err = errors.New("the stream closed without message_stop")
	}
	return model.Answer{}, call.Fail(m.fault(f))
}

func (m *Model) fault(f wire.Fault) wire.Fault {
	f.Model, f.Secret = m.info.ID, m.cfg.APIKey
	return f
}
