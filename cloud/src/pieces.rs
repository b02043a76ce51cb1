//! Pieces of chunks: asked for in batches, answered in frames, opened off the async threads.

use crate::chunk;
use crate::client::{Answer, Call};
use crate::fetch::{Want, stopped};
use crate::keys::{ChunkId, Refused, TAG_BYTES};
use crate::native::Native;
use bytes::Bytes;
use fs_core::{CloudError, CloudErrorKind};
use protocol::codec::encode;
use protocol::limits::{CHUNK_PLAIN_BYTES, READ_BYTES, READ_PIECES, SEGMENT_PLAIN_BYTES};
use protocol::pack::{ChunkHead, FRAME_HEADER_BYTES, FrameHeader, FrameStatus};
use protocol::wire;

/// The media type of an answer of frames.
const FRAMES: &str = "application/vnd.meshdrive.frames";
/// Plain bytes that one request asks for at most, with one piece on top.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes of an answer that are read at most: what the server may send, one piece that is always
/// served, and the frames around them.
const ANSWER_BYTES: usize = READ_BYTES + 2 * CHUNK_PLAIN_BYTES + READ_PIECES * 128;

/// Some segments of a chunk, in a row; `count` 0 = to the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) chunk: ChunkId,
    pub(crate) first: u16,
    pub(crate) count: u16,
}

/// Groups parts, in order, into requests.
pub(crate) fn batches(wants: Vec<Want>) -> Vec<Vec<Want>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let (mut bytes, mut pieces) = (0, 0);
    for want in wants {
        let len = want.piece.map_or(0, |piece| usize::from(piece.count) * SEGMENT_PLAIN_BYTES);
        if !batch.is_empty() && (bytes + len > BATCH_BYTES || pieces == READ_PIECES) {
            batches.push(std::mem::take(&mut batch));
            (bytes, pieces) = (0, 0);
        }
        bytes += len;
        pieces += usize::from(want.piece.is_some());
        batch.push(want);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// A frame of an answer: where head and body lie in it.
struct Frame {
    status: FrameStatus,
    head: std::ops::Range<usize>,
    body: std::ops::Range<usize>,
}

impl Native {
    /// Fetches and opens pieces; one result a piece, in order. Fails as a whole only when the answer
    /// as a whole cannot be used.
    pub(crate) async fn read_pieces(
        &self,
        pieces: Vec<Piece>,
    ) -> Result<Vec<Result<Bytes, Refused>>, CloudError> {
        let mut opened = Vec::with_capacity(pieces.len());
        while opened.len() < pieces.len() {
            let rest = &pieces[opened.len()..];
            let answer = self.ask_pieces(rest).await?;
            let frames = frames(&answer).map_err(|why| self.corrupt(why.0))?;
            if frames.len() > rest.len() {
                return Err(self.corrupt("more pieces came than were asked for"));
            }
            let served =
                frames.iter().take_while(|frame| frame.status != FrameStatus::Later).count();
            if served == 0 {
                let text = "the server sent none of the pieces asked for";
                return Err(CloudError::new(CloudErrorKind::Retry, text));
            }
            let mine = rest[..served].to_vec();
            let sealer = self.sealer.clone();
            let open = move || {
                let open = |(piece, frame)| open_frame(&sealer.keys, piece, frame, &answer);
                mine.iter().zip(&frames).map(open).collect::<Vec<_>>()
            };
            opened.extend(tokio::task::spawn_blocking(open).await.map_err(|_| stopped())?);
        }
        Ok(opened)
    }

    async fn ask_pieces(&self, pieces: &[Piece]) -> Result<Vec<u8>, CloudError> {
        let likely = pieces.iter().map(likely_bytes).sum();
        self.client.bytes(self.call_for(pieces).likely(likely), FRAMES).await
    }

    /// Asks for pieces, to read the answer as it comes; `None` if there are none.
    pub(crate) async fn stream_pieces(
        &self,
        pieces: &[Piece],
    ) -> Result<Option<Answer>, CloudError> {
        if pieces.is_empty() {
            return Ok(None);
        }
        self.client.stream(self.call_for(pieces), FRAMES).await.map(Some)
    }

    fn call_for(&self, pieces: &[Piece]) -> Call {
        let piece = |piece: &Piece| wire::Piece {
            chunk: wire::Hash::new(piece.chunk),
            first: piece.first,
            count: piece.count,
        };
        let query = wire::ReadPieces { pieces: pieces.iter().map(piece).collect() };
        Call::post(format!("{}/chunks/read", self.path), encode(&query)).limit(ANSWER_BYTES)
    }
}

/// Bytes of the frame of a piece, if it does not shrink: a guess that saves moving a growing answer.
fn likely_bytes(piece: &Piece) -> usize {
    const AROUND: usize = 256;
    usize::from(piece.count) * (SEGMENT_PLAIN_BYTES + TAG_BYTES) + AROUND
}

/// Finds the frames in an answer.
fn frames(answer: &[u8]) -> Result<Vec<Frame>, Refused> {
    let mut frames = Vec::new();
    let mut at = 0;
    while at < answer.len() {
        let header = answer[at..].first_chunk::<FRAME_HEADER_BYTES>();
        let header = FrameHeader::decode(header.ok_or(Refused("an answer of pieces is cut off"))?)?;
        let head = at + FRAME_HEADER_BYTES;
        let body = head + header.head_len as usize;
        let end = body + header.body_len as usize;
        if end > answer.len() {
            return Err(Refused("an answer of pieces is cut off"));
        }
        frames.push(Frame { status: header.status, head: head..body, body: body..end });
        at = end;
    }
    Ok(frames)
}

/// Whether the store has sent the piece.
pub(crate) fn served(status: FrameStatus) -> Result<(), Refused> {
    match status {
        FrameStatus::Ok => Ok(()),
        FrameStatus::Missing => Err(Refused("the store lacks one of its chunks")),
        FrameStatus::Damaged => Err(Refused("the store cannot read one of its chunks")),
        FrameStatus::Later => Err(Refused("one of its chunks was put off")),
    }
}

fn open_frame(
    keys: &crate::keys::Keys,
    piece: &Piece,
    frame: &Frame,
    answer: &[u8],
) -> Result<Bytes, Refused> {
    served(frame.status)?;
    let head = ChunkHead::decode(&answer[frame.head.clone()])?;
    if head.encoded_len() != frame.head.len() {
        return Err(Refused("a chunk's head is not whole"));
    }
    let at = (piece.first, piece.count);
    chunk::open(keys, &piece.chunk, head, at, &answer[frame.body.clone()]).map(Bytes::from)
}
