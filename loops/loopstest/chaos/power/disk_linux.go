package power

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Disk is a file system in memory that logs what is done to it. Use it from
// another process: a process that waits for its own file system can hang.
type Disk struct {
	Log Log

	server *fuse.Server
	last   atomic.Uint64 // number of the newest node
	broken atomic.Uint32 // Faults
	mu     sync.Mutex    // held while something changes, so that the log has the order of the changes
}

// Mount makes an empty disk in a directory. Close unmounts it.
func Mount(dir string) (*Disk, error) {
	d := &Disk{}
	d.last.Store(rootNode)
	never := time.Duration(0)
	options := &fs.Options{EntryTimeout: &never, AttrTimeout: &never, NegativeTimeout: &never, RootStableAttr: &fs.StableAttr{Ino: rootNode}}
	options.DirectMount = true
	options.FsName, options.Name = "power", "power"
	options.MaxWrite = 512 << 10
	server, err := fs.Mount(dir, &node{disk: d, id: rootNode, dir: true}, options)
	if err != nil {
		return nil, fmt.Errorf("mount a disk in %s: %w", dir, err)
	}
	d.server = server
	return d, nil
}

// Fault is what a disk that is about to die does not do any more.
type Fault uint32

// The faults of a disk. Each is answered with EIO, and nothing is done.
const (
	NoWrites Fault = 1 << iota // of data, and no new files
	NoSyncs                    // of files and directories
)

// Break lets the disk have these faults and no others from now on; 0: it is well.
func (d *Disk) Break(f Fault) { d.broken.Store(uint32(f)) }

func (d *Disk) has(f Fault) bool { return Fault(d.broken.Load())&f != 0 }

// Close unmounts the disk. The log stays.
func (d *Disk) Close() error { return d.server.Unmount() }

// node is a file, a directory or a socket.
type node struct {
	fs.Inode
	disk *Disk
	id   uint64
	dir  bool
	sock bool
	note bool
	mode uint32
	data []byte // of a file; disk.mu
}

var (
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeFlusher   = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeMknoder   = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

// handle is an open file.
type handle struct{ sync bool }

func opened(flags uint32) *handle {
	return &handle{sync: flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0}
}

func (n *node) attr(out *fuse.Attr) {
	out.Ino, out.Mode, out.Size, out.Nlink = n.id, n.mode&0o7777, uint64(len(n.data)), 1
	out.Blocks = (out.Size + 511) / 512
	out.Uid, out.Gid = uint32(syscall.Getuid()), uint32(syscall.Getgid())
	switch {
	case n.dir:
		out.Mode |= syscall.S_IFDIR
	case n.sock:
		out.Mode |= syscall.S_IFSOCK
	default:
		out.Mode |= syscall.S_IFREG
	}
	if n.id == rootNode {
		out.Mode |= 0o700
	}
}

// Getattr implements [fs.NodeGetattrer].
func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.attr(&out.Attr)
	return 0
}

// Setattr implements [fs.NodeSetattrer]: sizes count, times do not.
func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if mode, ok := in.GetMode(); ok {
		n.mode = mode
	}
	if size, ok := in.GetSize(); ok && int(size) != len(n.data) {
		if n.disk.has(NoWrites) {
			return syscall.EIO
		}
		n.data = resize(n.data, int64(size))
		n.disk.Log.add(op{kind: opTruncate, node: n.id, off: int64(size)})
	}
	n.attr(&out.Attr)
	return 0
}

// Open implements [fs.NodeOpener].
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if flags&syscall.O_TRUNC != 0 && len(n.data) > 0 {
		n.data = nil
		n.disk.Log.add(op{kind: opTruncate, node: n.id})
	}
	return opened(flags), fuse.FOPEN_DIRECT_IO, 0
}

// Read implements [fs.NodeReader].
func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if off >= int64(len(n.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, n.data[off:])]), 0
}

// Write implements [fs.NodeWriter].
func (n *node) Write(_ context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if h, ok := f.(*handle); n.disk.has(NoWrites) || ok && h.sync && n.disk.has(NoSyncs) {
		return 0, syscall.EIO
	}
	data = append([]byte(nil), data...)
	if n.note {
		n.disk.Log.add(op{kind: opNote, data: data})
		return uint32(len(data)), 0
	}
	n.data = overwrite(n.data, data, off)
	n.disk.Log.add(op{kind: opWrite, node: n.id, off: off, data: data})
	if h, ok := f.(*handle); ok && h.sync {
		n.disk.Log.add(op{kind: opSync, node: n.id})
	}
	return uint32(len(data)), 0
}

// Fsync implements [fs.NodeFsyncer], of files and directories.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if n.disk.has(NoSyncs) {
		return syscall.EIO
	}
	n.disk.Log.add(op{kind: opSync, node: n.id, isDir: n.dir})
	return 0
}

// Flush implements [fs.NodeFlusher]: closing a file syncs nothing.
func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }

// Statfs implements [fs.NodeStatfser].
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	out.Blocks, out.Bfree, out.Bavail = 1<<20, 1<<20, 1<<20
	return 0
}

// add makes a node under a name.
func (n *node) add(ctx context.Context, name string, child *node, kind uint32, out *fuse.EntryOut) *fs.Inode {
	child.disk, child.id = n.disk, n.disk.last.Add(1)
	child.note = n.id == rootNode && name == Notes
	inode := n.NewInode(ctx, child, fs.StableAttr{Mode: kind, Ino: child.id})
	if !child.note {
		n.disk.Log.add(op{kind: opMake, node: child.id, dir: n.id, name: name, isDir: child.dir, isSocket: child.sock})
	}
	child.attr(&out.Attr)
	return inode
}

// Create implements [fs.NodeCreater].
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if n.disk.has(NoWrites) {
		return nil, nil, 0, syscall.EIO
	}
	return n.add(ctx, name, &node{mode: mode}, syscall.S_IFREG, out), opened(flags), fuse.FOPEN_DIRECT_IO, 0
}

// Mkdir implements [fs.NodeMkdirer].
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	return n.add(ctx, name, &node{mode: mode, dir: true}, syscall.S_IFDIR, out), 0
}

// Mknod implements [fs.NodeMknoder]: for sockets.
func (n *node) Mknod(ctx context.Context, name string, mode, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if mode&syscall.S_IFMT != syscall.S_IFSOCK && mode&syscall.S_IFMT != syscall.S_IFREG {
		return nil, syscall.EPERM
	}
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	return n.add(ctx, name, &node{mode: mode, sock: mode&syscall.S_IFMT == syscall.S_IFSOCK}, mode&syscall.S_IFMT, out), 0
}

// Unlink implements [fs.NodeUnlinker].
func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.Log.add(op{kind: opRemove, dir: n.id, name: name})
	return 0
}

// Rmdir implements [fs.NodeRmdirer].
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if child := n.GetChild(name); child == nil {
		return syscall.ENOENT
	} else if len(child.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	n.disk.Log.add(op{kind: opRemove, dir: n.id, name: name})
	return 0
}

// Rename implements [fs.NodeRenamer].
func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	child, target := n.GetChild(name), parent.(*node)
	if child == nil {
		return syscall.ENOENT
	}
	if there := target.GetChild(to); there != nil && len(there.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	n.disk.Log.add(op{kind: opRename, node: child.Operations().(*node).id, dir: n.id, name: name, toDir: target.id, to: to})
	return 0
}
