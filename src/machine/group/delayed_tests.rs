//! A delayed leave by itself: what it asks for, and what it makes of each answer.

use super::*;
use crate::{
    id::{DeviceId, RoomId},
    wire::{
        delayed::DelayedPage,
        member::{Dialect, read_members},
    },
};

const DELAY: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_secs(8);

/// A leave, the clock, and what other devices have written.
struct Desk {
    leave: DelayedLeave,
    now: Now,
    timeouts: Timeouts,
    kept: Option<Vec<MemberEntry>>,
    ops: u64,
}

impl Desk {
    fn new() -> Self {
        let timeouts = Timeouts::default();
        assert_eq!((timeouts.delayed_leave, timeouts.delayed_restart), (DELAY, BEAT));
        let now = Now { mono: Mono::default(), wall: Wall(1_000_000) };
        Self { leave: DelayedLeave::default(), now, timeouts, kept: Some(Vec::new()), ops: 0 }
    }

    /// We are in a call, and the first leave is scheduled; nothing else waits.
    fn armed() -> Self {
        let mut desk = Self::new();
        desk.leave.set_needed(true);
        desk.expect(&Want::Schedule(Vec::new()), scheduled("one"));
        desk.expect(&Want::List(None), Ok(Reply::Delayed(DelayedPage::default())));
        assert_eq!(desk.ask(), None);
        desk
    }

    fn ask(&mut self) -> Option<Want> {
        self.leave.lapse(self.now);
        let others = Others { kept: self.kept.as_deref(), differ: |one, other| one != other };
        let want = self.leave.next(self.now, others)?;
        self.ops += 1;
        self.leave.on_asked(OpId(self.ops), want.clone(), self.now, DELAY);
        assert!(self.leave.awaits(OpId(self.ops)) && !self.leave.awaits(OpId(0)));
        Some(want)
    }

    fn answer(&mut self, result: Result<Reply, Fault>) -> Standing {
        let ours = |leave: &DelayedMember| leave.state_key == "ours";
        self.leave.on_reply(result, self.now, &self.timeouts, ours)
    }

    #[track_caller]
    fn expect(&mut self, want: &Want, result: Result<Reply, Fault>) -> Standing {
        assert_eq!(self.ask().as_ref(), Some(want));
        self.answer(result)
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.plus(span);
    }

    fn holds(&self) -> bool {
        self.leave.holds_writes(self.now)
    }
}

fn id(name: &str) -> DelayId {
    DelayId::parse(name).unwrap()
}

fn scheduled(name: &str) -> Result<Reply, Fault> {
    Ok(Reply::Scheduled(id(name)))
}

fn restart(name: &str) -> Want {
    Want::Restart(id(name))
}

fn cancel(name: &str) -> Want {
    Want::Cancel(id(name))
}

fn others(devices: &[&str]) -> Vec<MemberEntry> {
    let entries: Vec<_> =
        devices.iter().map(|device| format!(r#"{{"device_id":"{device}"}}"#)).collect();
    let content = format!(r#"{{"memberships":[{}]}}"#, entries.join(","));
    read_members(Dialect::Famedly, &content).unwrap()
}

fn page(ids: &[(&str, &str)], next: Option<&str>) -> Result<Reply, Fault> {
    let members = ids.iter().map(|(name, key)| DelayedMember {
        id: id(name),
        room: RoomId::parse("!r").unwrap(),
        state_key: (*key).to_owned(),
        leaving: None::<DeviceId>,
    });
    Ok(Reply::Delayed(DelayedPage { members: members.collect(), next: next.map(str::to_owned) }))
}

#[test]
fn a_membership_waits_for_its_leave_which_is_restarted_in_time() {
    let mut desk = Desk::new();
    assert_eq!((desk.ask(), desk.holds()), (None, false), "nobody is in a call");
    desk.kept = None;
    desk.leave.set_needed(true);
    assert!(desk.holds());
    let first = desk.ask();
    assert_eq!(first, Some(Want::List(None)), "what others have is not known yet");
    desk.answer(page(&[], None));
    desk.kept = Some(others(&["B"]));
    desk.expect(&Want::Schedule(others(&["B"])), scheduled("one"));
    assert!(!desk.holds());
    for _ in 0..10 {
        assert_eq!(desk.ask(), None);
        assert_eq!(desk.leave.deadlines(desk.now).beat, Some(desk.now.mono_after(BEAT)));
        assert_eq!(desk.leave.deadlines(desk.now).over, Some(desk.now.wall_after(DELAY)));
        desk.pass(BEAT);
        desk.expect(&restart("one"), Ok(Reply::Done));
    }
    desk.leave.verify();
    assert_eq!(desk.ask(), Some(restart("one")), "at once after a write");
}

#[test]
fn a_leave_that_is_gone_is_scheduled_anew_and_the_membership_is_in_doubt() {
    let mut desk = Desk::armed();
    desk.pass(BEAT);
    assert_eq!(desk.expect(&restart("one"), Err(Fault::NotFound)), Standing::InDoubt);
    assert!(desk.holds());
    desk.expect(&Want::Schedule(Vec::new()), scheduled("two"));
    assert_eq!((desk.ask(), desk.holds()), (None, false));
}

#[test]
fn what_is_due_and_waits_for_something_else_has_no_timer() {
    let mut desk = Desk::new();
    desk.leave.set_needed(true);
    desk.expect(&Want::Schedule(Vec::new()), Err(Fault::Unreachable));
    desk.expect(&Want::List(None), page(&[], None));
    desk.kept = None;
    desk.pass(BEAT);
    assert_eq!((desk.ask(), desk.leave.deadlines(desk.now)), (None, Deadlines::default()));
    desk.kept = Some(Vec::new());
    assert_eq!(desk.ask(), Some(Want::Schedule(Vec::new())));
}

#[test]
fn who_slept_past_it_schedules_anew_before_anything_is_written() {
    let mut desk = Desk::armed();
    desk.now.wall = desk.now.wall.plus(DELAY);
    assert!(desk.holds());
    desk.expect(&Want::Schedule(Vec::new()), scheduled("two"));
    assert!(!desk.holds());
    assert_eq!(desk.ask(), Some(cancel("one")), "in case the homeserver's clock is slower");
}

#[test]
fn a_restart_that_hangs_over_a_sleep_lets_nothing_be_written() {
    let mut desk = Desk::armed();
    desk.pass(BEAT);
    assert_eq!(desk.ask(), Some(restart("one")));
    desk.now.wall = desk.now.wall.plus(DELAY);
    assert!(desk.holds());
    desk.answer(Err(Fault::Timeout));
    desk.expect(&Want::Schedule(Vec::new()), scheduled("two"));
    assert!(!desk.holds());
}

#[test]
fn a_homeserver_without_them_is_not_asked_again_until_we_enter_anew() {
    let mut desk = Desk::new();
    desk.leave.set_needed(true);
    desk.expect(&Want::Schedule(Vec::new()), Err(Fault::Unsupported));
    assert!(!desk.holds());
    desk.expect(&Want::List(None), Err(Fault::Unsupported));
    desk.pass(Duration::from_secs(3600));
    desk.leave.on_network_back();
    assert_eq!(
        (desk.ask(), desk.holds(), desk.leave.deadlines(desk.now)),
        (None, false, Deadlines::default())
    );
    desk.leave.set_needed(false);
    desk.leave.set_needed(true);
    assert_eq!(desk.ask(), Some(Want::Schedule(Vec::new())));
}

#[test]
fn a_quota_is_no_reason_to_wait_and_is_tried_again_now_and_then() {
    let mut desk = Desk::new();
    desk.leave.set_needed(true);
    desk.expect(&Want::Schedule(Vec::new()), Err(Fault::Forbidden("QUOTA".into())));
    desk.expect(&Want::List(None), page(&[], None));
    assert!(!desk.holds());
    desk.pass(desk.timeouts.membership_refresh - Duration::from_secs(1));
    assert_eq!(desk.ask(), None);
    desk.pass(Duration::from_secs(1));
    desk.expect(&Want::Schedule(Vec::new()), scheduled("one"));
}

#[test]
fn what_the_homeserver_asks_for_is_waited() {
    let mut desk = Desk::armed();
    desk.pass(BEAT);
    let slow = Fault::RateLimited { retry_after: Some(Duration::from_secs(12)) };
    desk.expect(&restart("one"), Err(slow));
    desk.pass(Duration::from_secs(11));
    assert_eq!(desk.ask(), None);
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.ask(), Some(restart("one")));
}

#[test]
fn without_a_network_a_membership_waits_for_three_tries_and_again_when_it_is_back() {
    let mut desk = Desk::new();
    desk.leave.set_needed(true);
    desk.expect(&Want::Schedule(Vec::new()), Err(Fault::Unreachable));
    // It may stand there without a name.
    desk.expect(&Want::List(None), Err(Fault::Unsupported));
    for _ in 1..PATIENCE {
        assert!(desk.holds());
        desk.pass(Duration::from_secs(4));
        desk.expect(&Want::Schedule(Vec::new()), Err(Fault::Unreachable));
        desk.expect(&Want::List(None), Err(Fault::Unsupported));
    }
    assert!(!desk.holds());
    desk.leave.on_network_back();
    assert!(desk.holds());
    assert_eq!(desk.ask(), Some(Want::Schedule(Vec::new())));
}

#[test]
fn who_could_not_reach_the_homeserver_tries_again_before_he_writes() {
    let mut desk = Desk::new();
    desk.leave.set_needed(true);
    desk.expect(&Want::Schedule(Vec::new()), Err(Fault::Timeout));
    desk.expect(&Want::List(None), Err(Fault::Unsupported));
    desk.leave.on_write_wanted(desk.now);
    assert!(!desk.holds(), "he has tried this moment");
    desk.leave.beat = Some(desk.now.mono.plus(DELAY));
    desk.pass(Duration::from_secs(2));
    assert_eq!(desk.ask(), None);
    desk.leave.on_write_wanted(desk.now);
    assert!(desk.holds());
    desk.expect(&Want::Schedule(Vec::new()), scheduled("one"));
    assert!(!desk.holds());
}

#[test]
fn restarts_are_tried_again_before_it_is_late() {
    let mut desk = Desk::armed();
    desk.pass(BEAT);
    for _ in 0..3 {
        desk.expect(&restart("one"), Err(Fault::Unreachable));
        desk.pass(BEAT);
    }
    assert_eq!(desk.ask(), Some(Want::Schedule(Vec::new())), "its time has passed");
}

#[test]
fn what_other_devices_have_written_is_in_it() {
    let mut desk = Desk::armed();
    desk.kept = Some(others(&["B"]));
    desk.expect(&Want::Schedule(others(&["B"])), scheduled("two"));
    desk.expect(&cancel("one"), Ok(Reply::Done));
    assert_eq!(desk.ask(), None);
    desk.kept = Some(others(&["B", "C"]));
    let quota = Err(Fault::Forbidden("QUOTA".into()));
    desk.expect(&Want::Schedule(others(&["B", "C"])), quota);
    assert_eq!((desk.ask(), desk.holds()), (None, false), "the old one is better than none");
    desk.pass(BEAT);
    desk.expect(&restart("two"), Ok(Reply::Done));
}

#[test]
fn who_left_cancels_it_unless_its_time_has_passed() {
    let mut desk = Desk::armed();
    desk.leave.set_needed(false);
    desk.pass(BEAT);
    assert_eq!(desk.ask(), None, "it is not restarted, and stays until the leave is written");
    let mut late = Desk { leave: desk.leave.clone(), kept: desk.kept.clone(), ..Desk::new() };
    late.now = desk.now.plus(DELAY);
    late.leave.retire(late.now);
    assert_eq!(late.ask(), None);
    desk.leave.retire(desk.now);
    desk.expect(&cancel("one"), Err(Fault::Unreachable));
    assert_eq!(desk.ask(), None);
    assert!(desk.leave.deadlines(desk.now).clear.is_some());
    desk.pass(Duration::from_secs(1));
    desk.expect(&cancel("one"), Err(Fault::NotFound));
    desk.pass(DELAY);
    assert_eq!((desk.ask(), desk.leave.deadlines(desk.now)), (None, Deadlines::default()));
}

#[test]
fn what_cannot_be_cancelled_is_left_to_fire() {
    let mut desk = Desk::armed();
    desk.leave.set_needed(false);
    desk.leave.retire(desk.now);
    for _ in 0..MAX_DELAYED_TRIES {
        desk.expect(&cancel("one"), Err(Fault::Unreachable));
        desk.pass(Duration::from_secs(20));
    }
    assert_eq!(desk.ask(), None);
}

#[test]
fn what_cannot_be_restarted_is_cancelled_and_gone_without() {
    for (fault, again) in [(Fault::Forbidden("X".into()), true), (Fault::Unsupported, false)] {
        let mut desk = Desk::armed();
        desk.pass(BEAT);
        desk.expect(&restart("one"), Err(fault));
        assert!(!desk.holds());
        desk.expect(&cancel("one"), Ok(Reply::Done));
        assert_eq!(desk.ask(), None);
        desk.pass(desk.timeouts.membership_refresh);
        assert_eq!(desk.ask().is_some(), again);
    }
}

#[test]
fn an_answer_that_comes_too_late_does_not_begin_an_endless_turn() {
    let mut desk = Desk::new();
    desk.leave.set_needed(true);
    assert!(desk.ask().is_some());
    desk.pass(DELAY);
    desk.answer(scheduled("one"));
    desk.expect(&Want::Schedule(Vec::new()), scheduled("two"));
    let mut asked = 0;
    while desk.ask().is_some() {
        asked += 1;
        desk.answer(Ok(Reply::Done));
        assert!(asked < 10);
    }
}

#[test]
fn what_a_dead_process_left_is_looked_for_once_on_every_page() {
    let mut desk = Desk::new();
    desk.leave.set_needed(true);
    desk.expect(&Want::Schedule(Vec::new()), scheduled("one"));
    let first = page(&[("old", "ours"), ("other", "theirs"), ("one", "ours")], Some("p2"));
    desk.expect(&Want::List(None), first);
    desk.expect(&cancel("old"), Ok(Reply::Done));
    desk.expect(&Want::List(Some("p2".into())), page(&[("older", "ours")], None));
    desk.expect(&cancel("older"), Ok(Reply::Done));
    assert_eq!(desk.ask(), None);
    desk.leave.cleanse();
    assert_eq!(desk.ask(), None);
}

#[test]
fn a_list_without_an_end_is_left_and_so_is_one_that_fails() {
    let mut desk = Desk::new();
    desk.leave.cleanse();
    for _ in 0..MAX_DELAYED_PAGES {
        assert!(matches!(desk.ask(), Some(Want::List(_))));
        desk.answer(page(&[], Some("again")));
    }
    assert_eq!(desk.ask(), None);
    let mut desk = Desk::new();
    desk.leave.cleanse();
    for _ in 0..MAX_DELAYED_TRIES {
        desk.expect(&Want::List(None), Err(Fault::Timeout));
        desk.pass(Duration::from_secs(20));
    }
    assert_eq!((desk.ask(), desk.leave.deadlines(desk.now)), (None, Deadlines::default()));
}

#[test]
fn many_that_are_to_be_cancelled_are_bounded() {
    let mut desk = Desk::new();
    desk.leave.cleanse();
    let names: Vec<_> = (0..MAX_CANCELLING + 9).map(|n| n.to_string()).collect();
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), "ours")).collect();
    desk.expect(&Want::List(None), page(&all, None));
    assert_eq!(desk.leave.unwanted.len(), MAX_CANCELLING);
}

/// Whatever the homeserver answers: nothing is asked twice in one instant without end, what waits has
/// a deadline, and in the end a leave stands or is not wanted.
#[test]
fn whatever_the_homeserver_answers_it_comes_to_rest_and_stands_in_the_end() {
    for seed in 0..2_000_u64 {
        let mut word = seed;
        let mut dice = |sides: u64| {
            word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (word >> 33) % sides
        };
        let mut desk = Desk::new();
        let mut names = 0_u64;
        for _ in 0..60 {
            match dice(8) {
                0 => desk.leave.set_needed(false),
                1 => desk.leave.retire(desk.now),
                2 => desk.now.wall = desk.now.wall.plus(Duration::from_secs(dice(60))),
                3 => desk.kept = Some(others(&["B", "C"][..dice(3) as usize])),
                4 => desk.leave.on_network_back(),
                _ => desk.leave.set_needed(true),
            }
            settle(&mut desk, |want| match (dice(6), want) {
                (0, _) => Err(Fault::Unreachable),
                (1, _) => Err(Fault::NotFound),
                (2, _) => Err(Fault::Forbidden("QUOTA".into())),
                (_, want) => well(&mut names, want),
            });
            desk.pass(Duration::from_millis(dice(9_000)));
        }
        desk.leave.set_needed(true);
        for _ in 0..40 {
            desk.pass(Duration::from_secs(5));
            settle(&mut desk, |want| well(&mut names, want));
        }
        assert!(desk.leave.armed.is_some() && !desk.holds(), "seed {seed}: {:?}", desk.leave);
        assert!(desk.leave.unwanted.is_empty(), "seed {seed}");
    }
}

fn well(names: &mut u64, want: &Want) -> Result<Reply, Fault> {
    *names += 1;
    match want {
        Want::Schedule(_) => scheduled(&names.to_string()),
        Want::Restart(_) | Want::Cancel(_) => Ok(Reply::Done),
        Want::List(_) => page(&[], None),
    }
}

fn settle(desk: &mut Desk, mut answer: impl FnMut(&Want) -> Result<Reply, Fault>) {
    for _ in 0..200 {
        let Some(want) = desk.ask() else {
            // What waits comes back by itself.
            let Deadlines { beat, over, clear } = desk.leave.deadlines(desk.now);
            let waits = desk.leave.needed || !desk.leave.unwanted.is_empty();
            let asleep = beat.is_none() && over.is_none() && clear.is_none();
            assert!(!waits || !asleep || desk.kept.is_none(), "{:?}", desk.leave);
            return;
        };
        let result = answer(&want);
        desk.answer(result);
    }
    panic!("it asks without end: {:?}", desk.leave);
}
