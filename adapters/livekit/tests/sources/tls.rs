//! A service behind TLS: whom to trust, and that the crypto library is the one that is there.

use std::sync::Arc;

use matrix_voip::{host::TokenSource, machine::io::TokenFault};
use matrix_voip_livekit::{Settings, SfuGet};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

use crate::kit::{SFU, good_jwt, request};

fn acceptor(certified: &CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Reads one request, gives a token, and closes.
async fn serve(stream: TcpStream, acceptor: TlsAcceptor) {
    // Who does not trust us is gone.
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut read = Vec::new();
    while !read.ends_with(b"\"PHONE\"}") {
        stream.read_buf(&mut read).await.unwrap();
    }
    let body = json!({"url": SFU, "jwt": good_jwt()}).to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_service_is_trusted_by_its_certificate_alone() {
    let certified = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = acceptor(&certified);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, acceptor.clone()));
        }
    });
    let trusting = Settings::default().trusted_root(certified.cert.pem());
    let ask = async |settings: &Settings, host: &str| {
        let source = SfuGet::new(settings).unwrap();
        source.token(request(format!("https://{host}:{port}"))).await
    };
    assert_eq!(ask(&trusting, "localhost").await.unwrap().url, SFU);
    // Its certificate is not for this name; and nobody vouches for it.
    assert_eq!(ask(&trusting, "127.0.0.1").await, Err(TokenFault::NotReached));
    assert_eq!(ask(&Settings::default(), "localhost").await, Err(TokenFault::NotReached));
}
