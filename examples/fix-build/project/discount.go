package invoice

// discountFrom is the total from which on a discount is given.
const discountFrom Cents = 100_00

// Discount returns what is taken off a total: a tenth, from 100.00 on.
func Discount(total Cents) Cents {
	if total > discountFrom {
		return total / 10
	}
	return 0
}
