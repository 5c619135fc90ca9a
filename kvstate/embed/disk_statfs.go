//go:build linux || darwin || freebsd

package embed

import "golang.org/x/sys/unix"

// diskFree returns how many bytes this user can still write below dir.
func diskFree(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil //nolint:unconvert // another type on other systems
}
