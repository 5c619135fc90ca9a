package invoice

import "testing"

func TestParse(t *testing.T) {
	for text, want := range map[string]Cents{"12": 1200, "12.5": 1250, "12.50": 1250, "0.05": 5} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "1.234"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %d, want an error", text, got)
		}
	}
}

func TestString(t *testing.T) {
	for c, want := range map[Cents]string{1250: "12.50", 5: "0.05", -5: "-0.05", -1250: "-12.50"} {
		if got := c.String(); got != want {
			t.Errorf("%d prints as %q, want %q", int64(c), got, want)
		}
	}
}
