package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopfile"
	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/model/anthropic"
	"example.com/loop-mcp/loops/model/gemini"
	"example.com/loop-mcp/loops/model/openai"
	"example.com/loop-mcp/loops/model/prices"
	"example.com/loop-mcp/loops/model/script"
)

// usualKeys are the variables with a provider's key when none is named.
var usualKeys = map[string]string{providerAnthropic: "ANTHROPIC_API_KEY", providerOpenAI: "OPENAI_API_KEY", providerGemini: "GEMINI_API_KEY"}

// tableNames are the providers in the table of prices.
var tableNames = map[string]string{providerAnthropic: "anthropic", providerOpenAI: "openai", providerGemini: "google"}

// dialer makes the clients of models. The keys come from the environment.
func dialer(env func(string) string) func(string, modelConfig) (model.Model, error) {
	return func(name string, c modelConfig) (model.Model, error) {
		price := c.Price.price()
		if table := tableNames[c.Provider]; price == nil && c.BaseURL == "" && table != "" {
			if found, ok := prices.Find(table, c.Model, time.Now()); ok {
				price = &found
			}
		}
		if table := tableNames[c.Provider]; c.ContextWindow == 0 && c.BaseURL == "" && table != "" {
			c.ContextWindow = loops.Count(prices.Window(table, c.Model))
		}
		key := env(c.APIKeyEnv)
		switch c.Provider {
		case providerAnthropic:
			return anthropic.New(anthropic.Config{Alias: name, Model: c.Model, APIKey: key, KeyEnv: c.APIKeyEnv, BaseURL: c.BaseURL,
				ContextWindow: int64(c.ContextWindow), MaxOutput: int64(c.MaxOutput), Price: price, Effort: c.Effort})
		case providerOpenAI:
			return openai.New(openai.Config{Alias: name, Model: c.Model, APIKey: key, KeyEnv: c.APIKeyEnv, BaseURL: c.BaseURL, Wire: c.Wire,
				ContextWindow: int64(c.ContextWindow), MaxOutput: int64(c.MaxOutput), Price: price, Effort: c.Effort})
		case providerGemini:
			return gemini.New(context.Background(), gemini.Config{Alias: name, Model: c.Model, APIKey: key, KeyEnv: c.APIKeyEnv, BaseURL: c.BaseURL,
				ContextWindow: int64(c.ContextWindow), MaxOutput: int64(c.MaxOutput), Price: price, Effort: c.Effort})
		}
		return scripted(c, price)
	}
}

// scripted reads the answers of a model that answers from a file.
func scripted(c modelConfig, price *model.Price) (model.Model, error) {
	data, err := os.ReadFile(c.Script)
	if err != nil {
		return nil, fmt.Errorf("read the script of the model: %w", err)
	}
	var s script.Script
	if err := loopfile.DecodeYAML(data, &s, nil); err != nil {
		return nil, inFile(c.Script, err)
	}
	name := c.Model
	if name == "" {
		name = filepath.Base(c.Script)
	}
	m, err := script.New(model.Info{ID: providerScript + "/" + name, Provider: providerScript, Model: name,
		ContextWindow: int64(c.ContextWindow), MaxOutput: int64(c.MaxOutput), Price: price}, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Script, err)
	}
	return m, nil
}
