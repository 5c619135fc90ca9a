package wire

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is what a provider says about a failure.
type Problem struct {
	Type, Code string
	Message    string
	Status     int // a code that is a status of HTTP; routers send it within a stream
	RequestID  string
}

// maxMessage bounds a provider's text, in bytes: some answer with a web page.
const maxMessage = 800

// ParseProblem reads the shapes in which servers report errors. What is none of
// them becomes the message.
func ParseProblem(body []byte) Problem {
	p := Problem{}
	p.read(body, 0)
	if p.Message == "" && p.Type == "" && p.Code == "" {
		p.Message = strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), 4<<10)]), "")), " ")
	}
	p.Message, p.Type, p.Code, p.RequestID = clip(p.Message, maxMessage), clip(p.Type, 100), clip(p.Code, 100), clip(p.RequestID, 100)
	return p
}

// shape holds the members that any of the servers uses.
type shape struct {
	Error     json.RawMessage `json:"error"`
	Type      json.RawMessage `json:"type"`
	Code      json.RawMessage `json:"code"`
	Message   json.RawMessage `json:"message"`
	Detail    json.RawMessage `json:"detail"` // FastAPI
	RequestID json.RawMessage `json:"request_id"`
	Metadata  struct {
		Raw json.RawMessage `json:"raw"` // OpenRouter: the words of the provider behind it
	} `json:"metadata"`
}

func (p *Problem) read(body []byte, depth int) {
	var list []json.RawMessage
	if json.Unmarshal(body, &list) == nil && len(list) > 0 && depth == 0 {
		p.read(list[0], 1)
		return
	}
	if text := word(body); text != "" && depth > 0 {
		p.Message = text
		return
	}
	var s shape
	if json.Unmarshal(body, &s) != nil {
		return
	}
	p.RequestID = first(p.RequestID, word(s.RequestID))
	if depth < 3 && len(s.Error) > 0 && string(s.Error) != "null" {
		p.read(s.Error, depth+1)
		if more := word(s.Message); more != "" && word(s.Error) != "" {
			p.Message += ": " + more
		}
		return
	}
	p.Type, p.Code, p.Message = word(s.Type), word(s.Code), first(word(s.Message), word(s.Detail), string(s.Detail))
	if n, err := strconv.Atoi(p.Code); err == nil && n >= 400 && n < 600 {
		p.Status = n
	}
	if raw := word(s.Metadata.Raw); raw != "" {
		p.Message += ": " + raw
	}
}

// err is the sentence of a problem.
func (p Problem) err(status int) error {
	name := first(p.Code, p.Type)
	if name == strconv.Itoa(p.Status) {
		name = p.Type
	}
	switch {
	case p.Message == "" && name == "":
		return errors.New(first(strings.ToLower(http.StatusText(status)), "it gave no reason"))
	case p.Message == "":
		return errors.New(name)
	case name == "":
		return errors.New(p.Message)
	}
	return errors.New(name + ": " + p.Message)
}

// word is a string or a number, as text.
func word(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// clip shortens a text to n bytes at a letter's border.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
