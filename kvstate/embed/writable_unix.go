//go:build unix

package embed

import "golang.org/x/sys/unix"

// writable reports whether this process may make files in a directory.
func writable(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }

// usable reports whether this process may read and write a file.
func usable(path string) bool { return unix.Access(path, unix.R_OK|unix.W_OK) == nil }
