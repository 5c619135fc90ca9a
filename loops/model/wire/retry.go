package wire

import (
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"example.com/loop-mcp/loops/model"
)

// longestWait bounds what a provider can ask for; a month's limit may reset
// weeks from now.
const longestWait = 31 * 24 * time.Hour

// retryAfter is how long the provider asks to wait: as it says so, else until
// the limit that was used up is renewed, else as its text says.
func retryAfter(e *model.Error, h http.Header, now time.Time) time.Duration {
	if d, ok := asked(h, now); ok {
		return d
	}
	if e.Kind != model.RateLimited {
		return 0
	}
	if d := renewed(h, now); d > 0 {
		return d
	}
	return textWait(e.Err.Error())
}

// asked reads Retry-After, in seconds or as a date, and its finer sibling.
func asked(h http.Header, now time.Time) (time.Duration, bool) {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		return wait(ms * float64(time.Millisecond)), true
	}
	text := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseFloat(text, 64); err == nil {
		return wait(s * float64(time.Second)), true
	}
	if at, err := http.ParseTime(text); err == nil {
		return wait(float64(at.Sub(now))), true
	}
	return 0, false
}

// limits name a limit's remainder and its renewal, of OpenAI and of Anthropic.
var limits = [][2]string{
	{"X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
	{"X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"},
	{"X-Ratelimit-Remaining", "X-Ratelimit-Reset"},
	{"Anthropic-Ratelimit-Requests-Remaining", "Anthropic-Ratelimit-Requests-Reset"},
	{"Anthropic-Ratelimit-Tokens-Remaining", "Anthropic-Ratelimit-Tokens-Reset"},
	{"Anthropic-Ratelimit-Input-Tokens-Remaining", "Anthropic-Ratelimit-Input-Tokens-Reset"},
	{"Anthropic-Ratelimit-Output-Tokens-Remaining", "Anthropic-Ratelimit-Output-Tokens-Reset"},
}

// renewed is the longest time until a limit of which nothing is left is renewed.
func renewed(h http.Header, now time.Time) time.Duration {
	var longest time.Duration
	for _, l := range limits {
		if h.Get(l[0]) == "0" {
			longest = max(longest, moment(h.Get(l[1]), now))
		}
	}
	return longest
}

// moment reads a time to come: "6m0s", a date of RFC 3339, or milliseconds
// since 1970.
func moment(text string, now time.Time) time.Duration {
	if d, err := time.ParseDuration(text); err == nil {
		return wait(float64(d))
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return wait(float64(at.Sub(now)))
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > 1e12 {
		return wait(float64(time.UnixMilli(ms).Sub(now)))
	}
	return 0
}

var tryAgain = regexp.MustCompile(`(?i)try again in ((?:\d+(?:\.\d+)?(?:ms|s|m|h))+)`)

// textWait reads OpenAI's "Please try again in 1.2s".
func textWait(text string) time.Duration {
	if m := tryAgain.FindStringSubmatch(text); m != nil {
		return moment(m[1], time.Time{})
	}
	return 0
}

func wait(ns float64) time.Duration {
	if math.IsNaN(ns) || ns <= 0 {
		return 0
	}
	return time.Duration(min(ns, float64(longestWait)))
}
