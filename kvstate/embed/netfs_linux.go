package embed

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// networkKinds are the file systems whose locks and syncs another machine
// answers for, by the number that statfs gives.
var networkKinds = map[uint32]string{
	0x6969: "nfs", 0x517B: "smb", 0xFE534D42: "smb2", 0xFF534D42: "cifs", 0x01021997: "9p", 0x00C36400: "ceph",
	0x5346414F: "afs", 0x6B414653: "afs", 0x73757245: "coda", 0x564C: "ncp", 0x0BD00BD0: "lustre", 0x47504653: "gpfs",
}

const fuse = 0x65735546

// networkFS names the network file system that dir is on; empty: none.
func networkFS(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return ""
	}
	kind := uint32(fs.Type) //nolint:gosec // the number has 32 bits, its type differs between systems
	if kind != fuse {
		return networkKinds[kind]
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return remoteFuse(dir, string(mounts))
}

// remoteFuse names the kind of the mount that dir is on when it is one that goes
// over the network.
func remoteFuse(dir, mountinfo string) string {
	best, kind := "", ""
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(rest) < 1 {
			continue
		}
		at := unescape(fields[4])
		inside := dir == at || strings.HasPrefix(dir, strings.TrimSuffix(at, "/")+"/")
		if inside && len(at) >= len(best) {
			best, kind = at, rest[0]
		}
	}
	for _, remote := range []string{"sshfs", "rclone", "s3fs", "gcsfuse", "glusterfs", "davfs", "curlftpfs", "smbnetfs", "goofys", "juicefs", "ceph", "blobfuse", "mountpoint-s3", "seaweedfs"} {
		if strings.Contains(kind, remote) {
			return kind
		}
	}
	return ""
}

// unescape decodes what mountinfo writes for blanks in a path.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}
