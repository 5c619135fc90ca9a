package gemini

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/genai"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/wire"
)

const (
	provider   = "gemini"
	wireName   = "gemini"
	vendorURL  = "https://generativelanguage.googleapis.com"
	vendorHost = "generativelanguage.googleapis.com"
)

// Config says which model to call and where.
type Config struct {
	Alias   string // Info.Provider of a compatible server; empty: "gemini"
	Model   string // the vendor's name, with or without "models/"; required
	APIKey  string
	KeyEnv  string // the variable that APIKey came from, for messages
	BaseURL string // with or without a final /v1beta; empty: Google's own

	ContextWindow int64 // tokens; 0: unknown
	MaxOutput     int64 // tokens of one answer; 0: unknown
	Price         *model.Price

	HTTPClient *http.Client  // nil: one with limits for connecting and none for the whole
	Idle       time.Duration // silence after which a call is given up; 0: 5 minutes

	// Effort is "minimal", "low", "medium" or "high": how much the model thinks.
	// "none" turns thinking off, as far as the model can. Empty: the model's own
	// default; it then shows nothing of what it thinks.
	Effort string
}

// Model is one model behind the Gemini API. Safe for concurrent use.
type Model struct {
	cfg  Config
	info model.Info
	// generate is a function and not the library's client: what hangs below a
	// value in an interface stays in the program, and that client is all of
	// Google's API.
	generate func(context.Context, *genai.GenerateContentConfig) iter.Seq2[*genai.GenerateContentResponse, error]
}

var _ model.Model = (*Model)(nil)

// New returns the model that cfg names. It makes no request.
func New(ctx context.Context, cfg Config) (*Model, error) {
	cfg.APIKey = strings.TrimSpace(cfg.APIKey)
	cfg.Model = strings.TrimPrefix(cfg.Model, "models/")
	base, version, err := baseURL(cfg.BaseURL)
	switch {
	case err != nil:
		return nil, err
	case cfg.Model == "":
		return nil, errors.New("gemini: model is missing; name one, as gemini-2.5-pro")
	case strings.ContainsAny(cfg.Model, "?&#%") || strings.Contains(cfg.Model, ".."):
		return nil, fmt.Errorf("gemini: model is %q, which is no model's name", cfg.Model)
	case !slices.Contains(efforts, cfg.Effort):
		return nil, fmt.Errorf("gemini: effort is %q; it can be %s", cfg.Effort, strings.Join(efforts[1:], ", "))
	}
	client, err := genai.NewClient(ctx, clientConfig(cfg, base, version))
	if err != nil {
		return nil, fmt.Errorf("gemini: the library refuses its configuration: %w", err)
	}
	info := model.Info{
		ID: wire.ID(provider, cfg.Model, base), Provider: provider, Model: cfg.Model, Wire: wireName,
		ContextWindow: cfg.ContextWindow, MaxOutput: cfg.MaxOutput, Price: cfg.Price, KeyEnv: cfg.KeyEnv,
	}
	if base != nil && cfg.Alias != "" {
		info.Provider = cfg.Alias
	}
	generate := func(ctx context.Context, c *genai.GenerateContentConfig) iter.Seq2[*genai.GenerateContentResponse, error] {
		return client.Models.GenerateContentStream(ctx, cfg.Model, nil, c)
	}
	return &Model{cfg: cfg, info: info, generate: generate}, nil
}

// baseURL is the address of a server that is not Google's (nil: it is) and the
// version of the API there.
func baseURL(text string) (base *url.URL, version string, err error) {
	version = "v1beta"
	if text == "" {
		return nil, version, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, "", fmt.Errorf("gemini: base_url is %q; give an address such as http://127.0.0.1:8080", text)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	for _, v := range []string{"v1beta", "v1alpha", "v1"} { // the library adds it
		if rest, ok := strings.CutSuffix(u.Path, "/"+v); ok {
			u.Path, version = rest, v
			break
		}
	}
	if strings.EqualFold(u.Host, vendorHost) {
		return nil, version, nil
	}
	return u, version, nil
}

// clientConfig leaves nothing to be read from the environment: a key or an
// address from there would be another server than the one pinned.
func clientConfig(cfg Config, base *url.URL, version string) *genai.ClientConfig {
	client := wire.Client(cfg.HTTPClient)
	client.Transport = &transport{next: client.Transport, keyless: cfg.APIKey == ""}
	c := &genai.ClientConfig{
		Backend: genai.BackendGeminiAPI, APIKey: cfg.APIKey, HTTPClient: client,
		HTTPOptions: genai.HTTPOptions{BaseURL: vendorURL, APIVersion: version},
	}
	if base != nil {
		c.HTTPOptions.BaseURL = base.String()
	}
	if cfg.APIKey == "" {
		c.APIKey = "none" // the transport takes it out again
	}
	return c
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
	x := &exchange{}
	a := &assembly{live: live, names: toolNames(r.Tools), turns: len(r.Messages)}
	err := m.stream(context.WithValue(ctx, exchangeKey{}, x), r, a)
	if x.broken != nil { // what the library made of it is of no use, and all may have come
		err = nil
		if !a.ended() {
			err = x.broken
		}
	}
	var answer model.Answer
	if err == nil {
		answer, err = a.answer(m.info, x.sent)
	}
	if err != nil {
		return model.Answer{}, m.fail(call, a, err)
	}
	return answer, nil
}

// stream makes the request and hands each chunk of the answer to a.
func (m *Model) stream(ctx context.Context, r model.Request, a *assembly) error {
	config, err := m.config(r)
	if err != nil {
		return err
	}
	chunks, stop := pull(m.generate(ctx, config))
	defer stop()
	for {
		chunk, ok, err := chunks()
		if !ok || err != nil {
			return err
		}
		if err := a.add(chunk); err != nil {
			return err
		}
	}
}
