package agent

import (
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
)

// turnTo makes the memory that of the turn's pass and takes in what is new for
// the model. It tells a person's answer apart that a call waits for.
func (m *memory) turnTo(t loops.Turn, spec loops.BodySpec) (reply string) {
	own := "" // what the body's own prompt tells already
	if m.Pass != t.Pass {
		m.begin(t, spec)
		own = spec.Prompt
	} else {
		m.failure(t)
	}
	if m.Answer.waits() && t.Answer != "" && m.Heard.Answer != hashOf(t.Answer) {
		m.Heard.Answer, reply = hashOf(t.Answer), t.Answer
	}
	if t.Answer != "" && m.Heard.Answer != hashOf(t.Answer) {
		m.Heard.Answer = hashOf(t.Answer)
		m.tell(unless(own, t.Answer, answerText(t.Answer)))
	}
	m.steer(t.Steer, own)
	return reply
}

// begin is the first turn of a pass.
func (m *memory) begin(t loops.Turn, spec loops.BodySpec) {
	fresh, untold := spec.History != loops.HistoryAll, m.News
	m.News = nil
	if fresh || m.last() == nil {
		m.forget()
		if spec.Prompt != "" {
			m.Prompt = held{Text: clean(t.Prompt)}
		}
	} else if spec.Prompt != "" {
		m.tell(t.Prompt)
	}
	m.Pass, m.Answer, m.Partial, m.Heard = t.Pass, nil, held{}, heard{Standing: hashOf(t.Feedback), StandLen: len(t.Feedback)}
	if fresh {
		m.tell(m.carried(t.Output))
	}
	if t.Feedback != "" {
		m.tell(unless(spec.Prompt, t.Feedback, feedbackText("What the last attempt came to.", t.Feedback)))
	}
	m.News = append(m.News, untold...)
}

// unless gives text, or nothing when the body's own prompt has what it is about.
// Short texts are in there by chance and are told twice rather than not at all.
func unless(prompt, part, text string) string {
	if len(part) >= 64 && strings.Contains(prompt, part) {
		return ""
	}
	return text
}

// failure takes in why the last iteration failed. The feedback that the pass
// began with comes with every turn and is known. What a repeated start was
// repeated for is the provider's or a server's matter.
func (m *memory) failure(t loops.Turn) {
	text := t.Feedback
	if text == "" || t.Attempt > 1 || hashOf(text) == m.Heard.Standing || hashOf(text) == m.Heard.Failure {
		return
	}
	m.Heard.Failure = hashOf(text)
	if cut := len(text) - m.Heard.StandLen; m.Heard.StandLen > 0 && cut > 0 && hashOf(text[cut:]) == m.Heard.Standing {
		text = strings.TrimSpace(text[:cut])
	}
	m.tell(feedbackText("Your last turn failed.", text))
}

// steer takes in the guidance that is new: what an earlier start of the same
// iteration had comes first and is known.
func (m *memory) steer(text, own string) {
	if n := m.Heard.SteerLen; n > 0 && n <= len(text) && hashOf(text[:n]) == m.Heard.Steer {
		if m.Heard.SteerLen, m.Heard.Steer = len(text), hashOf(text); n == len(text) {
			return
		}
		text = text[n:]
	} else {
		m.Heard.SteerLen, m.Heard.Steer = len(text), hashOf(text)
	}
	if strings.TrimSpace(text) != "" {
		m.tell(unless(own, text, steerText(strings.TrimSpace(text))))
	}
}

// committed forgets what the engine does not hand out again after an iteration.
func (m *memory) committed() {
	m.Heard.Steer, m.Heard.SteerLen, m.Heard.Answer, m.Heard.Failure = "", 0, "", ""
}

// tell queues a text for the model.
func (m *memory) tell(text string) {
	if text = strings.TrimSpace(clean(text)); text != "" {
		m.News = append(m.News, held{Text: text})
	}
}

// say puts what is queued, and then last, into the user's message at the end of
// the conversation.
func (m *memory) say(last string) {
	var blocks []model.Block
	for _, h := range m.News {
		blocks = append(blocks, model.Block{Text: h.Text})
	}
	m.News = nil
	if last != "" {
		blocks = append(blocks, model.Block{Text: last})
	}
	m.add(model.User, blocks...)
}

// add puts blocks at the end of the conversation; a message of the same user
// grows.
func (m *memory) add(role model.Role, blocks ...model.Block) {
	if len(blocks) == 0 {
		return
	}
	if n := len(m.Tail); n > 0 && role == model.User && m.Tail[n-1].Role == role {
		m.Tail[n-1].Blocks = append(m.Tail[n-1].Blocks, blocks...)
		return
	}
	m.Tail = append(m.Tail, entry{Message: model.Message{Role: role, Blocks: blocks}})
}
