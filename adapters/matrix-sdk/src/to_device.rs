//! Messages from device to device, and the devices that they can go to.

use std::{collections::BTreeMap, fmt, time::Duration};

use matrix_sdk::{
    Client,
    encryption::identities::Device,
    ruma::{
        OwnedDeviceId, OwnedTransactionId, OwnedUserId,
        api::client::to_device::send_event_to_device, events::AnyToDeviceEventContent, serde::Raw,
        to_device::DeviceIdOrAllDevices,
    },
};
use matrix_voip::{
    id::{DeviceId, UserId},
    machine::io::Fault,
};

use crate::{
    connect::Matrix,
    fault::fault,
    request::{ask, within},
};

/// For all devices of one message together: keys are asked for and claimed first.
const SEND: Duration = Duration::from_secs(25);

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

    /// Sends one message to these devices, at most once each. Gives those that were *not* reached:
    /// unknown ones, blocked ones, ones without a one-time key, ones that the server did not take
    /// it for. One that has just failed for want of a key fails at once for some time.
    ///
    /// # Errors
    /// A [`Fault`] when it is not known who was reached: then perhaps some were.
    pub async fn send_to_device(
        &self,
        message: ToDeviceMessage,
        targets: &[(UserId, DeviceId)],
    ) -> Result<Vec<(UserId, DeviceId)>, Fault> {
        let client = self.attached.client()?;
        let content =
            Raw::from_json_string(message.content).map_err(|_| Fault::Failed("no JSON".into()))?;
        match message.envelope {
            Envelope::Encrypted => {
                within(SEND, encrypted(&client, &message.event_type, &content, targets)).await
            }
            Envelope::Clear { transaction } => {
                let transaction = OwnedTransactionId::from(transaction);
                let messages = addressed(&content, targets)?;
                let event_type = message.event_type.as_str().into();
                let request =
                    send_event_to_device::v3::Request::new_raw(event_type, transaction, messages);
                ask(SEND, client.send(request)).await.map(|_| Vec::new())
            }
        }
    }
}

type Content = Raw<AnyToDeviceEventContent>;
type Addressed = BTreeMap<OwnedUserId, BTreeMap<DeviceIdOrAllDevices, Content>>;

fn addressed(content: &Content, targets: &[(UserId, DeviceId)]) -> Result<Addressed, Fault> {
    let mut messages = Addressed::new();
    for (user, device) in targets {
        let device = DeviceIdOrAllDevices::DeviceId(OwnedDeviceId::from(device.as_str()));
        messages.entry(user_id(user)?).or_default().insert(device, content.clone());
    }
    Ok(messages)
}

async fn encrypted(
    client: &Client,
    event_type: &str,
    content: &Content,
    targets: &[(UserId, DeviceId)],
) -> Result<Vec<(UserId, DeviceId)>, Fault> {
    let mut devices = Vec::new();
    let mut missed = Vec::new();
    for target in targets {
        match find(client, target).await? {
            Some(device) => devices.push(device),
            None => missed.push(target.clone()),
        }
    }
    let encryption = client.encryption();
    let send = encryption.encrypt_and_send_raw_to_device(
        devices.iter().collect(),
        event_type,
        content.clone(),
        // To all of them: whom to trust the caller has decided.
        Default::default(),
    );
    let failed = send.await.map_err(|error| fault(&error))?;
    missed.extend(failed.iter().filter_map(|(user, device)| {
        Some((UserId::parse(user.as_str()).ok()?, DeviceId::parse(device.as_str()).ok()?))
    }));
    Ok(missed)
}

/// A device from the store, else the server is asked for its owner's.
async fn find(client: &Client, target: &(UserId, DeviceId)) -> Result<Option<Device>, Fault> {
    let (user, device) = (user_id(&target.0)?, OwnedDeviceId::from(target.1.as_str()));
    let encryption = client.encryption();
    let failed = |_| Fault::Failed("the key store failed".into());
    if let Some(device) = encryption.get_device(&user, &device).await.map_err(failed)? {
        return Ok(Some(device));
    }
    encryption.request_user_identity(&user).await.map_err(|error| fault(&error))?;
    encryption.get_device(&user, &device).await.map_err(failed)
}

fn known(device: &Device) -> Option<KnownDevice> {
    Some(KnownDevice {
        device: DeviceId::parse(device.device_id().as_str()).ok()?,
        verified: device.is_verified(),
        signed_by_owner: device.is_cross_signed_by_owner(),
    })
}

fn user_id(user: &UserId) -> Result<OwnedUserId, Fault> {
    OwnedUserId::try_from(user.as_str()).map_err(|_| Fault::NotFound)
}
