package loops

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tri is an answer that may still be open.
type tri int8

const (
	open tri = iota
	yes
	no
)

// leaf is one condition of a tree, with its place: "all[0]", "any[1].not".
type leaf struct {
	path string
	cond Condition
}

// until returns the tree that ends a pass. Without one, the worker's claim
// decides.
func (s Spec) until() Until {
	if s.Until == nil {
		return Until{All: []Condition{{Kind: StopClaim}}}
	}
	return *s.Until
}

// group evaluates members as "any" or "all" and returns the leaves that decide.
func group(name, prefix string, members []Condition, results map[string]Verdict) (tri, []string) {
	decides, other := yes, no // of a member that settles the group at once
	if name == "all" {
		decides, other = no, yes
	}
	unknown := false
	var paths []string
	for i, m := range members {
		got, by := evaluate(fmt.Sprintf("%s%s[%d]", prefix, name, i), m, results)
		if got == decides {
			return decides, by
		}
		unknown = unknown || got == open
		paths = append(paths, by...)
	}
	if unknown {
		return open, nil
	}
	return other, paths
}

func evaluate(path string, c Condition, results map[string]Verdict) (tri, []string) {
	switch {
	case c.Not != nil:
		got, by := evaluate(path+".not", *c.Not, results)
		if v := results[path+".not"]; v.Error != "" { // what could not be asked is met neither way
			return no, by
		}
		switch got {
		case yes:
			return no, by
		case no:
			return yes, by
		default:
			return open, nil
		}
	case len(c.Any) > 0:
		return group("any", path+".", c.Any, results)
	case len(c.All) > 0:
		return group("all", path+".", c.All, results)
	}
	v, known := results[path]
	switch {
	case !known:
		return open, nil
	case v.Met:
		return yes, []string{path}
	}
	return no, []string{path}
}

// answer evaluates the tree with what is known. by holds the decisive leaves.
func (u Until) answer(results map[string]Verdict) (tri, []string) {
	if len(u.Any) > 0 {
		return group("any", "", u.Any, results)
	}
	return group("all", "", u.All, results)
}

// next returns the cheapest condition whose answer still matters: a group that
// is decided spares its other members. first restricts it to what can be asked
// before any work was done.
func (u Until) next(results map[string]Verdict, first bool) (leaf, bool) {
	if got, _ := u.answer(results); got != open {
		return leaf{}, false
	}
	members, name := u.All, "all"
	if len(u.Any) > 0 {
		members, name = u.Any, "any"
	}
	var undecided []leaf
	for i, m := range members {
		undecided = gather(undecided, fmt.Sprintf("%s[%d]", name, i), m, results)
	}
	if first {
		undecided = slices.DeleteFunc(undecided, func(l leaf) bool {
			return l.cond.Kind != StopPredicate && l.cond.Kind != StopCommand
		})
	}
	if len(undecided) == 0 {
		return leaf{}, false
	}
	return slices.MinFunc(undecided, func(a, b leaf) int { return expense(a.cond.Kind) - expense(b.cond.Kind) }), true
}

func gather(into []leaf, path string, c Condition, results map[string]Verdict) []leaf {
	if got, _ := evaluate(path, c, results); got != open {
		return into
	}
	switch {
	case c.Not != nil:
		return gather(into, path+".not", *c.Not, results)
	case len(c.Any) > 0 || len(c.All) > 0:
		for i, m := range c.Any {
			into = gather(into, fmt.Sprintf("%s.any[%d]", path, i), m, results)
		}
		for i, m := range c.All {
			into = gather(into, fmt.Sprintf("%s.all[%d]", path, i), m, results)
		}
		return into
	}
	return append(into, leaf{path: path, cond: c})
}

// Member returns the condition at a place that [Verdict].Members names.
func (s Spec) Member(path string) (Condition, bool) {
	for _, l := range s.until().leaves() {
		if l.path == path {
			return l.cond, true
		}
	}
	return Condition{}, false
}

// leaves lists every condition of the tree.
func (u Until) leaves() []leaf {
	var all []leaf
	for i, m := range u.Any {
		all = gather(all, fmt.Sprintf("any[%d]", i), m, nil)
	}
	for i, m := range u.All {
		all = gather(all, fmt.Sprintf("all[%d]", i), m, nil)
	}
	return all
}

// expense orders conditions: cheap and certain first, a person last. The claim
// comes after all evidence, so that a pass that evidence settles is not called
// self-declared.
func expense(kind string) int {
	switch kind {
	case StopPredicate:
		return 1
	case StopJudge:
		return 3
	case StopClaim:
		return 4
	case StopHuman:
		return 5
	}
	return 2 // command, and kinds of the program's own
}

// weight orders deciders for the stop reason: the last word counts.
func weight(kind string) int {
	if kind == StopClaim {
		return 0
	}
	return expense(kind)
}

// decision sums up the decisive verdicts in one.
func decision(met bool, by []string, results map[string]Verdict) Verdict {
	if len(by) == 0 { // not decided: what is known speaks
		by = slices.Sorted(maps.Keys(results))
	}
	sum := Verdict{Met: met, SelfReported: len(by) > 0, Members: slices.Clone(by)}
	heaviest := -1
	var reasons, feedback []string
	for _, path := range by {
		v := results[path]
		if w := weight(v.Kind); w > heaviest {
			heaviest, sum.Kind = w, v.Kind
		}
		sum.SelfReported = sum.SelfReported && v.SelfReported
		sum.Evidence = append(sum.Evidence, v.Evidence...)
		if v.Error != "" && sum.Error == "" {
			sum.Error = v.Error
		}
		if v.Reason != "" && !slices.Contains(reasons, v.Reason) {
			reasons = append(reasons, v.Reason)
		}
		if v.Feedback != "" && !slices.Contains(feedback, v.Feedback) {
			feedback = append(feedback, v.Feedback)
		}
	}
	sum.Reason, sum.Feedback = strings.Join(reasons, "; "), strings.Join(feedback, "\n\n")
	return sum
}

// goalReason names the stop reason of a goal that kind decided.
func goalReason(kind string) StopReason {
	switch kind {
	case StopCommand:
		return GoalCommand
	case StopJudge:
		return GoalJudge
	case StopHuman:
		return GoalHuman
	case StopClaim:
		return GoalClaimed
	}
	return GoalPredicate
}

// fingerprint identifies evidence and verdicts together, for stall detection.
func fingerprint(results map[string]Verdict, output string) string {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(results)) {
		v := results[path]
		mark := v.Fingerprint
		if mark == "" {
			mark = output + "\x00" + v.Reason
		}
		fmt.Fprintf(h, "%s\x00%t\x00%s\x00", path, v.Met, mark)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

func textHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:12])
}
