//go:build linux || darwin || freebsd

package embed

import (
	"errors"

	"golang.org/x/sys/unix"
)

// mountedReadOnly is ST_RDONLY, which BSD calls MNT_RDONLY.
const mountedReadOnly = 1

// spaceOf asks the file system of dir.
func spaceOf(dir string) (space, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return space{}, err
	}
	block := int64(fs.Bsize) //nolint:unconvert // another type on other systems
	free, total := int64(fs.Bavail), int64(fs.Blocks)
	readOnly := int64(fs.Flags)&mountedReadOnly != 0 //nolint:unconvert // the same
	return space{free: max(0, free) * block, total: total * block, readOnly: readOnly}, nil
}

// noRoom reports whether err says that a disk is full, or this user's part of it.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

func readOnly(err error) bool { return errors.Is(err, unix.EROFS) }

var errReadOnly = unix.EROFS
