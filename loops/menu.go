package loops

import "encoding/json"

// body returns the part that works on a spec; nil for a client.
func (e *Engine) body(b BodySpec) Body {
	if b.Kind != BodyHandler {
		return e.parts.Bodies[b.Kind]
	}
	if body, ok := e.parts.Handlers[b.Name]; ok || e.parts.Elsewhere == nil {
		return body
	}
	return e.parts.Elsewhere(b.Name)
}

// warned is what the body of o says about it beforehand.
func (e *Engine) warned(o Origin) []string {
	w, ok := e.body(o.Spec.Body).(Warner)
	if !ok {
		return nil
	}
	setup := o.setup(false)
	if b, err := expandBody(born("check-aaaa", o)); err == nil {
		setup.Config, _ = json.Marshal(b) // plain data: can't fail
	}
	return w.Warn(setup)
}

func (o Origin) setup(claiming bool) Setup {
	return Setup{Source: o.Source, Dir: o.Dir, Models: o.Models, Inputs: typedInputs(o.Spec.Inputs, o.Inputs), Claim: claiming}
}
