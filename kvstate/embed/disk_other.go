//go:build !linux && !darwin && !freebsd && !windows

package embed

// diskFree is a guess where the system cannot be asked in a common way.
func diskFree(string) (int64, error) { return 1 << 40, nil }
