package invoice

import (
	"testing"
	"time"
)

func TestDiscount(t *testing.T) {
	for total, want := range map[Cents]Cents{99_99: 0, 100_00: 10_00, 250_00: 25_00} {
		if got := Discount(total); got != want {
			t.Errorf("Discount(%s) = %s, want %s", total, got, want)
		}
	}
}

func TestTax(t *testing.T) {
	for amount, want := range map[Cents]Cents{100_00: 19_00, 10: 2, 99: 19, 50: 10} {
		if got := Tax(amount, 19); got != want {
			t.Errorf("Tax(%s) = %s, want %s", amount, got, want)
		}
	}
}

func TestDue(t *testing.T) {
	for issued, want := range map[string]string{
		"2026-01-01": "2026-02-02", // 31 January is a Saturday
		"2026-01-02": "2026-02-02", // 1 February is a Sunday
		"2026-01-05": "2026-02-04",
	} {
		day, err := time.Parse(time.DateOnly, issued)
		if err != nil {
			t.Fatal(err)
		}
		if got := Due(day).Format(time.DateOnly); got != want {
			t.Errorf("Due(%s) = %s, want %s", issued, got, want)
		}
	}
}

func TestTotal(t *testing.T) {
	lines := []Line{{Price: 10_00, Count: 3}, {Price: 5_00, Count: 2}}
	if got, want := Total(lines, 20), Cents(48_00); got != want {
		t.Errorf("Total = %s, want %s", got, want)
	}
}
