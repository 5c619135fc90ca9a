package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
)

// modelConfig is one entry of models: a name of ours for a model of a provider.
type modelConfig struct {
	Provider      string       `json:"provider"`
	Model         string       `json:"model"`
	Wire          string       `json:"wire"`
	BaseURL       string       `json:"base_url"`
	APIKeyEnv     string       `json:"api_key_env"`
	Price         *priceConfig `json:"price"`
	ContextWindow loops.Count  `json:"context_window" min:"1"`
	MaxOutput     loops.Count  `json:"max_output" min:"1"`
	Effort        string       `json:"effort"`
	Fallback      string       `json:"fallback"`
	Script        string       `json:"script"`
}

// priceConfig is in dollars for a million tokens. What is left out costs as
// much as input, except output.
type priceConfig struct {
	Input        *loops.USD `json:"input"`
	Output       *loops.USD `json:"output"`
	CacheRead    *loops.USD `json:"cache_read"`
	CacheWrite   *loops.USD `json:"cache_write"`
	CacheWrite1h *loops.USD `json:"cache_write_1h"`
}

// judgeConfig says which model judges.
type judgeConfig struct {
	Model string `json:"model"`
}

// The providers and wires of a model.
const (
	providerAnthropic = "anthropic"
	providerOpenAI    = "openai"
	providerGemini    = "gemini"
	providerScript    = "script"

	wireResponses = "responses"
	wireChat      = "chat"
)

func (p *priceConfig) price() *model.Price {
	if p == nil {
		return nil
	}
	rate := func(given *loops.USD) int64 {
		if given == nil {
			given = p.Input
		}
		return int64(*given)
	}
	r := model.Rates{Input: int64(*p.Input), Output: int64(*p.Output), CacheRead: rate(p.CacheRead), CacheWrite: rate(p.CacheWrite), CacheWrite1h: rate(p.CacheWrite1h)}
	return &model.Price{Tiers: []model.Tier{{Rates: r}}, Source: "configuration"}
}

// checkModels reports what is wrong with the models and with what names them.
func (c *config) checkModels() error {
	var problems []error
	add := func(field, format string, args ...any) {
		problems = append(problems, &loops.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Models)) {
		m, at := c.Models[name], "models."+name
		problems = append(problems, m.check(at))
		if m.Fallback != "" {
			if _, ok := c.Models[m.Fallback]; !ok {
				add(at+".fallback", "no model %q is configured%s", clip(m.Fallback, 60), loops.DidYouMean(m.Fallback, slices.Sorted(maps.Keys(c.Models))))
			} else if c.cycle(name) {
				add(at+".fallback", "leads back to %s", name)
			}
		}
	}
	if name := c.Judge.Model; name != "" && len(c.Models) > 0 {
		if _, ok := c.Models[name]; !ok {
			add("judge.model", "no model %q is configured%s", clip(name, 60), loops.DidYouMean(name, slices.Sorted(maps.Keys(c.Models))))
		}
	}
	return errors.Join(problems...)
}

// cycle reports whether following the fallbacks of name comes back to it.
func (c *config) cycle(name string) bool {
	seen := map[string]bool{}
	for next := name; next != ""; next = c.Models[next].Fallback {
		if seen[next] {
			return next == name
		}
		seen[next] = true
	}
	return false
}

func (m modelConfig) check(at string) error {
	var problems []error
	add := func(field, format string, args ...any) {
		problems = append(problems, &loops.FieldError{Field: at + "." + field, Problem: fmt.Sprintf(format, args...)})
	}
	known := []string{providerAnthropic, providerOpenAI, providerGemini, providerScript}
	if !slices.Contains(known, m.Provider) {
		add("provider", "must be %s, got %q%s", "anthropic, openai, gemini or script", clip(m.Provider, 60), loops.DidYouMean(m.Provider, known))
		return errors.Join(problems...)
	}
	if m.Model == "" && m.Provider != providerScript {
		add("model", "is missing: the provider's name of the model")
	}
	if m.Wire != "" && m.Provider != providerOpenAI {
		add("wire", "belongs to the provider openai")
	} else if m.Wire != "" && m.Wire != wireResponses && m.Wire != wireChat {
		add("wire", "must be responses or chat, got %q", clip(m.Wire, 60))
	}
	if (m.Script != "") != (m.Provider == providerScript) {
		add("script", "is the file with the answers of the provider script: both or none")
	}
	if m.APIKeyEnv != "" && (strings.ContainsAny(m.APIKeyEnv, " =$") || looksLikeKey(m.APIKeyEnv)) {
		add("api_key_env", "must be the name of an environment variable, not a key")
	}
	if m.Price != nil && (m.Price.Input == nil || m.Price.Output == nil) {
		add("price", "needs input and output, in dollars for a million tokens; 0 is free")
	}
	return errors.Join(problems...)
}

// looksLikeKey reports whether somebody wrote the secret in place of its name.
func looksLikeKey(text string) bool {
	return strings.HasPrefix(text, "sk-") || strings.HasPrefix(text, "AIza") || len(text) > 64
}

// usualModels are there when the configuration names none: what the keys in the
// environment allow. With keys of two vendors, the one judges the other's work.
func usualModels(env func(string) string) map[string]modelConfig {
	vendors := []struct{ provider, key, smart, fast string }{
		{providerAnthropic, "ANTHROPIC_API_KEY", "claude-sonnet-5", "claude-haiku-4-5"},
		{providerOpenAI, "OPENAI_API_KEY", "gpt-6-sol", "gpt-6-luna"},
		{providerGemini, "GEMINI_API_KEY", "gemini-3.8-flash", "gemini-3.5-flash-lite"},
	}
	models := map[string]modelConfig{}
	for _, v := range vendors {
		if env(v.key) == "" {
			continue
		}
		if _, ok := models["smart"]; !ok {
			models["smart"] = modelConfig{Provider: v.provider, Model: v.smart, APIKeyEnv: v.key}
			models["fast"] = modelConfig{Provider: v.provider, Model: v.fast, APIKeyEnv: v.key}
			continue
		}
		models["fast"] = modelConfig{Provider: v.provider, Model: v.fast, APIKeyEnv: v.key}
		break
	}
	return models
}
