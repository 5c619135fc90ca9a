// Package research holds the test of the example; README.md says what it shows.
package research
