//! The DTLS provider: `dimpl` over aws-lc-rs, as str0m's own, but with timers for calls.
//!
//! str0m's default waits a second before the first resend and gives up after four; under loss
//! that makes the long tail of connection times. With 100 ms and ten resends the worst case of
//! 20 % loss falls from 10 s to 4 s (`str0m.md` §1, §2). DTLS 1.2 stays the version: browsers
//! speak it, and 1.3 saved nothing that matters here.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use str0m::crypto::{
    CryptoError, CryptoProvider,
    dtls::{
        DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion,
        ProtocolVersion,
    },
};

/// Time before a lost flight is sent again for the first time; it doubles each time. Browsers take
/// 50 ms.
const FIRST_RESEND: Duration = Duration::from_millis(100);

/// How often a flight is sent again before the handshake has failed: 100 ms doubled ten times is
/// longer than anybody waits for a call.
const RESENDS: usize = 10;

/// Everything str0m needs of cryptography, from aws-lc-rs alone.
pub(crate) fn crypto() -> Arc<CryptoProvider> {
    static DTLS: Provider = Provider;
    Arc::new(CryptoProvider { dtls_provider: &DTLS, ..str0m_aws_lc_rs::default_provider() })
}

/// Makes the next DTLS connections of this thread draw their non-secret random numbers and timer
/// jitter from `seed`, or from the system again (`None`). Simulations only: the handshake's random
/// bytes become predictable.
#[cfg(feature = "testing")]
pub(crate) fn seed(seed: Option<u64>) {
    SEED.set(seed);
}

#[cfg(feature = "testing")]
thread_local! {
    static SEED: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

#[derive(Debug)]
struct Provider;

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m_aws_lc_rs::default_provider().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let config = config(mtu).map_err(|error| CryptoError::Other(error.to_string()))?;
        let certificate = dimpl::DtlsCertificate {
            certificate: certificate.certificate.clone(),
            private_key: certificate.private_key.clone(),
        };
        Ok(Box::new(Instance(match version {
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, certificate, now),
            DtlsVersion::Auto => dimpl::Dtls::new_auto(config, certificate, now),
            _ => dimpl::Dtls::new_12(config, certificate, now),
        })))
    }
}

fn config(mtu: Option<usize>) -> Result<Arc<dimpl::Config>, dimpl::Error> {
    let mut builder = dimpl::Config::builder()
        // The cookie defends servers on open ports; ours answers only who passed ICE.
        .use_server_cookie(false)
        .with_crypto_provider(str0m_aws_lc_rs::dimpl_crypto_provider())
        .flight_start_rto(FIRST_RESEND)
        .flight_retries(RESENDS);
    if let Some(mtu) = mtu {
        builder = builder.mtu(mtu);
    }
    #[cfg(feature = "testing")]
    if let Some(seed) = SEED.get() {
        builder = builder.dangerously_set_rng_seed(seed);
    }
    builder.build().map(Arc::new)
}

/// One DTLS connection; forwards everything.
struct Instance(dimpl::Dtls);

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dtls")
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buffer)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}
