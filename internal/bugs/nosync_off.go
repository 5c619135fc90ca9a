//go:build !bug_nosync

package bugs

// NoSync acknowledges writes that are not on the disk.
const NoSync = false
