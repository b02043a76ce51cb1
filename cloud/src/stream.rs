//! The bytes of a file as they arrive: every segment is opened in the buffer in which it is handed
//! on, and handed on while the next one is still on the line. What comes after a segment that is
//! refused, or after a break, is lost; what came before it is not.

use crate::buffers::{Buffer, Buffers, PAGE_BYTES};
use crate::chunk::Opener;
use crate::client::Answer;
use crate::fetch::{Want, damaged};
use crate::keys::Refused;
use crate::native::Native;
use crate::pieces::{Piece, batches, served};
use crate::store::PartSink;
use bytes::Bytes;
use fs_core::{CloudError, CloudErrorKind, ContentRef};
use futures_util::{StreamExt, stream};
use protocol::limits::SEGMENT_PLAIN_BYTES;
use protocol::pack::{ChunkHead, FRAME_HEADER_BYTES, FrameHeader, FrameStatus};

/// Requests of one fetch that are on their way at once; only the first of them is read from.
const ANSWERS_IN_FLIGHT: usize = 2;
/// Bytes of the first part that is handed on, so that it comes soon, where somebody may wait: not at
/// a multiple of 1 MiB. The next one is four times as large; all others end at multiples of 1 MiB of the file, as the kernel reads, because every part
/// costs its receiver a turn, and a read that lies in two parts a copy.
const FIRST_PART_BYTES: u64 = 64 << 10;
const SECOND_PART_BYTES: u64 = 256 << 10;
const LARGEST_PART_BYTES: u64 = 1 << 20;

impl Native {
    /// Fetches, opens and delivers parts in order.
    pub(crate) async fn deliver(
        &self,
        content: ContentRef,
        wants: Vec<Want>,
        sink: &mut PartSink,
    ) -> Result<(), CloudError> {
        let mut parts = Parts::new(self.buffers.clone(), sink);
        let asks = batches(wants).into_iter().map(|batch| async {
            let answer = self.stream_pieces(&pieces(&batch)).await?;
            Ok::<_, CloudError>((batch, answer))
        });
        let mut answers = stream::iter(asks).buffered(ANSWERS_IN_FLIGHT);
        while let Some(answer) = answers.next().await {
            let (batch, mut answer) = answer?;
            let mut rest = &batch[..];
            loop {
                let taken = self.take(content, rest, answer, &mut parts).await?;
                if taken == rest.len() {
                    break;
                }
                if taken == 0 {
                    let text = "the server sent none of the pieces asked for";
                    return Err(CloudError::new(CloudErrorKind::Retry, text));
                }
                rest = &rest[taken..];
                answer = self.stream_pieces(&pieces(rest)).await?;
            }
        }
        parts.flush();
        Ok(())
    }

    /// Takes wants from an answer until the server puts the rest off. Returns how many it took.
    async fn take(
        &self,
        content: ContentRef,
        wants: &[Want],
        answer: Option<Answer>,
        parts: &mut Parts<'_>,
    ) -> Result<usize, CloudError> {
        let mut incoming = Incoming { answer, ready: Bytes::new() };
        for (taken, want) in wants.iter().enumerate() {
            match want.piece {
                None => parts.zeros(want.at, want.len),
                Some(piece) => {
                    let Some(opener) = self.opener(content, piece, &mut incoming).await? else {
                        return Ok(taken);
                    };
                    self.take_piece(content, *want, opener, (&mut incoming, parts)).await?;
                }
            }
        }
        if incoming.is_over().await? {
            Ok(wants.len())
        } else {
            Err(self.corrupt("more pieces came than were asked for"))
        }
    }

    /// Reads what precedes the segments of a piece; `None` when the server puts it off.
    async fn opener(
        &self,
        content: ContentRef,
        piece: Piece,
        incoming: &mut Incoming,
    ) -> Result<Option<Opener>, CloudError> {
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + 128);
        self.append(incoming, &mut bytes, FRAME_HEADER_BYTES).await?;
        let header = bytes.first_chunk().ok_or(Refused("an answer of pieces is cut off"));
        let header = header.and_then(|header| Ok(FrameHeader::decode(header)?));
        let header = header.map_err(|why| self.corrupt(why.0))?;
        if header.status == FrameStatus::Later {
            return Ok(None);
        }
        bytes.clear();
        self.append(incoming, &mut bytes, header.head_len as usize).await?;
        let open = || {
            served(header.status)?;
            let head = ChunkHead::decode(&bytes)?;
            if head.encoded_len() != bytes.len() {
                return Err(Refused("a chunk's head is not whole"));
            }
            let at = (piece.first, piece.count);
            Opener::new(&self.sealer.keys, &piece.chunk, head, at, header.body_len as usize)
        };
        open().map(Some).map_err(|why| damaged(content, why))
    }

    /// Reads and opens the segments of a piece, each in its place in a part if all of it is wanted.
    async fn take_piece(
        &self,
        content: ContentRef,
        mut want: Want,
        mut opener: Opener,
        (incoming, parts): (&mut Incoming, &mut Parts<'_>),
    ) -> Result<(), CloudError> {
        let refused = |why| damaged(content, why);
        while let Some(stored) = opener.next_len() {
            if want.skip == 0 && opener.plain_len() as u64 <= want.len {
                let plain = parts.at(want.at).vec();
                let start = plain.len();
                self.append(incoming, plain, stored).await?;
                opener.open(plain, start).map_err(refused)?;
                want.moved((plain.len() - start) as u64);
            } else {
                let mut plain = Vec::with_capacity(stored.max(SEGMENT_PLAIN_BYTES));
                self.append(incoming, &mut plain, stored).await?;
                opener.open(&mut plain, 0).map_err(refused)?;
                let from = want.skip.min(plain.len());
                let end = plain.len().min(from + want.len as usize);
                parts.at(want.at).vec().extend_from_slice(&plain[from..end]);
                want.skip -= from;
                want.moved((end - from) as u64);
            }
            parts.ripen();
        }
        if want.len > 0 {
            return Err(refused(Refused("a chunk is shorter than the file needs")));
        }
        Ok(())
    }

    async fn append(
        &self,
        incoming: &mut Incoming,
        out: &mut Vec<u8>,
        count: usize,
    ) -> Result<(), CloudError> {
        if incoming.append(out, count).await? {
            Ok(())
        } else {
            Err(self.corrupt("an answer of pieces is cut off"))
        }
    }
}

fn pieces(wants: &[Want]) -> Vec<Piece> {
    wants.iter().filter_map(|want| want.piece).collect()
}

/// An answer that is read as it comes; none where only holes were wanted.
struct Incoming {
    answer: Option<Answer>,
    ready: Bytes,
}

impl Incoming {
    /// Appends `count` bytes to `out`; false when the answer ends before that.
    async fn append(&mut self, out: &mut Vec<u8>, mut count: usize) -> Result<bool, CloudError> {
        while count > 0 {
            if self.ready.is_empty() && self.is_over().await? {
                return Ok(false);
            }
            let some = self.ready.split_to(count.min(self.ready.len()));
            out.extend_from_slice(&some);
            count -= some.len();
        }
        Ok(true)
    }

    async fn is_over(&mut self) -> Result<bool, CloudError> {
        while self.ready.is_empty() {
            let Some(answer) = &mut self.answer else { return Ok(true) };
            match answer.next().await? {
                Some(bytes) => self.ready = bytes,
                None => self.answer = None,
            }
        }
        Ok(false)
    }
}

/// Puts verified bytes together to parts. All but the last part of a run end where a page of the file
/// ends: the bytes beyond go into the next part, so that the parts can be written page by page.
struct Parts<'a> {
    buffers: Buffers,
    sink: &'a mut PartSink,
    /// Where the open part begins in the file, and its bytes.
    open: Option<(u64, Buffer)>,
    /// Parts that were handed on so far.
    count: usize,
}

impl<'a> Parts<'a> {
    fn new(buffers: Buffers, sink: &'a mut PartSink) -> Parts<'a> {
        Parts { buffers, sink, open: None, count: 0 }
    }

    /// Where the bytes at `at` of the file go.
    fn at(&mut self, at: u64) -> &mut Buffer {
        if self.open.as_ref().is_some_and(|(start, part)| start + part.len() as u64 != at) {
            self.flush();
        }
        &mut self.open.get_or_insert_with(|| (at, self.buffers.begin(at))).1
    }

    /// Hands the open part on if it is large enough.
    fn ripen(&mut self) {
        let count = self.count;
        let Some((start, mut part)) =
            self.open.take_if(|(start, part)| cut_at(*start, part.len() as u64, count).is_some())
        else {
            return;
        };
        let end = start + part.len() as u64;
        let cut = cut_at(start, part.len() as u64, count).unwrap_or(end);
        let rest = part.cut((end - cut) as usize);
        (self.sink)(start, part.finish());
        self.count += 1;
        if !rest.is_empty() {
            self.at(cut).vec().extend_from_slice(&rest);
        }
    }

    fn flush(&mut self) {
        if let Some((start, part)) = self.open.take()
            && part.len() > 0
        {
            (self.sink)(start, part.finish());
            self.count += 1;
        }
    }

    fn zeros(&mut self, mut at: u64, len: u64) {
        const ZEROS: &[u8] = &[0; LARGEST_PART_BYTES as usize];
        self.flush();
        let end = at.saturating_add(len);
        while at < end {
            let len = (end - at).min(ZEROS.len() as u64);
            (self.sink)(at, Bytes::from_static(&ZEROS[..len as usize]));
            at += len;
        }
    }
}

/// Where the part from `start` of `len` bytes is to end, if it is ripe.
fn cut_at(start: u64, len: u64, parts_before: usize) -> Option<u64> {
    let end = start + len;
    let whole = end / LARGEST_PART_BYTES * LARGEST_PART_BYTES;
    let soon = match parts_before {
        0 if start > 0 && start.is_multiple_of(LARGEST_PART_BYTES) => LARGEST_PART_BYTES,
        0 => FIRST_PART_BYTES,
        1 => SECOND_PART_BYTES,
        _ => LARGEST_PART_BYTES,
    };
    if whole > start {
        Some(whole)
    } else if len >= soon {
        Some(end - end % PAGE_BYTES as u64)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
