//! Frames of ours on their way to the page: one task for each connection.

use std::{collections::BTreeMap, sync::Arc};

use matrix_voip::host::{Codec, Frame};
use matrix_voip_engine::track::Outgoing;
use serde_json::json;
use tokio::sync::mpsc;

use super::{page::Page, peer::Peer};

/// Codecs by the numbers that the worker knows them by.
pub(super) const CODECS: [Codec; 3] = [Codec::Opus, Codec::Vp8, Codec::H264];

/// Carries frames until nobody sends any to this connection.
pub(super) async fn carry(mut frames: mpsc::Receiver<Outgoing>, peer: Arc<Peer>, page: Arc<Page>) {
    let mut levels = BTreeMap::new();
    while let Some((track, frame)) = frames.recv().await {
        for line in peer.lines_of(track) {
            let level = frame.audio_level.unwrap_or(-127);
            if frame.codec == Codec::Opus && levels.insert(line, level) != Some(level) {
                let number = peer.number;
                page.tell(json!({ "do": "level", "id": number, "line": line, "level": level }));
            }
            page.send(record(line, &frame));
        }
    }
}

/// Its length, its line, its codec, its bytes.
fn record(line: u32, frame: &Frame) -> Vec<u8> {
    let codec = CODECS.iter().position(|codec| *codec == frame.codec).unwrap_or(CODECS.len());
    let length = (5 + frame.data.len()) as u32;
    let head = [&length.to_be_bytes()[..], &line.to_be_bytes(), &[codec as u8]].concat();
    [&head[..], &frame.data].concat()
}
