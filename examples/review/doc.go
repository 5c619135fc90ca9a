// Package review holds the test of the example; README.md says what it shows.
package review
