package mcptools

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"example.com/loop-mcp/loops/agent"
	"example.com/loop-mcp/loops/command"
)

// maxText is the largest text of an outcome, in bytes.
const maxText = 8 << 20

// outcomeOf makes the text of a tool's result: its texts, one below the other,
// and words for what is no text. Structured content is told where no text is.
func outcomeOf(raw json.RawMessage) agent.Outcome {
	var result struct {
		Content    []json.RawMessage `json:"content"`
		Structured json.RawMessage   `json:"structuredContent"`
		IsError    bool              `json:"isError"`
	}
	if json.Unmarshal(raw, &result) != nil {
		return agent.Outcome{Error: true, Text: "the server answered with something that is no result of a tool: " + excerpt(string(raw))}
	}
	var parts []string
	told := false
	for _, one := range result.Content {
		text, isText := contentText(one)
		told = told || isText
		parts = append(parts, text)
	}
	if structured := string(result.Structured); !told && structured != "" && structured != "null" {
		parts = append([]string{structured}, parts...)
	}
	return agent.Outcome{Error: result.IsError, Text: bounded(command.Clean(strings.Join(parts, "\n")))}
}

func bounded(text string) string {
	if len(text) <= maxText {
		return text
	}
	cut := maxText
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + fmt.Sprintf("\n[cut here: the result is %d bytes long and the first %d are shown]", len(text), cut)
}

// content is one part of a result, of any kind.
type content struct {
	Type     string  `json:"type"`
	Text     string  `json:"text"`
	Data     string  `json:"data"`
	MIMEType string  `json:"mimeType"`
	URI      string  `json:"uri"`
	Name     string  `json:"name"`
	Size     float64 `json:"size"`
	Resource struct {
		URI      string  `json:"uri"`
		MIMEType string  `json:"mimeType"`
		Text     *string `json:"text"`
		Blob     string  `json:"blob"`
	} `json:"resource"`
}

// contentText is a part in words; isText is false for what can only be
// described.
func contentText(raw json.RawMessage) (text string, isText bool) {
	var c content
	if json.Unmarshal(raw, &c) != nil {
		return fmt.Sprintf("[something unreadable, %d bytes]", len(raw)), false
	}
	switch c.Type {
	case "text":
		return c.Text, true
	case "image", "audio":
		return fmt.Sprintf("[%s, %d bytes]", kindOr(c.MIMEType, c.Type), decodedLen(c.Data)), false
	case "resource_link":
		words := "[link to " + strings.TrimSpace(c.Name+" "+c.URI)
		if c.MIMEType != "" {
			words += ", " + c.MIMEType
		}
		if c.Size > 0 {
			words += fmt.Sprintf(", %.0f bytes", c.Size)
		}
		return words + "]", false
	case "resource":
		r := c.Resource
		if r.Text != nil {
			return fmt.Sprintf("[%s, %s]\n%s", r.URI, kindOr(r.MIMEType, "text"), *r.Text), true
		}
		return fmt.Sprintf("[%s, %s, %d bytes]", r.URI, kindOr(r.MIMEType, "data"), decodedLen(r.Blob)), false
	}
	return fmt.Sprintf("[content of the unknown kind %q, %d bytes]", excerpt(c.Type), len(raw)), false
}

func kindOr(mime, other string) string {
	if mime == "" {
		return other
	}
	return mime
}

// decodedLen is how many bytes a base64 text stands for.
func decodedLen(base64 string) int {
	return len(strings.TrimRight(base64, "=")) * 3 / 4
}

// excerpt is a piece of somebody else's text, fit for one line of an error.
func excerpt(text string) string {
	const limit = 300
	text = strings.Join(strings.Fields(command.Plain(command.Clean(text[:min(len(text), 4*limit)]))), " ")
	if len(text) <= limit {
		return text
	}
	cut := limit
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
