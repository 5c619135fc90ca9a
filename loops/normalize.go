package loops

import (
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Normalize returns the spec with every default filled in and the limits
// clamped to the operator's ceilings, and a sentence for each limit that was
// clamped. Zero fields of defaults and ceilings mean [DefaultLimits] and
// [DefaultCeilings]. The spec that it is called on does not change.
func (s Spec) Normalize(defaults, ceilings Limits) (Spec, []string) {
	s.Name = orDefault(s.Name, "loop")
	s.Body.Kind = orDefault(s.Body.Kind, BodyClient)
	if s.Body.Kind == BodyCommand {
		s.Body.Usage = orDefault(s.Body.Usage, UsageNone)
	}
	if s.Body.Kind == BodyAgent {
		s.Body.History = orDefault(s.Body.History, HistoryFresh)
	}
	s.Result = orDefault(s.Result, ResultLast)
	s.Retry = s.Retry.normalized()
	if s.Stall == nil {
		s.Stall = &Stall{Passes: stallPasses(s.Body.Kind)}
	}
	if s.Until != nil {
		u := *s.Until
		u.Any, u.All = s.conditions(u.Any), s.conditions(u.All)
		s.Until = &u
	}
	var warnings []string
	s.Limits, warnings = s.Limits.normalized(defaults, ceilings)
	return s, warnings
}

func orDefault[T comparable](value, usual T) T {
	var zero T
	if value == zero {
		return usual
	}
	return value
}

// stallPasses is the default of stall.passes: a command may well print the same
// line pass after pass while it makes progress elsewhere.
func stallPasses(kind string) Count {
	if kind == BodyClient || kind == BodyAgent {
		return 3
	}
	return 0
}

func (r Retry) normalized() Retry {
	r.MaxAttempts = orDefault(r.MaxAttempts, 3)
	r.OnCrash = orDefault(r.OnCrash, OnCrashRerun)
	switch {
	case r.Initial == 0 && r.Max == 0:
		r.Initial, r.Max = Duration(time.Second), Duration(time.Minute)
	case r.Initial == 0:
		r.Initial = min(Duration(time.Second), r.Max)
	case r.Max == 0:
		r.Max = max(Duration(time.Minute), r.Initial)
	}
	return r
}

// defaultConditionTimeout is how long a command condition may take.
const defaultConditionTimeout = Duration(10 * time.Minute)

// conditions fills in a copy of a group, so that the caller's spec stays as it is.
func (s Spec) conditions(group []Condition) []Condition {
	group = slices.Clone(group)
	for i := range group {
		group[i] = s.condition(group[i])
	}
	return group
}

func (s Spec) condition(c Condition) Condition {
	if c.Kind == StopCommand {
		c.Timeout = orDefault(c.Timeout, defaultConditionTimeout)
		c.Cwd = orDefault(c.Cwd, s.Body.Cwd)
	}
	if c.Kind == StopJudge {
		c.Votes = orDefault(c.Votes, 2)
		c.Cwd = orDefault(c.Cwd, s.Body.Cwd)
	}
	if c.Not != nil {
		inner := s.condition(*c.Not)
		c.Not = &inner
	}
	c.Any, c.All = s.conditions(c.Any), s.conditions(c.All)
	return c
}

// normalized fills in what l leaves out and clamps it.
func (l Limits) normalized(defaults, ceilings Limits) (Limits, []string) {
	defaults = DefaultLimits().Merge(defaults)
	ceilings = DefaultCeilings().Merge(ceilings)
	switch {
	case l.MaxPasses == 0 && l.MaxIterations != 0:
		defaults.MaxPasses = ceilings.MaxPasses
	case l.MaxIterations == 0 && l.MaxPasses != 0:
		defaults.MaxIterations = ceilings.MaxIterations
	}
	l, warnings := l.Clamp(ceilings)
	defaults, _ = defaults.Clamp(ceilings) // nobody asked for these: no warning
	return defaults.Merge(l), warnings
}

// Merge returns l with the limits of change that are not zero.
func (l Limits) Merge(change Limits) Limits {
	mine, theirs := reflect.ValueOf(&l).Elem(), reflect.ValueOf(change)
	for i := range mine.NumField() {
		if !theirs.Field(i).IsZero() {
			mine.Field(i).Set(theirs.Field(i))
		}
	}
	return l
}

// Clamp returns l with no limit above its ceiling, and a sentence for each one
// that was. A ceiling of zero is [DefaultCeilings].
func (l Limits) Clamp(ceilings Limits) (Limits, []string) {
	ceilings = DefaultCeilings().Merge(ceilings)
	var warnings []string
	mine, top := reflect.ValueOf(&l).Elem(), reflect.ValueOf(ceilings)
	for i, name := range limitNames {
		if mine.Field(i).Int() <= top.Field(i).Int() {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("limits.%s: %s is above this operator's ceiling, clamped to %s",
			name, jsonText(mine.Field(i).Interface()), jsonText(top.Field(i).Interface())))
		mine.Field(i).Set(top.Field(i))
	}
	return l, warnings
}
