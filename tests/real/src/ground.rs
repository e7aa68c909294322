//! What engines of the test process itself meet: servers in the network of this machine, and a browser.

use std::{
    io::Write,
    path::Path,
    sync::{Arc, OnceLock},
};

use matrix_voip::testing::conformance::Relays;

use crate::{
    browser::Page,
    certificate::Certificate,
    coturn::{Coturn, Transport},
    equipment::program,
    failure::{Context, Failure, Missing},
    house::House,
    world::NoWorld,
};

/// A TURN server and a browser that the engines of this process reach. Dropped in the order of its
/// fields: the house last.
#[derive(Debug)]
pub struct Ground {
    page: OnceLock<Result<Arc<Page>, NoWorld>>,
    coturn: Result<Coturn, Missing>,
    certificate: Certificate,
    house: House,
}

impl Ground {
    /// Starts the TURN server, where there is one; the browser comes when it is asked for.
    ///
    /// # Errors
    ///
    /// What does not start.
    pub fn start() -> Result<Self, Failure> {
        let house = House::build_in_our_network()?;
        let certificate = Certificate::issue(&house.folder().join("certificate"))?;
        let coturn = match program("turnserver", "coturn") {
            Ok(turnserver) => Ok(Coturn::start(&house, &turnserver, &certificate)?),
            Err(missing) => Err(missing),
        };
        Ok(Self { page: OnceLock::new(), coturn, certificate, house })
    }

    /// The TURN server by each transport. Where there is none that is said, and so are the relays.
    ///
    /// # Errors
    ///
    /// When nothing can be said.
    pub fn relays(&self) -> Result<Relays, Failure> {
        let mut relays = Relays::default();
        match &self.coturn {
            Ok(coturn) => {
                relays.udp = Some(coturn.server(Transport::Udp));
                relays.tcp = Some(coturn.server(Transport::Tcp));
                relays.tls = Some(coturn.server(Transport::Tls));
            }
            Err(missing) => writeln!(std::io::stderr(), "skipped: {missing}").context("saying")?,
        }
        Ok(relays)
    }

    /// The root that the TURN server's certificate is signed by, in PEM.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.certificate.root
    }

    /// The page in a browser that all share, started when it is first asked for.
    ///
    /// # Errors
    ///
    /// There is no Chromium, or it does not start.
    pub fn page(&self) -> Result<Arc<Page>, NoWorld> {
        let start = || {
            let chromium = program("chromium", "Chromium")?;
            Ok(Arc::new(Page::open(&self.house, &chromium, &self.certificate.fingerprint)?))
        };
        self.page.get_or_init(start).clone()
    }
}
