package agent

import (
	"context"
	"fmt"
	"sync"

	"example.com/loop-mcp/loops"
)

// keeper keeps texts beside one loop. What was read or written once is not read
// again while this process works on the loop.
type keeper struct {
	turn  loops.Turn
	cache *cache
}

// put returns the reference of a text that each start needs; empty when it can't
// be kept now.
func (k keeper) put(ctx context.Context, text string) string {
	ref := k.store(ctx, text)
	if ref != "" {
		k.cache.add(k.turn.Loop, ref, text)
	}
	return ref
}

// store is put for a text that is seldom asked for.
func (k keeper) store(ctx context.Context, text string) string {
	ref, err := k.turn.Keep(ctx, []byte(text))
	if err != nil {
		return ""
	}
	return ref
}

func (k keeper) get(ctx context.Context, ref string) (string, error) {
	if text, ok := k.cache.find(k.turn.Loop, ref); ok {
		return text, nil
	}
	data, err := k.turn.Fetch(ctx, ref)
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", ref, err)
	}
	k.cache.add(k.turn.Loop, ref, string(data))
	return string(data), nil
}

// cacheSize bounds what is held for one loop, in bytes.
const cacheSize = 8 << 20

// cache holds the kept texts of the loops that this process works on. The zero
// value is ready. Safe for concurrent use.
type cache struct {
	mu    sync.Mutex
	loops map[loops.ID]*shelf
}

type shelf struct {
	texts map[string]string
	size  int
}

func (c *cache) find(id loops.ID, ref string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.loops[id]; s != nil {
		text, ok := s.texts[ref]
		return text, ok
	}
	return "", false
}

func (c *cache) add(id loops.ID, ref, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.loops[id]
	if s == nil || s.size+len(text) > cacheSize {
		s = &shelf{texts: map[string]string{}}
	}
	if c.loops == nil {
		c.loops = map[loops.ID]*shelf{}
	}
	c.loops[id] = s
	if _, known := s.texts[ref]; known || len(text) > cacheSize {
		return
	}
	s.texts[ref] = text
	s.size += len(text)
}

func (c *cache) drop(id loops.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.loops, id)
}
