//! A walk over the tokens of one statement: where the readers of single statements (`assign`, `holds`) stand.

use super::Lexis;
use super::lexer::{Kind, Lexer, Token};

/// At a token. A copy of it looks ahead, or comes back.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    /// Where the tokens come from.
    pub(super) lexer: Lexer<'a>,
    /// The token that [`Cursor::advance`] gave last.
    pub(super) token: Token,
    /// How the statement is read.
    pub(super) lexis: Lexis,
}

impl<'a> Cursor<'a> {
    /// Before the first token.
    pub(super) fn new(sql: &'a [u8], lexis: Lexis) -> Self {
        Self { lexer: Lexer::new(sql, lexis), token: Token::NONE, lexis }
    }

    /// Steps to the next token, and gives it.
    pub(super) fn advance(&mut self) -> Token {
        self.token = self.lexer.next();
        self.token
    }

    /// Bytes of the current token.
    pub(super) fn text(&self) -> &'a [u8] {
        self.lexer.text(&self.token)
    }

    /// Whether the current token is this unquoted word, given in lower case.
    pub(super) fn is(&self, word: &str) -> bool {
        self.lexer.is_word(&self.token, word)
    }

    /// Steps over the word if it stands here.
    pub(super) fn skip(&mut self, word: &str) -> bool {
        let here = self.is(word);
        if here {
            self.advance();
        }
        here
    }

    /// The current token as a name, without quotes.
    pub(super) fn name(&self) -> Option<&'a [u8]> {
        match (self.token.kind, self.text()) {
            (Kind::Word, text) => Some(text),
            (Kind::Quoted, [_, bare @ .., _]) => Some(bare),
            _ => None,
        }
    }

    /// Whether nothing but semicolons is left, in a statement that was cut for sure.
    pub(super) fn at_end(&mut self) -> bool {
        while self.token.kind == Kind::Semicolon {
            self.advance();
        }
        self.token.kind == Kind::End && self.lexer.hazard.is_none()
    }
}
