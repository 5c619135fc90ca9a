// Package mark keeps a high-water mark beside a store: for each key the newest
// revision that was acknowledged. A store that later answers with an older one
// has lost records, whatever it says.
//
// # Why
//
// JetStream does not report a flipped bit. One in the middle of a block can cost
// the rest of that block, one in the last block also sets the stream's last
// sequence back, and nothing says so: the records that are left are whole, and
// the loops that they describe stand where they stood before. They would begin
// again, their ledgers set back, and their caps with them. No checksum inside the
// store finds that out, so the mark is outside of it.
//
// # When a mark is written, and what it proves
//
// A mark is written after the store acknowledged a revision and before the
// caller hears of it, with one write to a file and without a sync. The file is
// synced once in [Batch] marks, before the mark that fills the batch returns,
// and [Interval] after the first mark that is not synced. Hence, for what the
// store acknowledged to a caller:
//
//   - As long as the machine stays up, killed processes included, the mark is
//     exact: every record that goes missing is noticed.
//   - After a power cut the mark may be older than the store by the last Batch
//     marks of each writer or the last Interval, whichever is less. A loss that
//     goes further back is noticed with certainty. One within that span is
//     noticed only if the marks happened to reach the disk; the store itself,
//     which syncs every commit, has to fail in just that span for it to matter.
//   - The mark is never ahead of the store: it is written last. So it never calls
//     a store damaged that kept what it acknowledged, and a crash costs nothing.
//
// Marking ahead in steps ("up to here, and a hundred more") would need no sync
// either, but then an ordinary crash and a loss of a hundred commits look the
// same, and one of them has to be answered wrongly.
//
// # Files
//
// Each writer has a file of its own in the directory, WRITER.RANDOM.mark, so that
// several processes need no lock and a torn tail is always the end of a file that
// nobody writes to any more. Files are merged by taking the greatest revision of
// each key, which can be done in any order and as often as one likes. A writer
// whose file has grown to a multiple of what it says begins a new one, with what
// the files of dead writers say, and removes the old ones; a name is never used
// twice. A writer that was taken for dead by mistake finds its file gone at the
// next sync and writes all it knows again.
//
//	loop-mcp marks 1
//	8213 0 fix-build-7k3q 5d9a01c2
//	8214 1795000000 review-2mfx 0b7e44f1
//
// A line is the revision, the Unix time at which the key goes by itself (0:
// never), the key and a CRC-32 (Castagnoli) of what is in front of it. A line
// that does not verify is skipped and counted: the keys that it spoke of are then
// as old as the line before said.
package mark
