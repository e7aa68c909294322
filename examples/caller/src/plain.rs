//! Text of others on a terminal: it can neither begin a line of its own, nor command the terminal,
//! nor turn the direction of what stands beside it.

use std::fmt;

/// What is shown in place of a character that would do more than be read.
const REPLACED: char = '\u{fffd}';

/// The same text, to be printed in one line.
pub(crate) fn plain(text: impl fmt::Display) -> String {
    let shown = |c: char| if acts(c) { REPLACED } else { c };
    text.to_string().chars().map(shown).collect()
}

/// Control characters, line and paragraph separators, and what overrides the direction of text. The
/// marks that names in Arabic or Hebrew need override nothing.
fn acts(c: char) -> bool {
    let ends_line = matches!(c, '\u{2028}' | '\u{2029}');
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || ends_line || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_does_more_than_be_read() {
        for c in "\n\r\t\0\x1b\x7f\u{85}\u{9b}\u{2028}\u{2029}\u{202e}\u{2066}\u{2069}".chars() {
            assert_eq!(plain(format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
        assert_eq!(plain("Zoë → חדר 🎈 👩‍👧"), "Zoë → חדר 🎈 👩‍👧");
    }
}
