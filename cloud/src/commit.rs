//! Committing: operations of the core, sealed for the wire, and outcomes back.

use crate::client::Call;
use crate::draft::DraftRecord;
use crate::native::Native;
use crate::record::Field;
use crate::records::kind_number;
use fs_core::{
    Attrs, CloudError, CloudErrorKind, ContentRef, Draft, Flight, Group, GroupOutcome, Name,
    NodeId, Op, Rev,
};
use protocol::codec::{decode, encode};
use protocol::limits::{COMMIT_BYTES, OPS_PER_COMMIT, PAGE_NODES, SEALED_META_BYTES};
use protocol::wire;

/// Why a group does not go out at all.
enum Unsent {
    Outcome(GroupOutcome),
    Failed(CloudError),
}

impl From<CloudError> for Unsent {
    fn from(error: CloudError) -> Unsent {
        Unsent::Failed(error)
    }
}

impl Native {
    pub(crate) async fn commit(&self, flight: &Flight) -> Result<Vec<GroupOutcome>, CloudError> {
        let mut outcomes: Vec<Option<GroupOutcome>> = Vec::with_capacity(flight.groups.len());
        let mut groups = Vec::new();
        for group in &flight.groups {
            match self.wire_group(group) {
                Ok(ops) => {
                    groups.push(ops);
                    outcomes.push(None);
                }
                Err(Unsent::Outcome(outcome)) => outcomes.push(Some(outcome)),
                Err(Unsent::Failed(error)) => return Err(error),
            }
        }
        if groups.is_empty() {
            return Ok(outcomes.into_iter().flatten().collect());
        }
        let replies = self.send_commit(flight, groups).await?;
        let mut replies = replies.into_iter();
        let mut all = Vec::with_capacity(outcomes.len());
        for (group, outcome) in flight.groups.iter().zip(outcomes) {
            let outcome = match outcome {
                Some(outcome) => outcome,
                None => {
                    let reply = replies.next();
                    let reply = reply.ok_or_else(|| self.corrupt("a commit was answered in part"));
                    self.outcome(reply?)?
                }
            };
            if let GroupOutcome::Done(rev) = outcome {
                self.remember(group, rev);
            }
            all.push(outcome);
        }
        Ok(all)
    }

    async fn send_commit(
        &self,
        flight: &Flight,
        groups: Vec<Vec<wire::Op>>,
    ) -> Result<Vec<wire::Outcome>, CloudError> {
        let ops: usize = groups.iter().map(Vec::len).sum();
        let count = groups.len();
        let request = wire::Id::new(flight.request.0);
        let body = encode(&wire::Commit { request, groups });
        if ops > OPS_PER_COMMIT || body.len() > COMMIT_BYTES {
            let text = format!(
                "a commit of {ops} operations in {} bytes is over the limits ({OPS_PER_COMMIT}, \
                 {COMMIT_BYTES}); nothing was sent",
                body.len()
            );
            return Err(CloudError::new(CloudErrorKind::Invalid, text));
        }
        let call = Call::post(format!("{}/commit", self.path), body);
        let reply = self.client.call(call, decode::<wire::CommitReply>).await?;
        if reply.outcomes.len() != count {
            return Err(self.corrupt("a commit was answered with another number of outcomes"));
        }
        Ok(reply.outcomes)
    }

    fn wire_group(&self, group: &Group) -> Result<Vec<wire::Op>, Unsent> {
        group.ops.iter().map(|op| self.wire_op(op)).collect()
    }

    fn wire_op(&self, op: &Op) -> Result<wire::Op, Unsent> {
        Ok(match op {
            Op::Create { id, parent, name, kind, attrs, content } => {
                let (name_key, name) = self.place(*id, *parent, name)?;
                wire::Op::Create {
                    id: wire_id(*id),
                    parent: wire_id(*parent),
                    name_key,
                    name,
                    kind: kind_number(*kind),
                    meta: self.meta(*id, attrs, Rev(0))?,
                    content: content.as_ref().map(|draft| self.content(*id, draft)).transpose()?,
                }
            }
            Op::SetContent { id, base, content } => {
                let content = self.content(*id, content)?;
                wire::Op::SetContent { id: wire_id(*id), base: base.0, content }
            }
            Op::Move { id, base, parent, name, attrs, for_content } => {
                let (name_key, name) = self.place(*id, *parent, name)?;
                let (base, parent) = (base.0, wire_id(*parent));
                let meta = self.meta(*id, attrs, *for_content)?;
                wire::Op::Move { id: wire_id(*id), base, parent, name_key, name, meta }
            }
            Op::SetAttrs { id, base, attrs, for_content } => {
                let meta = self.meta(*id, attrs, *for_content)?;
                wire::Op::SetMeta { id: wire_id(*id), base: base.0, meta }
            }
            Op::Trash { id, meta, content } => {
                wire::Op::Trash { id: wire_id(*id), meta: meta.0, content: content.0 }
            }
            Op::Restore { id, base, parent, name, attrs, for_content } => {
                let (name_key, name) = self.place(*id, *parent, name)?;
                let (base, parent) = (base.0, wire_id(*parent));
                let meta = self.meta(*id, attrs, *for_content)?;
                wire::Op::Restore { id: wire_id(*id), base, parent, name_key, name, meta }
            }
        })
    }

    fn place<N: From<Vec<u8>>>(
        &self,
        id: NodeId,
        parent: NodeId,
        name: &Name,
    ) -> Result<(wire::Id, N), Unsent> {
        let key = self.sealer.keys.name_key(parent, name);
        Ok((wire::Id::new(key), self.sealer.seal_name(id, parent, name)?.into()))
    }

    fn meta<M: From<Vec<u8>>>(
        &self,
        id: NodeId,
        attrs: &Attrs,
        for_content: Rev,
    ) -> Result<M, Unsent> {
        let sealed = self.sealer.seal_attrs(id, attrs, for_content)?;
        if sealed.len() > SEALED_META_BYTES {
            let text = format!(
                "its attributes take {} bytes sealed, the limit is {SEALED_META_BYTES}; \
                 remove some extended attributes",
                sealed.len()
            );
            return Err(Unsent::Outcome(GroupOutcome::Invalid(text)));
        }
        Ok(sealed.into())
    }

    /// A draft for this node. One that was sealed for another node (its file got a new id when it
    /// became a conflict copy) could be opened by nobody: it is made again.
    fn content(&self, id: NodeId, draft: &Draft) -> Result<wire::Content, Unsent> {
        let opened = DraftRecord::decode(&draft.bytes).and_then(|record| {
            let content = record.into_wire();
            self.sealer.open(id, Field::Head, &content.head)?;
            Ok(content)
        });
        opened.map_err(|refused| {
            tracing::warn!("a draft cannot be used and will be made again: {refused}");
            Unsent::Outcome(GroupOutcome::Unstaged)
        })
    }

    fn outcome(&self, reply: wire::Outcome) -> Result<GroupOutcome, CloudError> {
        Ok(match reply {
            wire::Outcome::Done { rev } => GroupOutcome::Done(Rev(rev)),
            wire::Outcome::Conflict { nodes } => {
                GroupOutcome::Conflict(self.open_nodes(&nodes, PAGE_NODES)?)
            }
            wire::Outcome::Dependent => GroupOutcome::Dependent,
            wire::Outcome::ChunksMissing { chunks } => {
                chunks.iter().for_each(|id| self.known.forget(id));
                GroupOutcome::Unstaged
            }
            wire::Outcome::Invalid { why } => GroupOutcome::Invalid(why),
        })
    }

    /// Keeps the bodies that were just published: the next edit and the first read need no question.
    fn remember(&self, group: &Group, rev: Rev) {
        for op in &group.ops {
            let (id, draft) = match op {
                Op::Create { id, content: Some(draft), .. } => (*id, draft),
                Op::SetContent { id, content, .. } => (*id, content),
                _ => continue,
            };
            let Ok(content) = self.content(id, draft) else { continue };
            let found = wire::VersionContent {
                head: content.head,
                body: content.body,
                refs: Vec::new(),
                chunk: None,
            };
            if let Err(error) = self.keep_body(ContentRef { id, rev }, &found) {
                tracing::warn!("a draft that was just committed cannot be opened: {error}");
            }
        }
    }
}

fn wire_id(id: NodeId) -> wire::Id {
    wire::Id::new(id.0)
}
