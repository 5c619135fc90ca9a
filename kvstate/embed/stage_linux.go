package embed

import "golang.org/x/sys/unix"

const tmpfs = 0x01021994

// shm is the folder in memory of this system.
const shm = "/dev/shm"

// memoryDir returns a folder that is in memory and has room; empty: there is none.
func memoryDir() string {
	var fs unix.Statfs_t
	if err := unix.Statfs(shm, &fs); err != nil || uint32(fs.Type) != tmpfs { //nolint:gosec // the number has 32 bits, its type differs between systems
		return ""
	}
	if free, err := spaceOf(shm); err != nil || free.readOnly || free.free < stageRoom {
		return ""
	}
	return shm
}
