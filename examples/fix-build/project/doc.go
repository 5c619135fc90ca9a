// Package invoice adds up the lines of an invoice: amounts of money to the
// cent, a discount for large orders, tax, and the day on which it is due.
package invoice
