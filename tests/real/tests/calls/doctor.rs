//! `caller doctor`: each thing that calls need, told in a line as what it is.

use real::{Failure, Said, Scene, Tool, Transport, Turn};

use crate::{
    login::assert_refused,
    stage::{Cast, Scenario},
};

/// What a doctor finds.
pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::new("doctor", Cast::Scene(doctor))
    .using(&[Tool::Caller])
    .at_home()
    .without_engine()];

/// A line for each of these: a thing, its health, and words.
#[track_caller]
fn assert_found(said: &Said, code: i32, lines: &[[&str; 3]]) {
    assert_eq!((said.code, said.err.len()), (Some(code), 0), "{said:?}");
    assert_eq!(said.out.len(), lines.len(), "{said:?}");
    for (line, words) in said.out.iter().zip(lines) {
        let mut parts = line.split_whitespace();
        let begins = parts.next() == Some(words[0]) && parts.next() == Some(words[1]);
        assert!(begins && line.contains(words[2]), "no {words:?} in {said:?}");
    }
}

/// All is well; a root that is not trusted; a wrong secret; no TURN; no homeserver.
fn doctor(scene: &Scene) -> Result<(), Failure> {
    let (homeserver, house, coturn) = (scene.homeserver(), &scene.world.house, &scene.world.coturn);
    let ada = scene.person("ada")?;
    assert_refused(&ada.run(&["doctor"], "")?, &["not logged in"]);
    ada.log_in()?;
    let root = scene.world.certificate.root.to_string_lossy();
    let url = homeserver.url();
    let begin = [
        ["homeserver", "ok", &url],
        ["sync", "ok", "0 rooms"],
        ["encryption", "weak", "not cross-signed"],
    ];
    let then = |turn: &[[&'static str; 3]]| [&begin[..], turn].concat();
    let trusting = ["doctor", "--trust", &root];
    let relays = |health, words| ["TURN", health, words];
    let good = relays("ok", "relays, after ");
    assert_found(&ada.run(&trusting, "")?, 0, &then(&[good; 3]));
    let untrusted = ada.run(&["doctor"], "")?;
    assert_found(&untrusted, 1, &then(&[good, good, relays("BAD", "certificate")]));

    homeserver.stop();
    let down = ["homeserver", "BAD", "does not answer"];
    assert_found(&ada.run(&trusting, "")?, 1, &[down]);
    assert_refused(&ada.run(&["rooms"], "")?, &["sync"]);
    assert_refused(&ada.run(&["call", "@ben:localhost"], "")?, &["sync"]);

    homeserver.configure(&Turn { secret: "wrong".to_owned(), ..coturn.turn(&Transport::ALL) })?;
    homeserver.start_again(house)?;
    let refused = relays("BAD", "401");
    assert_found(&ada.run(&trusting, "")?, 1, &then(&[refused; 3]));

    homeserver.stop();
    homeserver.configure(&coturn.turn(&[]))?;
    homeserver.start_again(house)?;
    let none = relays("weak", "names no TURN server");
    assert_found(&ada.run(&trusting, "")?, 0, &then(&[none]));
    Ok(())
}
