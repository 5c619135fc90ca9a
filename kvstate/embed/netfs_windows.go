package embed

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

// networkFS names the network file system that dir is on; empty: none.
func networkFS(dir string) string {
	volume := filepath.VolumeName(dir)
	if strings.HasPrefix(volume, `\\`) && !strings.HasPrefix(volume, `\\?\`) && !strings.HasPrefix(volume, `\\.\`) {
		return "share " + volume
	}
	root, err := windows.UTF16PtrFromString(volume + `\`)
	if err != nil || windows.GetDriveType(root) != windows.DRIVE_REMOTE {
		return ""
	}
	return "network drive " + volume
}
