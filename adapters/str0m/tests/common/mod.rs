//! Sides and people of the test kit, with this engine.

#![allow(dead_code, unreachable_pub, reason = "shared by test programs")]

use std::{ops::Deref, sync::Arc};

use matrix_voip::{config::Config, testing::EmbeddedHomeserver};
use matrix_voip_str0m::{Builder, Impairments, Interfaces, Str0m};
use testkit::person::Person;

/// One side of a call.
pub type Side = testkit::studio::Side<Str0m>;

/// A side on loopback whose microphone gives this tone.
pub fn side(hertz: f32) -> Side {
    side_with(hertz, |builder| builder)
}

/// The same with another engine.
pub fn side_with(hertz: f32, change: impl FnOnce(Builder) -> Builder) -> Side {
    Side::over(hertz, |media| {
        change(Str0m::builder(media).interfaces(Interfaces::Loopback)).build()
    })
}

/// A person whose sockets can be impaired.
pub struct Caller {
    person: Person,
    pub impairments: Impairments,
}

impl Caller {
    /// Logs in; the microphone gives a tone.
    pub fn new(
        home: &EmbeddedHomeserver,
        user: &str,
        hertz: f32,
        (interfaces, config): (Interfaces, Config),
    ) -> Self {
        let impairments = Impairments::default();
        let impaired = impairments.clone();
        let person = Person::new(home, user, (hertz, config), |media| {
            let builder = Str0m::builder(media).interfaces(interfaces);
            Arc::new(builder.impairments(impaired).build())
        });
        Self { person, impairments }
    }
}

impl Deref for Caller {
    type Target = Person;

    fn deref(&self) -> &Person {
        &self.person
    }
}
