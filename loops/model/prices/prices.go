// Package prices is the built-in table of what models cost. It is used where
// neither the provider nor the configuration says so.
//
// The table comes from the npm package @pydantic/genai-prices (MIT, its licence
// is table.LICENSE); generate.mjs writes it, and a test compares every model
// with that package's own calculation. A price in it is never too low for text
// in and text out:
//
//   - A price that depends on the time of day is the dearest of the day: a loop
//     runs at any hour, and what is set aside for a call must cover it. The
//     price's Source says so.
//   - A model that can answer with more than text is priced as if all of its
//     output were of the dearest kind.
//   - A price finer than a micro-dollar for a million tokens is rounded up.
//   - A model whose entry has no price for text in and out is not found: free
//     and not told look the same there. Only a name that ends in ":free" is
//     believed.
//
// Prices change. [Date] says how old the table is.
package prices

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"example.com/loop-mcp/loops/model"
)

//go:generate node generate.mjs 0.1.8 2026-09-23

//go:embed table.ndjson.gz
var packed []byte

// Find returns what a model of a provider costs at a time. provider is an id of
// the table: "anthropic", "openai", "google" (Gemini), "openrouter", "groq",
// "mistral", "deepseek", "x-ai" and others; it is not guessed from an address.
// model is the vendor's name, in any case. ok is false when the table has no
// such provider or model, or no price for text in and out.
//
// Each call reads the table anew, which takes some milliseconds and leaves
// nothing in memory: keep the answer.
func Find(provider, name string, at time.Time) (price model.Price, ok bool) {
	return open().find(provider, name, at)
}

// Window returns how many tokens fit into the context of a model, by the same
// names as in [Find]; 0 when the table does not know.
func Window(provider, name string) int64 {
	entry, _ := open().entry(provider, name)
	return entry.Window
}

func (t table) entry(provider, name string) (entry, bool) {
	name = strings.ToLower(strings.TrimSpace(name))
	if found, ok := t.model(provider, name); ok {
		return found, true
	}
	return t.model(provider, dashedDates(name))
}

func (t table) find(provider, name string, at time.Time) (price model.Price, ok bool) {
	entry, ok := t.entry(provider, name)
	if !ok {
		return model.Price{}, false
	}
	price, ok = entry.at(at)
	price.Source = strings.TrimSuffix("table of "+t.date+", "+price.Source, ", ")
	return price, ok
}

// Date returns the day of the prices, at midnight UTC.
func Date() time.Time {
	date, err := time.Parse(time.DateOnly, open().date)
	if err != nil {
		panic(damaged(err))
	}
	return date
}

// table is the unpacked table: a line of JSON for each provider.
type table struct {
	date  string
	lines []byte
	read  map[string]provider // those that were asked for
}

func open() table {
	unpack, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(damaged(err))
	}
	all, err := io.ReadAll(unpack)
	if err != nil {
		panic(damaged(err))
	}
	first, rest, _ := bytes.Cut(all, []byte("\n"))
	var head struct{ Source, Date string }
	if err := json.Unmarshal(first, &head); err != nil {
		panic(damaged(err))
	}
	return table{date: head.Date, lines: rest, read: map[string]provider{}}
}

// damaged tells of a program that was built wrong: the table is part of it.
func damaged(err error) error { return fmt.Errorf("prices: the built-in table: %w", err) }

// provider is all that the table has of one provider. Models of the providers
// in Fallback are sold by this one too, at their price.
type provider struct {
	ID       string   `json:"id"`
	Fallback []string `json:"fallback"`
	Models   []entry  `json:"models"`
}

func (t table) provider(id string) (p provider, ok bool) {
	if p, ok := t.read[id]; ok {
		return p, true
	}
	quoted, err := json.Marshal(id)
	if err != nil {
		return provider{}, false
	}
	start := append(append([]byte(`{"id":`), quoted...), ',')
	for line := range bytes.Lines(t.lines) {
		if !bytes.HasPrefix(line, start) {
			continue
		}
		if err := json.Unmarshal(line, &p); err != nil {
			panic(damaged(err))
		}
		t.read[id] = p
		return p, true
	}
	return provider{}, false
}

// model returns the first entry that a name matches.
func (t table) model(id, name string) (entry, bool) {
	p, _ := t.provider(id)
	if e, ok := p.model(name); ok {
		return e, true
	}
	for _, id := range p.Fallback {
		sold, _ := t.provider(id)
		if e, ok := sold.model(name); ok {
			return e, true
		}
	}
	return entry{}, false
}

func (p provider) model(name string) (entry, bool) {
	for _, e := range p.Models {
		if e.Match.matches(name) {
			return e, true
		}
	}
	return entry{}, false
}
