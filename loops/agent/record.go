package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
)

// decodeMemory reads what an earlier start kept. What another kind of body kept
// is not the agent's and is left alone.
func decodeMemory(ctx context.Context, raw json.RawMessage, k keeper) (*memory, error) {
	m := &memory{}
	err := json.Unmarshal(raw, m)
	switch {
	case m.Version <= 0:
		return &memory{Version: memoryVersion}, nil
	case m.Version > memoryVersion:
		return nil, loops.Permanent(fmt.Errorf("the loop's memory has version %d and this program reads %d; use the newer program", m.Version, memoryVersion))
	case err != nil:
		return nil, loops.Permanent(fmt.Errorf("read the agent's memory: %w", err))
	}
	if err := m.fetch(ctx, k); err != nil {
		return nil, fmt.Errorf("read the agent's conversation: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, loops.Permanent(fmt.Errorf("read the agent's memory: %w", err))
	}
	return m, nil
}

// check refuses a memory that no start of the agent has written.
func (m *memory) check() error {
	last, a := m.last(), m.Answer
	switch {
	case a == nil:
		return nil
	case last == nil || last.Role != model.Assistant:
		return errors.New("the answer that is open is not the end of the conversation")
	case len(last.Calls()) != len(a.Calls):
		return fmt.Errorf("the answer has %d calls and %d states of calls", len(last.Calls()), len(a.Calls))
	}
	return nil
}

// fetch fills in what is kept beside the loop.
func (m *memory) fetch(ctx context.Context, k keeper) error {
	for _, ref := range m.Sealed {
		data, err := k.get(ctx, ref)
		if err != nil {
			return err
		}
		var part []entry
		if err := json.Unmarshal([]byte(data), &part); err != nil {
			return fmt.Errorf("entries %s: %w", ref, err)
		}
		m.old = append(m.old, part...)
	}
	for _, list := range [][]entry{m.old, m.Tail} {
		for _, e := range list {
			for i, ref := range e.Refs {
				text, err := k.get(ctx, ref)
				if err != nil {
					return err
				}
				if i < 0 || i >= len(e.Blocks) || e.Blocks[i].Result == nil {
					return fmt.Errorf("block %d of an entry is no result", i)
				}
				e.Blocks[i].Result.Text = text
			}
		}
	}
	for _, h := range m.texts() {
		if h.Ref != "" {
			text, err := k.get(ctx, h.Ref)
			if err != nil {
				return err
			}
			h.Text = text
		}
	}
	return nil
}

// texts are the texts outside the conversation.
func (m *memory) texts() []*held {
	all := []*held{&m.Note, &m.Summary, &m.Prompt, &m.Partial}
	for i := range m.News {
		all = append(all, &m.News[i])
	}
	if m.Answer != nil {
		for i := range m.Answer.Calls {
			all = append(all, &m.Answer.Calls[i].Result)
		}
	}
	return all
}

// encode writes the memory; long texts and older entries go beside the loop
// first. What can't be kept there now stays inline and goes with the next one.
func (m *memory) encode(ctx context.Context, k keeper) (json.RawMessage, error) {
	inline := 0
	for _, h := range m.texts() {
		if inline += len(h.stored().Text); h.Ref == "" && (len(h.Text) > inlineText || inline > inlineTail && len(h.Text) > inlineText/8) {
			inline -= len(h.Text)
			h.Ref = k.put(ctx, h.Text)
		}
	}
	if err := m.seal(ctx, k); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(m.stored())
	if err != nil {
		return nil, fmt.Errorf("write the agent's memory: %w", err)
	}
	return raw, nil
}

// stored is m as it goes into a record.
func (m *memory) stored() *memory {
	s := *m
	s.Tail, s.News = storedEntries(m.Tail), slices.Clone(m.News)
	if m.Answer != nil {
		a := *m.Answer
		a.Calls = slices.Clone(a.Calls)
		s.Answer = &a
	}
	for _, h := range s.texts() {
		*h = h.stored()
	}
	return &s
}

// seal moves the entries of the tail beside the loop when they are long. A
// message of the user at the end may still grow and stays.
func (m *memory) seal(ctx context.Context, k keeper) error {
	n, size := len(m.Tail), 0
	if n > 0 && m.Tail[n-1].Role == model.User {
		n--
	}
	for _, e := range m.Tail[:n] {
		size += e.size()
	}
	if size <= inlineTail {
		return nil
	}
	data, err := json.Marshal(storedEntries(m.Tail[:n]))
	if err != nil {
		return fmt.Errorf("write the agent's conversation: %w", err)
	}
	if ref := k.put(ctx, string(data)); ref != "" {
		m.Sealed, m.old = append(m.Sealed, ref), append(m.old, m.Tail[:n]...)
		m.Tail = slices.Clone(m.Tail[n:])
	}
	return nil
}
