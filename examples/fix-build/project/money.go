package invoice

import (
	"fmt"
	"strconv"
	"strings"
)

// Cents is an amount of money in hundredths.
type Cents int64

// Parse reads an amount such as "12", "12.5" or "12.50".
func Parse(text string) (Cents, error) {
	whole, part, _ := strings.Cut(text, ".")
	if whole == "" || len(part) > 2 {
		return 0, fmt.Errorf("parse %q: want digits, and at most two behind the point", text)
	}
	part = strings.Repeat("0", 2-len(part)) + part
	cents, err := strconv.ParseInt(whole+part, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse %q: not an amount", text)
	}
	return Cents(cents), nil
}

// String returns the amount with two digits behind the point.
func (c Cents) String() string {
	return fmt.Sprintf("%d.%02d", c/100, c%100)
}
