//! Messages from device to device, and the devices that they can go to.
//!
//! What the SDK tells of an encrypted message is whom it missed, and not why: a device without keys
//! and a homeserver that is down look alike (`matrix-sdk.md` §6). Only the one is to be tried again
//! soon, so where nobody was reached the homeserver is asked whether it takes messages at all.

use std::{collections::BTreeSet, fmt, future::ready, time::Duration};

use futures::{StreamExt, stream};
use matrix_sdk::{
    Client,
    encryption::identities::Device,
    ruma::{
        DeviceId as RumaDeviceId, OwnedDeviceId, OwnedTransactionId, OwnedUserId, TransactionId,
        UserId as RumaUserId,
        api::client::to_device::send_event_to_device::v3::{Messages, Request},
        events::AnyToDeviceEventContent,
        serde::Raw,
        to_device::DeviceIdOrAllDevices,
    },
};
use matrix_voip::{
    id::{DeviceId, UserId},
    machine::io::{Fault, ParticipantId, Trust},
    redact::Secret,
};
use zeroize::Zeroize;

use crate::{
    connect::Matrix,
    fault::fault,
    inbox::Inbox,
    request::{ask, within},
};

/// For all devices of one message together: keys are asked for and claimed first. The library gives
/// it 30 s and hears of the timeout from us.
const SEND: Duration = Duration::from_secs(25);
/// Of that: for those whom the first try did not reach.
const AGAIN: Duration = Duration::from_secs(12);
/// Of that: for the keys of users of whose devices nothing is known. Their servers are asked, and one
/// that hangs is waited for no longer.
const KEYS: Duration = Duration::from_secs(4);
/// For the keys of how many users the homeserver is asked at once.
const MAX_QUERIES: usize = 16;

/// A to-device message. Its content prints as a length.
#[derive(Clone, PartialEq, Eq)]
pub struct ToDeviceMessage {
    /// The event type.
    pub event_type: String,
    /// The content as JSON text.
    pub content: String,
    /// How it goes.
    pub envelope: Envelope,
}

impl fmt::Debug for ToDeviceMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToDeviceMessage")
            .field("event_type", &self.event_type)
            .field("content_bytes", &self.content.len())
            .field("envelope", &self.envelope)
            .finish()
    }
}

/// How a to-device message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope {
    /// Encrypted for each device. Repeating it may deliver it twice.
    Encrypted,
    /// In the clear, under our transaction id: repeating it is harmless.
    Clear {
        /// The transaction id.
        transaction: String,
    },
}

/// A device of a user, as his keys tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownDevice {
    /// The device.
    pub device: DeviceId,
    /// Whether we have verified it, or its owner has and we have verified him.
    pub verified: bool,
    /// Whether its owner has signed it.
    pub signed_by_owner: bool,
}

impl Matrix {
    /// The devices of a user as the server knows them now. A store alone would know nothing of a
    /// user with whom we share no encrypted room, and later than the truth of others.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn devices(&self, user: &UserId) -> Result<Vec<KnownDevice>, Fault> {
        let client = self.attached.client()?;
        let user = user_id(user)?;
        within(SEND, async {
            let encryption = client.encryption();
            encryption.request_user_identity(&user).await.map_err(|error| fault(&error))?;
            let devices = encryption.get_user_devices(&user).await;
            let devices = devices.map_err(|_| Fault::Failed("the key store failed".into()))?;
            Ok(devices.devices().filter_map(|device| known(&device)).collect())
        })
        .await
    }

    /// Sends one message to these devices. Gives those that were *not* reached:
    /// unknown ones, blocked ones, ones without a one-time key. One that has just failed for want of
    /// a key fails at once for some time.
    ///
    /// # Errors
    /// A [`Fault`] when the homeserver did not take it, or nobody knows: then perhaps some were
    /// reached.
    pub async fn send_to_device(
        &self,
        message: ToDeviceMessage,
        targets: &[(UserId, DeviceId)],
    ) -> Result<Vec<(UserId, DeviceId)>, Fault> {
        let client = self.attached.client()?;
        let targets = targets.iter().cloned().map(|(user, device)| ParticipantId { user, device });
        let letter = Letter {
            event_type: &message.event_type,
            content: read(&message.content.into())?,
            targets: targets.collect(),
            trust: Trust::Any,
        };
        let missed = match message.envelope {
            Envelope::Encrypted => letter.encrypted(&client, self.attached.inbox()).await?,
            Envelope::Clear { transaction } => letter.clear(&client, &transaction).await?,
        };
        Ok(missed.into_iter().map(|missed| (missed.user, missed.device)).collect())
    }
}

/// A content, if it is one.
pub(crate) fn read(content: &Secret) -> Result<Wiped, Fault> {
    // Copied into its exact size, because what is cut off is not wiped.
    let read = Raw::from_json_string(content.expose().to_owned());
    read.map(|content| Wiped(Some(content))).map_err(|_| Fault::Failed("no JSON".into()))
}

/// A content that is wiped when it is dropped: media keys may stand in it. What the SDK is given of it
/// is the SDK's.
pub(crate) struct Wiped(Option<Raw<AnyToDeviceEventContent>>);

impl Wiped {
    fn copy(&self) -> Raw<AnyToDeviceEventContent> {
        self.0.clone().expect("invariant: taken only when it is dropped")
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        if let Some(content) = self.0.take() {
            Box::<str>::from(content.into_json()).zeroize();
        }
    }
}

/// One message, and for whom it is.
pub(crate) struct Letter<'a> {
    pub(crate) event_type: &'a str,
    pub(crate) content: Wiped,
    pub(crate) targets: BTreeSet<ParticipantId>,
    pub(crate) trust: Trust,
}

impl Letter<'_> {
    /// Sends it in the clear; gives whom no homeserver knows by such a name.
    pub(crate) async fn clear(
        self,
        client: &Client,
        transaction: &str,
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        let (mut messages, mut missed) = (Messages::new(), BTreeSet::new());
        for target in self.targets {
            let Ok((user, device)) = address(&target) else {
                missed.insert(target);
                continue;
            };
            let device = DeviceIdOrAllDevices::DeviceId(device);
            messages.entry(user).or_default().insert(device, self.content.copy());
        }
        let transaction = OwnedTransactionId::from(transaction);
        let request = Request::new_raw(self.event_type.into(), transaction, messages);
        ask(SEND, client.send(request)).await.map(|_| missed)
    }

    /// Sends it encrypted for each; gives whom it did not reach. Of those whose keys are not known
    /// the inbox will tell when there are some.
    ///
    /// Whose keys are known do not wait for the others, and do not fail with them: a membership may
    /// name any device, of any server, and that may take its time.
    pub(crate) async fn encrypted(
        self,
        client: &Client,
        inbox: &Inbox,
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        let first = async {
            let (devices, unknown) = stored(client, &self.targets).await?;
            let missed = self.deliver(client, &devices).await?;
            Ok((missed.len() < devices.len(), missed, unknown))
        };
        let (reached, missed, unknown) = within(SEND - AGAIN, first).await?;
        if missed.is_empty() && unknown.is_empty() {
            return Ok(missed);
        }
        let answered = ask_for_keys(client, inbox, &unknown).await;
        let unreached: BTreeSet<_> = missed.into_iter().chain(unknown).collect();
        // Keys may have come while it was on its way, and what failed may work again.
        let again = within(AGAIN - KEYS, self.once_more(client, &unreached)).await;
        match (again, answered) {
            (Err(fault), _) if !reached => Err(fault),
            (Err(_), _) => Ok(unreached),
            (Ok(missed), Err(_)) if !reached && missed.len() == self.targets.len() => {
                within(KEYS, takes_messages(client)).await.map(|()| missed)
            }
            (Ok(missed), _) => Ok(missed),
        }
    }

    /// Sends it to those of them whose keys are known now; gives whom it still did not reach.
    async fn once_more(
        &self,
        client: &Client,
        targets: &BTreeSet<ParticipantId>,
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        let (devices, unknown) = stored(client, targets).await?;
        let mut missed = self.deliver(client, &devices).await?;
        missed.extend(unknown);
        Ok(missed)
    }

    /// Sends it to devices whose keys are known; gives those that may not have it, and those for
    /// which there was no way to encrypt.
    async fn deliver(
        &self,
        client: &Client,
        devices: &[Device],
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        let may_have = |device: &&Device| self.trust == Trust::Any || device.is_verified();
        let (devices, withheld): (Vec<_>, Vec<_>) = devices.iter().partition(may_have);
        let withheld = withheld.into_iter().filter_map(|it| known_as(it.user_id(), it.device_id()));
        let withheld: BTreeSet<_> = withheld.collect();
        if devices.is_empty() {
            return Ok(withheld);
        }
        let (count, encryption) = (devices.len(), client.encryption());
        let send = encryption.encrypt_and_send_raw_to_device(
            devices,
            self.event_type,
            self.content.copy(),
            // To all of them: whom to trust the caller has decided.
            Default::default(),
        );
        let missed = send.await.map_err(|error| fault(&error))?;
        if missed.len() == count {
            takes_messages(client).await?;
        }
        let missed = missed.iter().filter_map(|(user, device)| known_as(user, device));
        Ok(missed.chain(withheld).collect())
    }
}

/// Sends nothing to nobody: an error is that of the homeserver.
async fn takes_messages(client: &Client) -> Result<(), Fault> {
    let nothing =
        Request::new_raw("m.room.encrypted".into(), TransactionId::new(), Messages::new());
    ask(SEND, client.send(nothing)).await.map(drop)
}

type Found = (Vec<Device>, BTreeSet<ParticipantId>);

/// Those that the store knows, and the others.
async fn stored(client: &Client, targets: &BTreeSet<ParticipantId>) -> Result<Found, Fault> {
    let (mut devices, mut unknown) = (Vec::new(), BTreeSet::new());
    for target in targets {
        let found = match address(target) {
            Ok((user, device)) => client.encryption().get_device(&user, &device).await,
            Err(_) => Ok(None),
        };
        match found.map_err(|_| Fault::Failed("the key store failed".into()))? {
            Some(device) => devices.push(device),
            None => drop(unknown.insert(target.clone())),
        }
    }
    Ok((devices, unknown))
}

/// Has the server asked for the keys of these users, of all at once. What it answers is in the store
/// then, also where that of another is an error, or late.
async fn ask_for_keys(
    client: &Client,
    inbox: &Inbox,
    unknown: &BTreeSet<ParticipantId>,
) -> Result<(), Fault> {
    let users: BTreeSet<&UserId> = unknown.iter().map(|target| &target.user).collect();
    let ask = |user: &UserId| {
        let (user, encryption) = (user_id(user), client.encryption());
        async move {
            let Ok(user) = user else { return Ok(()) };
            encryption.request_user_identity(&user).await.map(drop).map_err(|error| fault(&error))
        }
    };
    let queries: Vec<_> = users.iter().copied().map(ask).collect();
    let answers = stream::iter(queries).buffer_unordered(MAX_QUERIES);
    let all = answers.fold(Ok(()), |all: Result<(), Fault>, one| ready(all.and(one)));
    let asked = within(KEYS, all).await;
    // Before the store is looked at: what comes after that is news.
    users.into_iter().cloned().for_each(|user| inbox.await_keys(user));
    asked
}

fn known(device: &Device) -> Option<KnownDevice> {
    Some(KnownDevice {
        device: DeviceId::parse(device.device_id().as_str()).ok()?,
        verified: device.is_verified(),
        signed_by_owner: device.is_cross_signed_by_owner(),
    })
}

fn address(target: &ParticipantId) -> Result<(OwnedUserId, OwnedDeviceId), Fault> {
    Ok((user_id(&target.user)?, OwnedDeviceId::from(target.device.as_str())))
}

fn known_as(user: &RumaUserId, device: &RumaDeviceId) -> Option<ParticipantId> {
    let user = UserId::parse(user.as_str()).ok()?;
    Some(ParticipantId { user, device: DeviceId::parse(device.as_str()).ok()? })
}

fn user_id(user: &UserId) -> Result<OwnedUserId, Fault> {
    OwnedUserId::try_from(user.as_str()).map_err(|_| Fault::NotFound)
}
