package invoice

// Line is one position of an invoice.
type Line struct {
	Price Cents
	Count int64
}

// Total returns what is to be paid for the lines: less the discount, plus tax.
func Total(lines []Line, taxPercent int64) Cents {
	var sum Cents
	for _, l := range lines {
		sum += l.Price * Cents(l.Count)
	}
	sum -= Discount(sum)
	return sum + Tax(sum, taxPercent)
}
