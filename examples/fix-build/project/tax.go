package invoice

// Tax returns the tax on an amount at a rate in percent, rounded half up to the
// cent.
func Tax(amount Cents, percent int64) Cents {
	return amount * Cents(percent) / 100
}
