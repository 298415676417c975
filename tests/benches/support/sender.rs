//! Sends encoded requests over gRPC without decoding or building them again.

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// A pause before a request that was refused for now is sent again; the server's own hint is about as long.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection; clones share it.
#[derive(Clone)]
pub(crate) struct Sender(Grpc<Channel>);

impl Sender {
    /// Connects to `http://HOST:PORT`.
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let channel = Channel::from_shared(address.to_owned())?.connect().await?;
        Ok(Self(Grpc::new(channel)))
    }

    /// Sends until the request is acknowledged; returns how often it was asked to come again.
    pub(crate) async fn send(&self, body: Bytes) -> Result<u64> {
        let path = PathAndQuery::from_static(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        );
        let mut client = self.0.clone();
        let mut retried = 0;
        loop {
            client.ready().await?;
            let answer = client
                .unary(Request::new(body.clone()), path.clone(), Raw)
                .await;
            match answer {
                Ok(answer) if answer.get_ref().is_empty() => return Ok(retried),
                Ok(answer) => bail!("a partial success: {:?}", answer.into_inner()),
                Err(status) if status.code() == Code::Unavailable => {
                    retried += 1;
                    // What a sender does that was asked to come again.
                    tokio::time::sleep(PAUSE).await;
                }
                Err(status) => bail!(status),
            }
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
