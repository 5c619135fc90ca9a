package loops

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// pinModels resolves the names of models in the spec and keeps what they stand
// for: a loop goes on with the models that it was created with. The usual model
// is written into the spec.
func (e *Engine) pinModels(o *Origin, explicit Limits) error {
	pins := &pinner{models: e.parts.Models, origin: o}
	if o.Spec.Body.Kind == BodyAgent {
		o.Spec.Body.Model = pins.pin("body.model", o.Spec.Body.Model, RoleWorker)
	}
	if o.Spec.Until != nil {
		u := *o.Spec.Until
		u.Any, u.All = pins.group("until.any", u.Any), pins.group("until.all", u.All)
		o.Spec.Until = &u
	}
	if len(pins.problems) > 0 {
		return errors.Join(pins.problems...)
	}
	return o.priced(explicit)
}

// priced refuses a cap on money that nothing can uphold, and warns about the
// default one.
func (o *Origin) priced(explicit Limits) error {
	if len(o.Unpriced) == 0 {
		return nil
	}
	slices.Sort(o.Unpriced)
	o.Unpriced = slices.Compact(o.Unpriced)
	names := strings.Join(o.Unpriced, ", ")
	if explicit.MaxCostUSD != 0 {
		return &RefusedError{Code: "price_unknown", Problem: fmt.Sprintf("limits.max_cost_usd can't hold: nobody knows what %s costs", names),
			Remedy: "leave max_cost_usd out, or give the model a price in the configuration: models.NAME.price: {input: 3, output: 15}, in dollars for a million tokens"}
	}
	o.Warnings = append(o.Warnings, fmt.Sprintf("limits.max_cost_usd: not metered, nobody knows what %s costs; max_total_tokens and the other limits hold", names))
	return nil
}

type pinner struct {
	models   Models
	origin   *Origin
	problems []error
}

func (p *pinner) pin(field, name, role string) string {
	if p.models == nil {
		p.problems = append(p.problems, &FieldError{Field: field, Problem: "this program has no models"})
		return name
	}
	ref, err := p.models.Resolve(name, role)
	if err != nil {
		p.problems = append(p.problems, &FieldError{Field: field, Problem: err.Error()})
		return name
	}
	pinned := maps.Clone(p.origin.Models)
	if pinned == nil {
		pinned = map[string]string{}
	}
	pinned[ref.Name] = ref.ID
	p.origin.Models = pinned
	if !ref.Priced {
		p.origin.Unpriced = append(p.origin.Unpriced, ref.ID)
	}
	return ref.Name
}

func (p *pinner) group(at string, members []Condition) []Condition {
	members = slices.Clone(members)
	for i := range members {
		members[i] = p.condition(itemPath(at, i), members[i])
	}
	return members
}

func (p *pinner) condition(at string, c Condition) Condition {
	if c.Kind == StopJudge {
		c.Model = p.pin(at+".model", c.Model, RoleJudge)
	}
	if c.Not != nil {
		inner := p.condition(at+".not", *c.Not)
		c.Not = &inner
	}
	c.Any, c.All = p.group(at+".any", c.Any), p.group(at+".all", c.All)
	return c
}
