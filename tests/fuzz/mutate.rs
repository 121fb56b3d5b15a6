//! Makes inputs of fuzz targets: inputs of the corpus, changed a little.
//!
//! The idea: random bytes are refused at the first character of a document. Pieces of several good documents in the
//! wrong order, repeated, nested or with an extreme number reach further. What is inserted comes from the corpus
//! itself.

use trunkline_tests::Dice;

/// The longest input, in bytes.
pub(crate) const LONGEST: usize = 16 * 1024;
/// The most changes of one input.
const CHANGES: u64 = 6;

/// Texts at which readers err: numbers at the edge of a type, separators, marks that are not visible, bytes that are
/// not UTF-8.
const EDGES: &[&[u8]] = &[
    b"",
    b"0",
    b"-1",
    b"-0",
    b"1e400",
    b"9007199254740993",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1e-400",
    b"99999999999999999999",
    b"null",
    b"true",
    b"{{",
    b"}}",
    b"{{ ",
    b" }}",
    b"\"",
    b"'",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\r\n",
    b"\n",
    b"\t",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\xc0\xaf",
    b"%",
    b"%2F",
    b"%00",
    b"[",
    b"]",
    b"{",
    b"}",
    b"(",
    b")",
    b"<",
    b">",
    b",",
    b";",
    b":",
    b"=",
    b"*",
    b"&a",
    b"*a",
    b"!!str ",
    b"=?utf-8?Q?=",
    b"?=",
    b"''",
    b"$ref",
    b"..",
    b"/",
    b"~1",
    b"\xf0\x9f\x92\xa9",
];

/// What can be put into an input.
pub(crate) struct Mutator {
    corpus: Vec<Vec<u8>>,
    /// Words, numbers and signs of the corpus.
    words: Vec<Vec<u8>>,
    dice: Dice,
}

impl Mutator {
    pub(crate) fn new(corpus: Vec<Vec<u8>>, dice: Dice) -> Mutator {
        let mut words: Vec<_> = corpus.iter().flat_map(|one| words(one)).collect();
        words.sort_unstable();
        words.dedup();
        words.extend(EDGES.iter().map(|edge| edge.to_vec()));
        Mutator { corpus, words, dice }
    }

    /// Returns the next input.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut input = self.one_of_corpus();
        for _ in 0..self.roll(CHANGES) + 1 {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn roll(&mut self, to: u64) -> u64 {
        self.dice.roll(0, to)
    }

    fn one_of_corpus(&mut self) -> Vec<u8> {
        let at = self.roll(self.corpus.len() as u64) as usize;
        self.corpus.get(at).cloned().unwrap_or_default()
    }

    fn word(&mut self) -> Vec<u8> {
        let at = self.roll(self.words.len() as u64) as usize;
        self.words[at].clone()
    }

    /// Returns a part of an input that is not too long. Its ends are often the ends of words.
    fn part(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let length = input.len() as u64;
        let from = self.dice.roll(0, length + 1) as usize;
        let most = [4, 64, length + 1][self.roll(3) as usize];
        let mut to = (from + self.dice.roll(0, most + 1) as usize).min(input.len());
        if self.roll(2) == 0 {
            let is_inside = |at: usize| input.get(at).is_some_and(u8::is_ascii_alphanumeric);
            while to > from && is_inside(to) {
                to += 1;
            }
        }
        from..to
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let part = self.part(input);
        let at = part.start;
        match self.roll(9) {
            0 => {
                let word = self.word();
                input.splice(part, word);
            }
            1 => {
                let word = self.word();
                input.splice(at..at, word);
            }
            2 => drop(input.splice(part, [])),
            // A part again, up to a few hundred times: depth, and long lists.
            3 => {
                let times = [1, 2, 16, 300][self.roll(4) as usize];
                let piece = input[part].repeat(times);
                input.splice(at..at, piece);
            }
            4 => {
                let other = self.one_of_corpus();
                let piece = self.part(&other);
                input.splice(part, other[piece].to_vec());
            }
            5 => {
                let (piece, to) = (input[part.clone()].to_vec(), self.part(input).start);
                input.splice(to..to, piece);
            }
            // A word in place of a word.
            6 => {
                let (from, word) = (word_at(input, at), self.word());
                input.splice(from, word);
            }
            7 if !input.is_empty() => {
                let bit = self.roll(8);
                let at = at.min(input.len() - 1);
                input[at] ^= 1 << bit;
            }
            _ => {
                let byte = self.roll(256) as u8;
                input.insert(at, byte);
            }
        }
        input.truncate(2 * LONGEST);
    }
}

/// Returns the words and signs of a text.
fn words(text: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let word = word_at(text, at);
        at = word.end.max(at + 1);
        if !word.is_empty() && word.len() < 200 {
            found.push(text[word].to_vec());
        }
    }
    found
}

/// Returns the word at an offset, or the one byte there.
fn word_at(text: &[u8], at: usize) -> std::ops::Range<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let at = at.min(text.len());
    let before = text[..at].iter().rev().take_while(|byte| is_part(byte)).count();
    let after = text[at..].iter().take_while(|byte| is_part(byte)).count();
    match before + after {
        0 => at..(at + 1).min(text.len()),
        _ => at - before..at + after,
    }
}
