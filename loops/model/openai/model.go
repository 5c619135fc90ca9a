package openai

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	sdk "github.com/sashabaranov/go-openai"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

const (
	provider   = "openai"
	vendorURL  = "https://api.openai.com/v1"
	vendorHost = "api.openai.com"
)

// The wires.
const (
	Responses = "responses"
	Chat      = "chat"
)

// Config says which model to call, where and how.
type Config struct {
	Alias   string // Info.Provider of a compatible server; empty: "openai"
	Model   string // the vendor's name; required
	APIKey  string
	KeyEnv  string // the variable that APIKey came from, for messages
	BaseURL string // an address without a path gets /v1; empty: OpenAI's own
	Wire    string // Responses or Chat; empty: Responses

	ContextWindow int64 // tokens; 0: unknown
	MaxOutput     int64 // tokens of one answer; 0: unknown
	Price         *model.Price

	HTTPClient *http.Client  // nil: one with limits for connecting and none for the whole
	Idle       time.Duration // silence after which a call is given up; 0: 5 minutes

	// Effort is how much the model reasons: "none", "minimal", "low", "medium",
	// "high", "xhigh" or "max", as far as the model knows it. Empty: its own
	// default.
	Effort string
}

// Model is one model behind one of the two APIs. Safe for concurrent use.
type Model struct {
	cfg    Config
	info   model.Info
	vendor bool // the server is OpenAI's
	client *sdk.Client
}

var _ model.Model = (*Model)(nil)

// New returns the model that cfg names. It makes no request.
func New(cfg Config) (*Model, error) {
	switch cfg.Wire {
	case "":
		cfg.Wire = Responses
	case Responses, Chat:
	default:
		return nil, fmt.Errorf("openai: wire is %q; use responses or chat", cfg.Wire)
	}
	if cfg.Model == "" {
		return nil, errors.New("openai: model is missing; name one, as gpt-5")
	}
	address, base, err := baseURL(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	if cfg.APIKey, err = wire.Key(cfg.APIKey); err != nil {
		return nil, fmt.Errorf("openai: %w", err)
	}
	info := model.Info{
		ID: wire.ID(provider, cfg.Model, base), Provider: provider, Model: cfg.Model, Wire: cfg.Wire,
		ContextWindow: cfg.ContextWindow, MaxOutput: cfg.MaxOutput, Price: cfg.Price, KeyEnv: cfg.KeyEnv,
	}
	if base != nil && cfg.Alias != "" {
		info.Provider = cfg.Alias
	}
	c := sdk.DefaultConfig(cfg.APIKey)
	c.BaseURL = address
	c.HTTPClient = doer{wire.Client(cfg.HTTPClient)}
	c.EmptyMessagesLimit = math.MaxUint // comments that keep a stream alive are no reason to drop it
	return &Model{cfg: cfg, info: info, vendor: base == nil, client: sdk.NewClientWithConfig(c)}, nil
}

// baseURL returns where requests go, and the address of a server that is not
// the vendor's; nil: it is.
func baseURL(text string) (string, *url.URL, error) {
	if text == "" {
		return vendorURL, nil, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", nil, fmt.Errorf("openai: base_url is %q; give an address such as http://127.0.0.1:11434/v1", text)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1"
	}
	host := strings.ToLower(u.Host)
	if host == vendorHost || strings.HasSuffix(host, "."+vendorHost) { // of a region, as eu.api.openai.com
		return u.String(), nil, nil
	}
	return u.String(), u, nil
}

// Info says what the model is.
func (m *Model) Info() model.Info { return m.info }

// Generate makes one call.
func (m *Model) Generate(ctx context.Context, r model.Request, live func(model.Live)) (model.Answer, error) {
	if m.cfg.APIKey == "" && (m.cfg.KeyEnv != "" || m.vendor) {
		return model.Answer{}, wire.NoKey(m.info)
	}
	if live == nil {
		live = func(model.Live) {}
	}
	ctx, call := wire.Begin(ctx, m.cfg.Idle)
	defer call.End()
	var a assembly = &chatAnswer{live: live}
	open := m.openChat
	if m.cfg.Wire == Responses {
		a, open = &responsesAnswer{live: live}, m.openResponses
	}
	stream, err := open(ctx, r)
	if err == nil {
		defer stream.Close() //nolint:errcheck // the answer is whole or an error says why not
		err = read(stream, a)
	}
	if err == nil {
		return a.answer(m.info, call.RequestID()), nil
	}
	f, ok := errors.AsType[*fault](err)
	if !ok {
		f = &fault{wire.Fault{Err: err}}
	}
	f.Model, f.Secret, f.Content = m.info.ID, m.cfg.APIKey, a.begun()
	return model.Answer{}, call.Fail(f.Fault)
}

// fault is a failure that was found within a stream.
type fault struct{ wire.Fault }

func (f *fault) Error() string { return f.Err.Error() }

// problem is a fault in the provider's own words.
func problem(raw []byte) error {
	p := wire.ParseProblem(raw)
	return &fault{wire.Fault{Problem: p, Err: errors.New(p.Message)}}
}

// malformed is an event that can't be read.
func malformed(err error) error {
	return &fault{wire.Fault{Kind: model.Malformed, Err: fmt.Errorf("read an event: %w", err)}}
}
