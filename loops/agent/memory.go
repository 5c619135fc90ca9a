package agent

import (
	"slices"

	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/modelcall"
)

// memoryVersion goes up when an older program could not read what is written.
const memoryVersion = 1

// memory is what the agent keeps from start to start. Its JSON may gain fields
// and never renames or retypes one.
type memory struct {
	Version int    `json:"agent"`
	Pass    int    `json:"pass"`             // that the conversation is about
	Prefix  string `json:"prefix,omitempty"` // hash of what every request begins with

	Note    held `json:"note,omitzero"`    // the tool note
	Summary held `json:"summary,omitzero"` // of the tool finish, at the end of the last pass
	Prompt  held `json:"prompt,omitzero"`  // the body's own prompt, as this conversation began with it
	Partial held `json:"partial,omitzero"` // texts of answers that were cut off, until the answer is whole

	Sealed []string `json:"sealed,omitempty"` // references to the older entries
	Tail   []entry  `json:"tail,omitempty"`   // the newer ones
	News   []held   `json:"news,omitempty"`   // for the model, not in an entry yet
	Answer *answer  `json:"answer,omitempty"` // the last one; nil: all that it asked for is done

	Known modelcall.Known `json:"known,omitzero"` // of the conversation
	Base  modelcall.Known `json:"base,omitzero"`  // of what every request begins with

	Heard   heard    `json:"heard,omitzero"`
	Handles handles  `json:"handles,omitzero"`
	Archive []string `json:"archive,omitempty"` // references to transcripts before a compaction, newest last

	old []entry // what Sealed refers to
}

// heard is what of a start's news the memory has. Steering, answer and failure
// come again with each start until an iteration is committed.
type heard struct {
	Steer    string `json:"steer,omitempty"` // hash of its first SteerLen bytes
	SteerLen int    `json:"steer_len,omitempty"`
	Answer   string `json:"answer,omitempty"`   // hash
	Failure  string `json:"failure,omitempty"`  // hash of the feedback after a failed iteration
	Standing string `json:"standing,omitempty"` // hash of the feedback that the pass began with
	StandLen int    `json:"standing_len,omitempty"`
}

// held is a text that is kept beside the loop when it is long.
type held struct {
	Text string `json:"text,omitempty"`
	Ref  string `json:"ref,omitempty"` // unless empty, stored instead of Text
}

// stored is h as it goes into a record.
func (h held) stored() held {
	if h.Ref != "" {
		h.Text = ""
	}
	return h
}

// entry is one message of the conversation.
type entry struct {
	model.Message
	Refs map[int]string `json:"refs,omitempty"` // of results that are kept beside the loop, by block
}

// stored is e as it goes into a record: references instead of the texts that
// have one.
func (e entry) stored() entry {
	if len(e.Refs) == 0 {
		return e
	}
	e.Blocks = slices.Clone(e.Blocks)
	for i := range e.Refs {
		r := *e.Blocks[i].Result
		r.Text = ""
		e.Blocks[i].Result = &r
	}
	return e
}

// size is about how many bytes e takes in a record.
func (e entry) size() int {
	n := len(e.Native) + 64
	for i, b := range e.Blocks {
		n += len(b.Text) + len(b.Reasoning) + 32
		if b.Call != nil {
			n += len(b.Call.Args) + 64
		}
		if b.Result != nil && e.Refs[i] == "" {
			n += len(b.Result.Text)
		}
	}
	return n
}

func storedEntries(list []entry) []entry {
	out := make([]entry, len(list))
	for i, e := range list {
		out[i] = e.stored()
	}
	return out
}

// entries is the whole conversation.
func (m *memory) entries() []entry {
	return append(slices.Clip(m.old), m.Tail...)
}

func (m *memory) last() *entry {
	if len(m.Tail) > 0 {
		return &m.Tail[len(m.Tail)-1]
	}
	if len(m.old) > 0 {
		return &m.old[len(m.old)-1]
	}
	return nil
}

// forget drops the conversation. What is carried over stays, and what was not
// told yet.
func (m *memory) forget() {
	m.Prompt, m.Partial = held{}, held{}
	m.Sealed, m.Tail, m.Answer, m.old = nil, nil, nil, nil
	m.Known, m.Heard = m.Base, heard{}
}

// The sizes that decide what is kept beside the loop, in bytes.
const (
	inlineText = 4 << 10 // a longer text is kept beside the loop
	inlineTail = 8 << 10 // and so are entries that take more than this together
)
