//! The line at the bottom of a terminal, a picture above it, and lines that stay above both.

use std::{
    cell::RefCell,
    fmt::Write,
    io::{IsTerminal, stdout},
};

use crate::matrix::say::show;

/// One line of a terminal that is written over; elsewhere a line for each state.
#[derive(Debug)]
pub(super) struct StatusLine {
    is_live: bool,
    drawn: RefCell<Drawn>,
}

/// What stands at the bottom at present.
#[derive(Debug, Default)]
struct Drawn {
    picture: Vec<String>,
    text: String,
}

impl StatusLine {
    pub(super) fn new() -> Self {
        Self { is_live: stdout().is_terminal(), drawn: RefCell::default() }
    }

    /// Whether it is written over.
    pub(super) fn is_live(&self) -> bool {
        self.is_live
    }

    pub(super) fn show(&self, text: &str) {
        if !self.is_live {
            return self.print(text);
        }
        let text: String = text.chars().take(self.columns()).collect();
        show(format_args!("\r\x1b[2K{text}"));
        self.drawn.borrow_mut().text = text;
    }

    /// How many characters of it can be seen.
    pub(super) fn columns(&self) -> usize {
        if self.is_live { usize::from(size().0).saturating_sub(1) } else { usize::MAX }
    }

    /// A line that stays. The return is for raw terminals.
    pub(super) fn print(&self, text: &str) {
        if self.is_live {
            show(self.drawn.borrow().printed(text));
        } else {
            show(format_args!("{text}\n"));
        }
    }

    /// How large a picture can be, in characters.
    pub(super) fn room(&self) -> (u16, u16) {
        room_in(size())
    }

    /// These lines stand above the status line from now on, in place of those before.
    pub(super) fn picture(&self, lines: Vec<String>) {
        if self.is_live {
            show(self.drawn.borrow_mut().redrawn(lines));
        }
    }

    /// Leaves the line, and the picture, as they are.
    pub(super) fn end(&self) {
        if self.is_live {
            *self.drawn.borrow_mut() = Drawn::default();
            show("\r\n");
        }
    }
}

impl Drawn {
    /// Takes the picture and the line away, prints, and puts both back.
    fn printed(&self, text: &str) -> String {
        if self.picture.is_empty() {
            return format!("\r\x1b[2K{text}\r\n");
        }
        format!("{}\x1b[J{text}\r\n{}", up(self.picture.len()), self.all())
    }

    /// Another picture in place of this one; the same rows are written over, which does not flicker.
    fn redrawn(&mut self, picture: Vec<String>) -> String {
        let wipe = if picture.len() == self.picture.len() { "" } else { "\x1b[J" };
        let up = up(self.picture.len());
        self.picture = picture;
        format!("{up}{wipe}{}", self.all())
    }

    /// All of it, from the upper left corner; the cursor ends behind the text.
    fn all(&self) -> String {
        // A line that wraps, in a terminal that was made narrower, would shift everything.
        let mut all = String::from("\x1b[?7l");
        for line in &self.picture {
            write!(all, "{line}\x1b[K\r\n").expect("invariant: a string takes everything");
        }
        all + "\x1b[?7h\x1b[2K" + self.text.as_str()
    }
}

/// To the beginning of the line so many rows above.
fn up(rows: usize) -> String {
    if rows == 0 { "\r".to_owned() } else { format!("\x1b[{rows}A\r") }
}

/// What a picture may take of a terminal: the other half of the rows keeps what was printed.
const fn room_in((width, height): (u16, u16)) -> (u16, u16) {
    (width, height / 2)
}

/// Columns and rows of the terminal. One that does not know its size says 0.
fn size() -> (u16, u16) {
    let (width, height) = crossterm::terminal::size().unwrap_or_default();
    let or = |size, usual| if size == 0 { usual } else { size };
    (or(width, 80), or(height, 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    /// What a terminal of that many columns shows after it was sent this: the few sequences that
    /// are used here.
    fn terminal(sent: &[String]) -> Vec<String> {
        let (mut rows, mut row, mut column) = (vec![String::new()], 0_usize, 0_usize);
        let text = sent.concat();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\r' => column = 0,
                '\n' => {
                    row += 1;
                    if row == rows.len() {
                        rows.push(String::new());
                    }
                }
                '\x1b' => {
                    assert_eq!(letters.next(), Some('['));
                    let mut code = String::new();
                    let last = loop {
                        match letters.next().expect("a whole sequence") {
                            end if end.is_ascii_alphabetic() => break end,
                            part => code.push(part),
                        }
                    };
                    match (code.as_str(), last) {
                        (count, 'A') => row -= count.parse::<usize>().expect("rows"),
                        ("2", 'K') => rows[row].clear(),
                        ("", 'K') => rows[row] = rows[row].chars().take(column).collect(),
                        ("", 'J') => {
                            rows[row] = rows[row].chars().take(column).collect();
                            rows.truncate(row + 1);
                        }
                        ("?7", 'l' | 'h') => {}
                        other => panic!("{other:?}"),
                    }
                }
                letter => {
                    let mut cells: Vec<char> = rows[row].chars().collect();
                    cells.resize(cells.len().max(column + 1), ' ');
                    cells[column] = letter;
                    rows[row] = cells.into_iter().collect();
                    column += 1;
                }
            }
        }
        rows
    }

    #[test]
    fn a_picture_stands_above_the_line_and_what_is_printed_above_both() {
        let mut drawn = Drawn { picture: Vec::new(), text: "connected".to_owned() };
        let mut sent = vec!["connected".to_owned()];
        sent.push(drawn.redrawn(lines(&["AAA", "BBB"])));
        assert_eq!(terminal(&sent), ["AAA", "BBB", "connected"]);
        sent.push(drawn.redrawn(lines(&["CC", "DD"])));
        assert_eq!(terminal(&sent), ["CC", "DD", "connected"]);
        sent.push(drawn.printed("muted"));
        assert_eq!(terminal(&sent), ["muted", "CC", "DD", "connected"]);
        sent.push(drawn.redrawn(lines(&["E"])));
        assert_eq!(terminal(&sent), ["muted", "E", "connected"]);
        sent.push(drawn.redrawn(lines(&["F", "G", "H"])));
        assert_eq!(terminal(&sent), ["muted", "F", "G", "H", "connected"]);
        sent.push(drawn.redrawn(Vec::new()));
        assert_eq!(terminal(&sent), ["muted", "connected"]);
    }

    #[test]
    fn a_picture_leaves_half_of_the_rows_to_what_was_printed() {
        assert_eq!([(80, 24), (80, 5), (80, 1)].map(room_in), [(80, 12), (80, 2), (80, 0)]);
    }

    #[test]
    fn without_a_picture_a_printed_line_takes_the_place_of_the_status() {
        let drawn = Drawn { picture: Vec::new(), text: "connected".to_owned() };
        assert_eq!(drawn.printed("muted"), "\r\x1b[2Kmuted\r\n");
    }
}
