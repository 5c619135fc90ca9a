// Package power cuts the power of a store, as often as one likes, without a
// machine that goes down.
//
// # How
//
// A [Disk] is a file system in memory (FUSE). A child process works on it with
// the real store; the disk notes every change in the order in which it happened:
// writes, truncations, new, renamed and removed names, and every sync of a file or
// a directory. What the child was told, and when it starts a body, it writes to
// the file [Notes] on the same disk. So one log has all of it, in one order, and
// each place in it is a moment at which the power can go: a run of a few seconds
// has tens of thousands.
//
// [Log.Cut] makes the folder that the next boot would find. What was synced is
// there. Of what was not, a [Loss] decides, by a seed: all of it lost, all of it
// kept, a prefix of each file's writes with the last one torn, or any of its 4 KiB
// pages, in any order, with holes of zeros between them. So writes that were not
// synced may reach the disk in another order than that of the program.
//
// # Names
//
// What a sync of a file does for its name is a matter of the file system.
//
//   - Ordered: changes of names reach the disk in their order, and a sync of a
//     file takes with it all of them up to the last one of that file. ext4, XFS
//     and btrfs keep at least this. Nothing is kept because time went by.
//   - Strict: only a sync of the directory keeps a name, and each directory is on
//     its own. That is all that POSIX promises; no file system in use here is
//     that bad.
//
// # What is not modelled
//
// A disk that says synced and has not, a sector that is torn below 512 bytes, and
// file systems that show what was in a block before. For the first two there are
// checksums and the high-water mark (kvstate).
package power
