package loops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time that is written as text ("90s", "10m") in specs
// and answers. A bare number is refused: nobody can tell seconds from
// milliseconds by looking at it. The zero value means "left out".
type Duration time.Duration

// String returns the form that Go prints, for example "2h0m0s".
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the text form.
func (d Duration) MarshalJSON() ([]byte, error) {
	return append(append(append(make([]byte, 0, 24), '"'), d.String()...), '"'), nil
}

// UnmarshalJSON accepts the text form only.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) != nil {
		return fmt.Errorf(`must be a duration in text such as "90s" or "10m", got %s`, clip(string(b), 60))
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf(`must be a duration such as "90s" or "10m", got %q`, clip(text, 60))
	}
	if v < 0 {
		return fmt.Errorf("must not be negative, got %q", text)
	}
	*d = Duration(v)
	return nil
}

// Count is a whole number that may be written with k (thousand) or M
// (million): 400k. The zero value means "left out".
type Count int64

// UnmarshalJSON accepts a whole number, or text with an optional k or M.
func (c *Count) UnmarshalJSON(b []byte) error {
	text := string(bytes.TrimSpace(b))
	var quoted string
	if json.Unmarshal(b, &quoted) == nil {
		text = quoted
	}
	v, err := parseCount(text)
	if err != nil {
		return fmt.Errorf("%w, got %s", err, clip(string(b), 60))
	}
	*c = Count(v)
	return nil
}

var (
	errNotWhole = errors.New("must be a whole number, k and M allowed (400k)")
	errTooLarge = errors.New("is too large")
)

func parseCount(text string) (int64, error) {
	factor := int64(1)
	switch digits := strings.TrimRight(text, "kM"); {
	case len(digits) == len(text):
	case len(text)-len(digits) > 1:
		return 0, errNotWhole
	case strings.HasSuffix(text, "k"):
		text, factor = digits, 1000
	default:
		text, factor = digits, 1_000_000
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, errTooLarge
	}
	if err != nil {
		// 50.0 is how some clients write 50.
		f, ferr := strconv.ParseFloat(text, 64)
		if errors.Is(ferr, strconv.ErrRange) {
			return 0, errTooLarge
		}
		if ferr != nil || f != math.Trunc(f) || math.IsInf(f, 0) || math.IsNaN(f) {
			return 0, errNotWhole
		}
		if math.Abs(f) > 1<<53 {
			return 0, errTooLarge
		}
		v = int64(f)
	}
	if v < 0 {
		return 0, errors.New("must not be negative")
	}
	if v > math.MaxInt64/factor {
		return 0, errTooLarge
	}
	return v * factor, nil
}

// USD is an amount of money in millionths of a dollar, so that sums are exact.
// In JSON it is a number of dollars (0.15). The zero value means "left out" in
// a spec and "nothing" in a ledger.
type USD int64

// Dollar is one dollar.
const Dollar USD = 1_000_000

// Dollars returns the amount as a number of dollars.
func (u USD) Dollars() float64 { return float64(u) / float64(Dollar) }

// String returns "$0.15"; amounts below a cent keep their digits.
func (u USD) String() string {
	if u%10_000 == 0 {
		return fmt.Sprintf("$%.2f", u.Dollars())
	}
	return "$" + strings.TrimRight(fmt.Sprintf("%.6f", u.Dollars()), "0")
}

// maxUSD is the largest amount that is written and read. A sum above it, which a
// provider that reports nonsense can bring about, is written as this one: a
// ledger must stay readable, and no limit is larger.
const maxUSD = 1_000_000_000 * Dollar

// MarshalJSON writes dollars with at most six digits behind the point.
func (u USD) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, min(u, maxUSD).Dollars(), 'f', -1, 64), nil
}

// UnmarshalJSON accepts a number of dollars and rounds up to a millionth.
func (u *USD) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(bytes.TrimSpace(b)), 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("must be a number of dollars such as 2 or 0.50, got %s", clip(string(b), 60))
	case f < 0:
		return fmt.Errorf("must not be negative, got %s", clip(string(b), 60))
	case err != nil || f > maxUSD.Dollars():
		return fmt.Errorf("is too large, got %s", clip(string(b), 60))
	}
	// What is a whole number of millionths but for the last bits of the float
	// is that number; anything else counts as the next one.
	millionths := f * 1e6
	nearest := math.Round(millionths)
	if math.Abs(millionths-nearest) > max(1e-3, nearest*1e-15) {
		nearest = math.Ceil(millionths)
	}
	*u = USD(nearest)
	return nil
}

// clip shortens text for an error or a one-line summary, at a rune border.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	cut := limit
	for cut > 0 && text[cut]&0xC0 == 0x80 {
		cut--
	}
	return text[:cut] + "…"
}
