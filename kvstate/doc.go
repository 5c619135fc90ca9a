// Package kvstate keeps loops in NATS JetStream key-value buckets: it is the
// [loops.Store] of the program, on the embedded server or on any other.
//
// # One message per commit
//
// Bucket LOOPS (stream KV_LOOPS) has one key per loop, $KV.LOOPS.<id>. A commit
// is one message on that subject, published with the expected last sequence of
// the subject: the sequence is the revision, the server does the compare and
// swap, and a checkpoint can never part from what it adds to the journal.
//
//	Loop-Head: {"v":2,"k":"delta",…,"m":[…],"h":{the loop's head},"crc":"…"}
//	body:      the checkpoint, without what never changes and what the head has
//	           what this commit adds to the journal
//
// For other programs that read them: what is zero is left out; v is the format;
// k is "delta" or "snapshot"; n is the nonce of this commit, pn and p are nonce and
// sequence of the one before; m are the limits in the order of [loops.Limits], as
// numbers, nanoseconds and millionths of a dollar; l holds the bytes
// of the two parts of the body, which is compressed (S2) when c is true; s is the
// checksum of the body as it is sent. crc ends the header and is the checksum of
// what stands before it. A checksum is CRC-32C, then CRC-32 (IEEE), in 16
// hexadecimal digits. A part that is not in the body is named by ob, with its
// checksum, and is the object ID/NAME of LOOPBLOBS, compressed when it has the
// metadata Loop-Packed. The checkpoint is {"origin":…,"state":…}; the journal of a
// snapshot {"iterations":[…],"events":[…],"dropped":n,…}, that of a delta
// {"iteration":…,"events":[…],…}. Status, phase, pass, epoch, cursor, ledger,
// limits, claim, wake_at, updated_at and tell of a state are in the head alone. In
// format 1 they were in both, and the limits in the head as its member; such
// records are read as ever. What is older than a loop's newest snapshot
// counts for nothing: a server that was killed may have some of it.
//
// A record is a delta or a snapshot. The first record of a loop and every
// snapshot carry its Origin and its whole journal; a snapshot is published as a
// rollup, so the server replaces the loop's older records by it in the same
// step. While commits go in batches, which makes that costly, the older records stay
// and this process removes them when no batch went for a second: at most 512 MiB of
// them, only with marks and a retention of at least a day, and only while the disk
// has room. Nothing reads them. What a process that ended has left, the next one
// that opens the store removes, and the others at their next sweep, if the snapshot
// verifies. When a settled loop comes to the end of its retention before, the
// server removes its last record alone, and leaves no marker: its mark tells what is
// still there from a loop that wants a worker.
// A snapshot is written when the deltas since the last one outgrow it, and when
// a loop settles; the latter carries a time to live, the retention. A large
// output, memory or best result, and large notes, that did not change are not
// written again: the checkpoint names the record that has them. Parts of a record over 256 KiB go to
// the object store LOOPBLOBS before the record that names them.
//
// What a body or a condition keeps beside its loop goes to bucket LOOPKEPT, one
// message each, and over 256 KiB to LOOPBLOBS. Nothing counts who refers to a
// blob: it stays as long as its loop, and as long as a fork of it. A head has the
// loops that its loop pins ("pins"), at most eight: there a blob is looked for that
// the loop itself has not, and the sweep keeps what they left when they are gone. A
// fork that would pin more, or a loop that is about to go, gets copies.
//
// The journal of a loop that this process writes stays in memory, compressed and up
// to a bound for all, so that the next snapshot reads nothing back. It counts only
// for the record that it ends with. When there is no room, those of loops that rest
// go first; when all loops are at work, some read theirs back and the others do not.
//
// So Load reads one record, or two when the Origin is not known yet, and
// History reads what follows the last snapshot, in one batch.
//
// # Many commits at once
//
// A server that syncs each message before it acknowledges it takes as many
// commits a second as the disk does syncs, however many loops wait. So with
// Options.Group, when 16 or more commits of this process wait, they go as one
// atomic batch (ADR-50 of NATS), which is synced as a whole before any of them is
// acknowledged. Fewer go one by one, as without: a batch costs several syncs by
// itself. The commits of a batch have nothing to do with each other. When the
// server refuses it because one of them comes too late, that one is a conflict
// and the others go again; when no answer comes, each finds out for itself. Large
// commits go alone. A server that takes no batches gets single messages.
//
// Several servers that replicate sync what they took together anyway: there up
// to 512 messages are under way at once, each on its own.
//
// While a batch is being stored, readers of the projection may see a record that
// is not synced yet; whoever loads the loop waits for the whole batch.
//
// # What went wrong is found out
//
// Every commit carries a random number, the nonce. When a publish does not
// return a sequence, whatever the error says, the record after the expected
// revision is read: with this nonce the commit has landed; when there is none
// the same message is sent again; otherwise somebody else was faster.
//
// JetStream does not report a flipped bit and may lose the rest of a block with
// it. So each record has a checksum over its header and one over its body, the
// revision before it and the number of iterations; all are verified when it is
// read. A loop that does not verify is [loops.ErrDamaged], is listed as failed
// and is handed to no worker; the others go on.
//
// Checksums say nothing about records that are gone. So a store on this machine
// keeps a high-water mark beside itself (package mark) when Options.Mark names a
// folder: for each loop, each record of Update and each request id the newest
// revision that was acknowledged. It is written after the acknowledgement and
// before the caller hears of it, without a sync, and synced once in a while. What
// is read is held against the mark as it was before the read, all loops when the
// store is opened and each one when it is loaded: one that stands before its mark,
// or is not there at all, is damaged. Blobs have no marks: a lost one is found
// missing by whoever asks for it. There is no mark on a cluster, where several
// servers have each record and processes on other machines see no common folder.
//
// # Lists, watches and workers read a projection
//
// An ordered consumer reads the headers of the bucket into memory: the newest of each
// loop, then, as another one, all that come, because for one that has begun with the
// last of each subject the server counts its subjects at every snapshot. Own commits
// go there directly; the consumer never sets them back. List waits until the
// consumer has passed the last message of the stream, so what any process
// acknowledged before is there. Watch and Ready are woken by the same changes.
//
// While very many loops of this process commit at once, nearly all that its consumer would
// read is its own. Then there is none, as long as the process knows every record that
// follows the last one by an acknowledgement of its own. When it has not come further
// for 20 ms, because the next record is somebody else's, or because there is none, a
// consumer reads from there on, and goes on for at least a second after what this
// process did not write. Not in a cluster.
//
// The first page of a list sorts the loops; from then on their order is kept as they
// change, until so much has changed without a list that sorting again costs less.
// While a store is opened, one goroutine receives headers and another verifies and
// keeps them; afterwards one does both, because a change of goroutines costs more
// than a header.
//
// When another process takes over the server (package embed), the requests under
// way end at once and are repeated or looked up, and the consumer goes on after
// the last message that it passed. What is cached counts only for the revision
// that it belongs to, which every commit checks. Sweeping is done by each process;
// it removes what is gone, and twice is as good as once.
//
// There is no queue of loops that want a worker: each process finds them in its
// projection, and a claim is a compare and swap, so two workers that pick the
// same loop cost one refused message and nothing else. A queue would add a
// message to each hand-out and a sweep for lost ones, and would pay only when
// many processes on many machines race for the same loops.
//
// Bucket LOOPREQ binds request ids to loops. Bucket LOOPDATA has the small records
// of Update, such as a day's spending: one message each, which names its last
// writes, because others may have written since an acknowledgement was lost.
//
// # Live text
//
// What running bodies say is published without acknowledgement on loop.log.<id>,
// one JSON [loops.LiveLine] a message of at most 8 KiB:
//
//	{"at":"2026-11-21T10:00:00.123Z","start":3,"text":"Let me look at the test."}
//	{"at":"2026-11-21T10:00:00.211Z","start":3,"tool":"read_file"}
//
// The first piece goes at once; then pieces are joined for 50 ms, and what does
// not fit is cut with a remark. Stream LOOPLOG keeps the last minute in memory.
// A reader subscribes, reads what is kept and drops what it has had twice: no
// consumer, so nothing is left behind, and the subscription outlives a restart of
// the server. The stream does not; it is made again with the next piece.
package kvstate
