package embed

import "testing"

func TestRemoteFuse(t *testing.T) {
	const mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n" +
		"40 22 0:40 / /home/me/far\\040away rw,nosuid - fuse.sshfs me@host: rw\n" +
		"41 22 0:41 / /home/me/disk rw,nosuid - fuseblk /dev/sdb1 rw\n" +
		"42 40 0:42 / /home/me/far\\040away/near rw - tmpfs tmpfs rw\nbroken\n"
	for dir, want := range map[string]string{
		"/home/me": "", "/home/me/far away": "fuse.sshfs", "/home/me/far away/x": "fuse.sshfs",
		"/home/me/far away/near/x": "", "/home/me/far awayX": "", "/home/me/disk/x": "",
	} {
		if got := remoteFuse(dir, mounts); got != want {
			t.Errorf("%s is on %q, want %q", dir, got, want)
		}
	}
	for kind, name := range networkKinds {
		if name == "" {
			t.Errorf("%x has no name", kind)
		}
	}
	if kind := networkFS(t.TempDir()); kind != "" {
		t.Skipf("the tests run on %s", kind)
	}
}
