package prices

import (
	"regexp"
	"strings"
	"time"
)

// rule says which names of a model, in lower case, an entry is for. Exactly one
// of its fields is set.
type rule struct {
	Or         []rule `json:"or"`
	And        []rule `json:"and"`
	Equals     string `json:"equals"`
	StartsWith string `json:"starts_with"`
	EndsWith   string `json:"ends_with"`
	Contains   string `json:"contains"`
	Regex      string `json:"regex"`
	Without    string `json:"without"` // a regular expression that must not match
}

func (r rule) matches(name string) bool {
	switch {
	case r.Or != nil:
		for _, part := range r.Or {
			if part.matches(name) {
				return true
			}
		}
		return false
	case r.And != nil:
		for _, part := range r.And {
			if !part.matches(name) {
				return false
			}
		}
		return true
	case r.Equals != "":
		return name == r.Equals
	case r.StartsWith != "":
		return strings.HasPrefix(name, r.StartsWith)
	case r.EndsWith != "":
		return strings.HasSuffix(name, r.EndsWith)
	case r.Contains != "":
		return strings.Contains(name, r.Contains)
	case r.Regex != "":
		return expression(r.Regex).MatchString(name)
	case r.Without != "":
		return !expression(r.Without).MatchString(name)
	}
	return false
}

func expression(pattern string) *regexp.Regexp {
	re, err := regexp.Compile(pattern)
	if err != nil {
		panic(damaged(err))
	}
	return re
}

// dashedDates writes the dates in a name the other way that vendors have:
// gpt-5-20250807 is gpt-5-2025-08-07.
func dashedDates(name string) string {
	parts := strings.Split(name, "-")
	for i, part := range parts {
		day, rest, more := strings.Cut(part, ":")
		date, err := time.Parse("20060102", day)
		if i == 0 || len(day) != 8 || !strings.HasPrefix(day, "20") || err != nil {
			continue
		}
		parts[i] = date.Format(time.DateOnly)
		if more {
			parts[i] += ":" + rest
		}
	}
	return strings.Join(parts, "-")
}
