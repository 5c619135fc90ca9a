package invoice

import "time"

// Due returns the day an invoice is due: 30 days later, and the Monday after
// when that is a weekend.
func Due(issued time.Time) time.Time {
	due := issued.AddDate(0, 0, 30)
	if due.Weekday() == time.Saturday {
		due = due.AddDate(0, 0, 2)
	}
	return due
}
