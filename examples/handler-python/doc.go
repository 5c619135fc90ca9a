// Package handlerpython holds the test of the example, whose handler is
// summarise.py.
package handlerpython
