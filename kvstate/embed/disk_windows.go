package embed

import (
	"errors"
	"math"

	"golang.org/x/sys/windows"
)

// spaceOf asks the file system of dir.
func spaceOf(dir string) (space, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return space{}, err
	}
	var free, total uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, &total, nil); err != nil {
		return space{}, err
	}
	return space{free: int64(min(free, math.MaxInt64)), total: int64(min(total, math.MaxInt64))}, nil
}

// noRoom reports whether err says that a disk is full.
func noRoom(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

func readOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

var errReadOnly = windows.ERROR_WRITE_PROTECT
