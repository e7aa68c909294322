//! What happened, as a column of lines that reads like the protocol.
//!
//! ```text
//!   0.000 ada calls @ben:example (voice)
//!   0.040 ada sends m.call.invite
//!   0.060 ben rings
//!   5.000 ben answers
//!   5.050 ben sends m.call.answer
//! ```
//!
//! [`Column::expect`] compares it with such a text and shows both side by side where they part.

use std::{fmt, time::Duration};

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What somebody did: commands, and what the test did to the world.
    Deed,
    /// What the homeserver took, and what it did not get.
    Wire,
    /// States, ringing, ends.
    Call,
    /// Streams, mutes, assertions.
    Detail,
    /// What the engine did with devices and connections.
    Media,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, from the start of the simulation.
    pub at: Duration,
    /// Who: the local part of the user, with the device where the user has several.
    pub who: String,
    /// What.
    pub what: String,
    /// What it is about.
    pub kind: Kind,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.at.as_millis();
        write!(f, "{:>4}.{:03} {} {}", millis / 1000, millis % 1000, self.who, self.what)
    }
}

/// Lines in the order in which things happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Column(pub Vec<Line>);

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Column {
    /// Only what the homeserver took.
    #[must_use]
    pub fn wire(&self) -> Self {
        self.only(&[Kind::Wire])
    }

    /// Deeds, the wire and the states of calls: the protocol without its details.
    #[must_use]
    pub fn calls(&self) -> Self {
        self.only(&[Kind::Deed, Kind::Wire, Kind::Call])
    }

    /// Only lines of these kinds.
    #[must_use]
    pub fn only(&self, kinds: &[Kind]) -> Self {
        Self(self.0.iter().filter(|line| kinds.contains(&line.kind)).cloned().collect())
    }

    /// Only what this one did and saw.
    #[must_use]
    pub fn of(&self, who: &str) -> Self {
        Self(self.0.iter().filter(|line| line.who == who).cloned().collect())
    }

    /// Compares with a text, line by line. Blanks do not matter; `*` stands for any time.
    ///
    /// # Panics
    /// When they differ, with both side by side.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let expected = lines(text);
        let found: Vec<Vec<String>> = self.0.iter().map(|line| words(&line.to_string())).collect();
        let longer = expected.len().max(found.len());
        let same = |at: usize| match (expected.get(at), found.get(at)) {
            (Some(expected), Some(found)) => fits(expected, found),
            _ => false,
        };
        if let Some(first) = (0..longer).find(|at| !same(*at)) {
            panic!("{}", deviation(&expected, &found, first));
        }
    }

    /// Looks for the lines of a text, in this order, with others between them.
    ///
    /// # Panics
    /// When one is not there, with the whole column.
    #[track_caller]
    pub fn expect_in_order(&self, text: &str) {
        let found: Vec<Vec<String>> = self.0.iter().map(|line| words(&line.to_string())).collect();
        let mut rest = found.iter();
        for expected in lines(text) {
            assert!(
                rest.any(|line| fits(&expected, line)),
                "not found in its place: {}\nin\n{self}",
                expected.join(" ")
            );
        }
    }
}

fn lines(text: &str) -> Vec<Vec<String>> {
    text.lines().map(words).filter(|line| !line.is_empty()).collect()
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn fits(expected: &[String], found: &[String]) -> bool {
    let any_time = expected.first().is_some_and(|time| time == "*");
    let from = usize::from(any_time);
    expected.len() == found.len() && expected[from..] == found[from..]
}

fn deviation(expected: &[Vec<String>], found: &[Vec<String>], first: usize) -> String {
    let mut text = format!("\n     {:<52} | {}\n", "expected", "happened");
    for at in 0..expected.len().max(found.len()) {
        let side = |lines: &[Vec<String>]| lines.get(at).map(|line| line.join(" "));
        let mark = if at == first { "-->" } else { "   " };
        let (left, right) = (side(expected), side(found));
        text.push_str(&format!(
            "{mark}  {:<52} | {}\n",
            left.unwrap_or_default(),
            right.unwrap_or_default()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column() -> Column {
        let line = |millis, what: &str| Line {
            at: Duration::from_millis(millis),
            who: "ada".to_owned(),
            what: what.to_owned(),
            kind: Kind::Wire,
        };
        Column(vec![line(40, "sends m.call.invite"), line(2_040, "sends m.call.candidates")])
    }

    #[test]
    fn a_column_is_compared_with_its_text() {
        column().expect(
            "
            0.040 ada sends m.call.invite
            *     ada sends m.call.candidates
            ",
        );
        column().expect_in_order("2.040 ada sends m.call.candidates");
    }

    #[test]
    #[should_panic(expected = "-->  0.041 ada sends m.call.invite")]
    fn a_deviation_is_shown_where_it_is() {
        column().expect("0.041 ada sends m.call.invite\n* ada sends m.call.candidates");
    }

    #[test]
    #[should_panic(expected = "-->")]
    fn a_line_too_many_is_a_deviation() {
        column().expect("0.040 ada sends m.call.invite");
    }
}
