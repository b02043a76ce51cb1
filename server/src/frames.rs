//! Pieces of chunks on their way from packs to a client, one frame a piece, read as the client takes
//! them: no more than one step of them is ever in memory.

use crate::{
    app::{App, Place as StreamPlace},
    body::elsewhere,
    db::{
        chunks::{self, Place},
        drives::Device,
    },
    ids::{Hash, Id},
    packs::{Packs, append_at, read_at},
    problem::Problem,
};
use axum::body::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use protocol::{
    limits,
    pack::{ChunkHead, FrameHeader, FrameStatus},
    wire::Piece,
};
use std::{collections::HashMap, collections::VecDeque, fs::File, io, sync::Arc};

/// A step ends when it has gathered this many bytes; one piece more may be on top.
const STEP_BYTES: usize = 512 << 10;
/// Bytes at the start of a chunk that hold its whole head.
const HEAD_BYTES: usize = 22 + 4 * limits::SEGMENTS_PER_CHUNK;
/// Packs that one answer keeps open.
const OPEN_PACKS: usize = 16;

/// The rest of an answer to `chunks/read`.
pub(crate) struct Frames {
    app: Arc<App>,
    device: Device,
    pieces: VecDeque<(Piece, Option<Place>)>,
    open: OpenPacks,
    sent: usize,
    _place: StreamPlace,
}

type OpenPacks = HashMap<Hash, Arc<File>>;

impl Frames {
    pub(crate) fn new(
        app: Arc<App>,
        device: Device,
        pieces: VecDeque<(Piece, Option<Place>)>,
        place: StreamPlace,
    ) -> Frames {
        Frames { app, device, pieces, open: HashMap::new(), sent: 0, _place: place }
    }

    pub(crate) fn stream(self) -> impl Stream<Item = Result<Bytes, Problem>> {
        stream::try_unfold(self, |frames| async move {
            if frames.pieces.is_empty() {
                return Ok::<_, Problem>(None);
            }
            let (step, damaged, frames) = elsewhere(move || Ok(frames.step())).await?;
            frames.report(damaged).await?;
            let bytes: usize = step.iter().map(Bytes::len).sum();
            frames.app.metrics.bytes_out.inc_by(bytes as u64);
            Ok(Some((stream::iter(step.into_iter().map(Ok)), frames)))
        })
        .try_flatten()
    }

    /// Reads as many pieces as make one step. Also gives packs that could not be read back.
    fn step(mut self) -> (Vec<Bytes>, Vec<Hash>, Frames) {
        let (mut step, mut bytes, mut damaged) = (Vec::new(), 0, Vec::new());
        while bytes < STEP_BYTES
            && let Some((piece, place)) = self.pieces.pop_front()
        {
            let read = match place {
                None => Err(FrameStatus::Missing),
                Some(_) if self.sent >= limits::READ_BYTES => Err(FrameStatus::Later),
                Some(place) => self.frame(&piece, &place, &mut damaged),
            };
            let frame = read.unwrap_or_else(|status| {
                FrameHeader { status, head_len: 0, body_len: 0 }.encode().to_vec()
            });
            self.sent += frame.len();
            bytes += frame.len();
            step.push(Bytes::from(frame));
        }
        (step, damaged, self)
    }

    /// The frame of one piece, or why there is none.
    fn frame(
        &mut self,
        piece: &Piece,
        place: &Place,
        damaged: &mut Vec<Hash>,
    ) -> Result<Vec<u8>, FrameStatus> {
        let open = std::mem::take(&mut self.open);
        let mut reader = Reader { packs: &self.app.packs, drive: self.device.drive_id, open };
        let read = reader.piece(place, (piece.first, piece.count), self.room());
        self.open = reader.open;
        match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(pack = protocol::codec::hex(&place.pack), %error, "cannot read a pack");
                if lost(&error) {
                    damaged.push(place.pack);
                }
                Err(FrameStatus::Damaged)
            }
        }
    }

    /// Bytes that still fit; without bound for the first piece, which is always served.
    fn room(&self) -> u64 {
        match self.sent {
            0 => u64::MAX,
            sent => (limits::READ_BYTES - sent.min(limits::READ_BYTES)) as u64,
        }
    }

    async fn report(&self, damaged: Vec<Hash>) -> Result<(), Problem> {
        let drive = self.device.drive;
        for pack in damaged {
            self.app.db.write(move |conn| chunks::mark_damaged(conn, drive, &pack)).await?;
        }
        Ok(())
    }
}

/// Whether the bytes are gone, and not just out of reach for the moment.
pub(crate) fn lost(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}

/// Reads chunks out of packs.
pub(crate) struct Reader<'a> {
    packs: &'a Packs,
    drive: Id,
    open: OpenPacks,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(packs: &'a Packs, drive: Id) -> Reader<'a> {
        Reader { packs, drive, open: HashMap::new() }
    }

    /// The whole chunk as it is stored: head and segments.
    pub(crate) fn whole(&mut self, place: &Place) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; place.len as usize];
        read_at(&*self.pack(&place.pack)?, &mut chunk, place.at)?;
        Ok(chunk)
    }

    /// The frame of some segments of a chunk, if it has at most `room` bytes; in one buffer, which is
    /// sent as it is.
    fn piece(
        &mut self,
        place: &Place,
        (first, count): (u16, u16),
        room: u64,
    ) -> io::Result<Result<Vec<u8>, FrameStatus>> {
        let pack = self.pack(&place.pack)?;
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut start = [0; HEAD_BYTES];
        let start = &mut start[..HEAD_BYTES.min(place.len as usize)];
        read_at(&pack, start, place.at)?;
        let head = ChunkHead::decode(start).map_err(malformed)?;
        let Ok(range) = head.locate(first, count) else { return Ok(Err(FrameStatus::Missing)) };
        if range.end > u64::from(place.len) {
            return Err(malformed(protocol::pack::FormatError {
                what: "chunk",
                why: "longer than its place",
            }));
        }
        let (head_len, body_len) = (head.encoded_len(), range.end - range.start);
        if head_len as u64 + body_len > room {
            return Ok(Err(FrameStatus::Later));
        }
        let header = FrameHeader {
            status: FrameStatus::Ok,
            head_len: head_len as u32,
            body_len: body_len as u32,
        };
        let header = header.encode();
        let mut frame = Vec::with_capacity(header.len() + head_len + body_len as usize);
        frame.extend_from_slice(&header);
        frame.extend_from_slice(&start[..head_len]);
        append_at(&pack, &mut frame, place.at + range.start, body_len as usize)?;
        frame.truncate(header.len() + head_len + body_len as usize);
        Ok(Ok(frame))
    }

    fn pack(&mut self, id: &Hash) -> io::Result<Arc<File>> {
        if let Some(file) = self.open.get(id) {
            return Ok(file.clone());
        }
        let file = Arc::new(self.packs.read(&self.drive, id)?);
        if self.open.len() >= OPEN_PACKS {
            self.open.clear();
        }
        self.open.insert(*id, file.clone());
        Ok(file)
    }
}
