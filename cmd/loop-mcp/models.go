package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
)

// catalog holds the models of the configuration. It tells the engine what names
// stand for (loops.Models) and gives bodies and judges what loops have pinned
// (modelcall.Book).
type catalog struct {
	configs map[string]modelConfig
	judge   string
	env     func(string) string
	dial    func(name string, c modelConfig) (model.Model, error)

	mu     sync.Mutex
	dialed map[string]model.Model
}

func newCatalog(c config, env func(string) string, dial func(string, modelConfig) (model.Model, error)) *catalog {
	models := c.Models
	if len(models) == 0 {
		models = usualModels(env)
	}
	return &catalog{configs: models, judge: c.Judge.Model, env: env, dial: dial, dialed: map[string]model.Model{}}
}

// Resolve implements loops.Models.
func (c *catalog) Resolve(name, role string) (loops.ModelRef, error) {
	name, err := c.nameFor(name, role)
	if err != nil {
		return loops.ModelRef{}, err
	}
	chain, err := c.chain(name)
	if err != nil {
		return loops.ModelRef{}, err
	}
	ref := loops.ModelRef{Name: name, ID: chain[0].Info().ID, Priced: true}
	for _, m := range chain {
		ref.Priced = ref.Priced && m.Info().Price != nil
	}
	return ref, nil
}

var errNoModels = errors.New("no model is configured: set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY where loop-mcp runs, or write models: in its configuration")

// nameFor fills in the usual model of a role.
func (c *catalog) nameFor(name, role string) (string, error) {
	if len(c.configs) == 0 {
		return "", errNoModels
	}
	if name != "" {
		return name, nil
	}
	usual := []string{"smart"}
	if role == loops.RoleJudge {
		usual = []string{c.judge, "fast", "smart"}
	}
	for _, name := range usual {
		if _, ok := c.configs[name]; ok {
			return name, nil
		}
	}
	if names := c.names(); len(names) == 1 {
		return names[0], nil
	}
	return "", fmt.Errorf("is missing, and there is no model %q to take its place; configured are: %s", usual[len(usual)-1], strings.Join(c.names(), ", "))
}

func (c *catalog) names() []string { return slices.Sorted(maps.Keys(c.configs)) }

// chain returns the model behind a name, then its fallbacks: those that have
// their key. A script takes the place of a model that can't be asked at all, for
// trying things out, and never that of one whose provider is down.
func (c *catalog) chain(name string) ([]model.Model, error) {
	if len(c.configs) == 0 { // of a loop that was made when there were some
		return nil, fmt.Errorf("the model %q is wanted, and %w", clip(name, 60), errNoModels)
	}
	if _, ok := c.configs[name]; !ok {
		return nil, fmt.Errorf("no model %q is configured%s; configured are: %s", clip(name, 60), loops.DidYouMean(name, c.names()), strings.Join(c.names(), ", "))
	}
	var chain []model.Model
	var missing []string
	for next := name; next != ""; next = c.configs[next].Fallback {
		key := c.configs[next].APIKeyEnv
		if key != "" && c.env(key) == "" {
			missing = append(missing, key)
			continue
		}
		if c.configs[next].Provider == providerScript && len(chain) > 0 {
			continue
		}
		m, err := c.model(next)
		if err != nil {
			return nil, fmt.Errorf("model %s: %w", next, err)
		}
		chain = append(chain, m)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("model %s needs its key: set %s where loop-mcp runs", name, strings.Join(missing, " or "))
	}
	return chain, nil
}

// model makes the client of a model once.
func (c *catalog) model(name string) (model.Model, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := c.dialed[name]; ok {
		return m, nil
	}
	m, err := c.dial(name, c.configs[name])
	if err == nil {
		c.dialed[name] = m
	}
	return m, err
}

// Open implements modelcall.Book. A loop goes on with the model that it was
// created with, under whatever name that one is configured now.
func (c *catalog) Open(name, id string) ([]model.Model, error) {
	chain, err := c.chain(name)
	if err == nil && (id == "" || chain[0].Info().ID == id) {
		return chain, nil
	}
	for _, m := range chain {
		if m.Info().ID == id {
			others := slices.DeleteFunc(slices.Clone(chain), func(o model.Model) bool { return o == m })
			return append([]model.Model{m}, others...), nil
		}
	}
	for _, other := range c.names() {
		if found, otherErr := c.chain(other); otherErr == nil && found[0].Info().ID == id {
			return found, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("the loop was created with %s, and %s stands for %s now; configure that model again under any name, or start a new loop", id, name, chain[0].Info().ID)
}
